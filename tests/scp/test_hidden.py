"""What the roles of a modality or user do not show is not there for C-FIND, C-GET, C-MOVE and storage commitment.

A study of P1 is shown. Of those that are not, one is of another patient, and one has the same UIDs under another
Patient ID.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from gateway.access.passwords import hash_password
from gateway.dimse import commitment, status
from gateway.dimse.commitment import Reference
from gateway.net.requestor import Call, Requestor, associate
from gateway.scp.query import STUDY_ROOT_FIND
from gateway.ul.items import RoleSelection, UserIdentity
from gateway.ul.negotiation import ACCEPTANCE
from tests.scp.test_query import find
from tests.scp.test_retrieve import (
    STUDY_GET,
    STUDY_MOVE,
    gateway_and,
    identifier,
    instances,
    numbers,
    responses_to,
    store,
)
from tests.support.datasets import CT, EXPLICIT
from tests.support.destination import Destination, Taking
from tests.support.intake import Intake
from tests.support.waiting import until
from tests.support.workflow import modality

ROLES = {
    "p1": {"permissions": ["all"], "patients": ["P1"]},
    "p2": {"permissions": ["view"], "patients": ["P2"]},
    "both": {"permissions": ["view", "send", "download"], "patients": ["P*"], "without_labels": ["x"]},
}
USERS = {
    "users": [
        {"name": "ann", "password": hash_password("secret"), "roles": ["p1"]},
        {"name": "bob", "password": hash_password("secret"), "roles": ["both"]},
        {"name": "eve", "password": hash_password("secret"), "roles": ["p2"]},
    ]
}


@asynccontextmanager
async def hospital(path: Path, target: Destination | None = None, **test: Any) -> AsyncIterator[Intake]:
    """A gateway with the three studies, for which the modality TEST then has further settings."""
    sections = {"roles": ROLES, "http": USERS, "dicom": {"user_identity": "optional"}}
    async with gateway_and(path, target, **sections) as gateway:
        await store(gateway, instances(2, PatientID="P1", PatientName="Own"))
        await store(gateway, instances(2, PatientID="P2", PatientName="Other"))
        await store(gateway, instances(2, "1.2", PatientID="P2", PatientName="Other"))
        modalities = {name: {**each} for name, each in _modalities(gateway).items()}
        modalities["test"] |= test
        gateway.configure(modalities=modalities)
        yield gateway


def _modalities(gateway: Intake) -> dict[str, dict[str, Any]]:
    dest = gateway.settings.modalities["dest"]
    return {
        "dest": {"aet": "DEST", "host": "127.0.0.1", "port": dest.port, "response_timeout": 5.0},
        "test": {"aet": "TEST"},
    }


def identity(user: str) -> dict[str, Any]:
    return {"identity": UserIdentity(2, user.encode(), b"secret", True)} if user else {}


def call(gateway: Intake, *models: str, user: str = "", **changes: Any) -> Call:
    return gateway.call(*((model, [EXPLICIT]) for model in models), **identity(user), **changes)


async def patients(gateway: Intake, user: str = "", **keys: Any) -> list[str]:
    """The Patient IDs of all studies that are found."""
    async with associate(call(gateway, STUDY_ROOT_FIND, user=user)) as association:
        keys = {"PatientID": "", "StudyInstanceUID": "", "NumberOfPatientRelatedStudies": "", **keys}
        found = await find(association, keys)
    assert found.status == status.SUCCESS
    return found.values("PatientID")


@pytest.mark.parametrize(
    ("roles", "user", "shown"),
    [
        ([], "", ["P1", "P2", "P2"]),
        (["p1"], "", ["P1"]),
        (["p2"], "", ["P2", "P2"]),
        (["p1", "p2"], "", ["P1", "P2", "P2"]),
        ([], "ann", ["P1"]),
        (["both"], "ann", ["P1"]),
        (["p1"], "bob", ["P1"]),
        (["p1"], "eve", []),
    ],
)
async def test_whose_roles(tmp_path: Path, roles: list[str], user: str, shown: list[str]) -> None:
    """Where modality and user have roles, what both show is shown."""
    async with hospital(tmp_path, roles=roles) as gateway:
        assert await patients(gateway, user) == shown
        assert await patients(gateway, user, PatientID="P2") == [each for each in shown if each == "P2"]


async def test_rights_that_change_under_an_open_association(tmp_path: Path) -> None:
    """Hold from its next request on: of the roles, of the user, of the modality itself."""
    keys = {"PatientID": "", "StudyInstanceUID": ""}

    async def shown(association: Requestor) -> list[str] | int:
        found = await find(association, keys)
        return found.values("PatientID") if found.status == status.SUCCESS else found.status

    async with hospital(tmp_path, roles=["p1"]) as gateway:
        known = {**_modalities(gateway), "test": {"aet": "TEST", "roles": ["p1"]}}
        async with associate(call(gateway, STUDY_ROOT_FIND, user="bob")) as association:
            assert await shown(association) == ["P1"]
            gateway.configure(roles={**ROLES, "p1": {"permissions": ["view"], "patients": ["P2"]}})
            assert await shown(association) == ["P2", "P2"]
            gateway.configure(roles={**ROLES, "p1": {"permissions": ["upload"]}})
            assert await shown(association) == status.NOT_AUTHORIZED
            gateway.configure(roles=ROLES, modalities={**known, "test": {"aet": "TEST", "allow": ["store"]}})
            assert await shown(association) == status.NOT_AUTHORIZED
            gateway.configure(modalities={**known, "test": {"aet": "TEST"}})
            assert await shown(association) == ["P1", "P2", "P2"]
            gateway.configure(modalities={**known, "test": {"aet": "OTHER"}})
            assert await shown(association) == status.NOT_AUTHORIZED
            gateway.configure(modalities=known, http={"users": USERS["users"][:1]})
            assert await shown(association) == status.NOT_AUTHORIZED
            gateway.configure(http=USERS)
            assert await shown(association) == ["P1"]
            gateway.configure(tenants={"a": {"aets": ["GATEWAY"]}})
            assert await shown(association) == status.NOT_AUTHORIZED


async def test_groups_of_a_token(tmp_path: Path) -> None:
    """They give roles over DICOM as over HTTP: to some a service, to some a part of the studies, to others nothing."""
    key = ECKey.generate_key("P-256")
    file = tmp_path / "key.pem"
    file.write_bytes(key.as_pem(private=False))
    claims = {"iss": "us", "aud": "gateway", "sub": "eva", "exp": int(time.time()) + 60}
    tokens = {"issuer": "us", "audience": "gateway", "keys": str(file), "roles_claim": "realm.groups"}
    groups = {"/own": ["p1"], "/others": ["p2"], "/doctors": ["view"], "/senders": ["store"]}

    def holder(*names: str) -> dict[str, Any]:
        token = jwt.encode({"alg": "ES256"}, {**claims, "realm": {"groups": list(names)}}, key)
        return {"identity": UserIdentity(5, token.encode(), b"", True)}

    async def shown(*names: str) -> list[str] | None:
        """The patients that are found; None where C-FIND is not accepted at all."""
        async with associate(gateway.call((STUDY_ROOT_FIND, [EXPLICIT]), (CT, [EXPLICIT]), **holder(*names))) as ours:
            accepted = ours.association.accepted
            assert accepted is not None
            if accepted.contexts[0].result != ACCEPTANCE:
                return None
            return (await find(ours, {"PatientID": "", "StudyInstanceUID": ""})).values("PatientID")

    async with hospital(tmp_path / "data") as gateway:
        identified = {"user_identity": "required", "user_identity_types": ["token"]}
        gateway.configure(dicom=identified, tokens={**tokens, "groups": groups})
        assert await shown("/own") == ["P1"]
        assert await shown("/others", "/unknown") == ["P2", "P2"]
        assert await shown("/own", "/others") == ["P1", "P2", "P2"]
        assert await shown("/doctors") == ["P1", "P2", "P2"]
        assert await shown("/senders") is None
        assert await shown() is None
        assert await shown("admin") is None, "with a table of groups none is a role of its own name"
        gateway.configure(tokens={**tokens, "groups": {}})
        assert await shown("p2") == ["P2", "P2"]
        assert await shown("/own") is None


async def test_find_counts(tmp_path: Path) -> None:
    async with hospital(tmp_path, roles=["p1"]) as gateway, associate(call(gateway, STUDY_ROOT_FIND)) as association:
        for level in ("PATIENT", "STUDY", "SERIES", "IMAGE"):
            for uid, expected in (("1.1", {"P1"}), ("1.2", set()), ("9.9", set())):
                answer = await find(association, {"PatientID": "", "StudyInstanceUID": uid}, level)
                found = set(answer.values("PatientID"))
                assert found <= {"P1"}, level
                assert found == expected or level == "PATIENT", (level, uid)


async def test_get_and_move(tmp_path: Path) -> None:
    target = Destination()
    async with hospital(tmp_path, target, roles=["p1"]) as gateway:
        for keys, expected in (
            ({"level": "STUDY", "study": "1.1"}, 2),
            ({"level": "STUDY", "study": "1.1", "patient": "P1"}, 2),
            ({"level": "STUDY", "study": "1.1", "patient": "P2"}, 0),
            ({"level": "STUDY", "study": "1.2"}, 0),
            ({"level": "STUDY", "study": "9.9"}, 0),
            ({"level": "PATIENT", "patient": "P2"}, 0),
            ({"level": "STUDY", "study": ["1.1", "1.2"]}, 2),
            ({"level": "IMAGE", "study": "1.2", "series": "1.2.1", "image": "1.2.1.1"}, 0),
        ):
            target.messages.clear()
            taking = Taking()
            async with associate(call(gateway, STUDY_MOVE)) as association:
                *_, moved = await responses_to(association, STUDY_MOVE, identifier(**keys))
            selection = [RoleSelection(CT, scu=False, scp=True)]
            got = call(gateway, STUDY_GET, CT, roles=selection)
            async with associate(got, handler=taking.handler) as association:
                *_, last = await responses_to(association, STUDY_GET, identifier(**keys))
            assert numbers(moved) == numbers(last) == (status.SUCCESS, None, expected, 0, 0), keys
            assert len(target.messages) == len(taking.messages) == expected, keys
            for data in (*target.received.values(), *taking.received.values()):
                assert b"Other" not in data


async def test_commitment(tmp_path: Path) -> None:
    """What is not shown is not committed either: it fails as what is not here, also in a report that comes later."""
    async with hospital(tmp_path, roles=["p1"]) as gateway:
        uid = "1.1.1.1"
        asked = [Reference(CT, uid), Reference(CT, "1.2.1.1"), Reference(CT, "9.9.9")]
        async with modality(gateway) as asking:
            await asking.commit("1.2.3.4", asked)
            outcome = await asking.report()
        assert outcome.committed == asked[:1]
        assert dict(outcome.failed) == dict.fromkeys(asked[1:], commitment.NO_SUCH_INSTANCE)
        again = await gateway.context.use_cases.commitments.outcome(1)
        await until(lambda: not gateway.context.tasks)
        assert again == outcome


async def test_who_stores_need_not_see_it(tmp_path: Path) -> None:
    """The gateway sees everything that it stores, so that counts stay right."""
    async with hospital(tmp_path, roles=["p1"]) as gateway:
        await store(gateway, instances(4, PatientID="P2", PatientName="Other"))
        assert await patients(gateway) == ["P1"]
        gateway.configure(modalities=_modalities(gateway))
        assert await patients(gateway) == ["P1", "P2", "P2"]
        keys = {"PatientID": "P2", "StudyInstanceUID": "1.1", "NumberOfStudyRelatedInstances": ""}
        async with associate(call(gateway, STUDY_ROOT_FIND)) as association:
            assert (await find(association, keys)).values("NumberOfStudyRelatedInstances") == ["4"]
