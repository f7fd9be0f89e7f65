"""gateway/scp/auditing.py: what associations leave in the audit log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.entry import AuditEntry
from gateway.audit.table import AuditFilter, search, verify
from gateway.dicom import uids
from gateway.errors import AssociationRefused
from gateway.net.requestor import associate
from gateway.scp.auditing import ACTIONS
from gateway.scp.services import REGISTRY
from tests.scp.test_query import asking, find, store
from tests.scp.test_retrieve import move
from tests.support.datasets import instance
from tests.support.intake import Intake, intake

HERE = {"aet": "TEST", "host": "127.0.0.1"}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Intake]:
    async with asyncio.timeout(30), intake(tmp_path, audit={"enabled": True}, modalities={"test": HERE}) as gateway:
        yield gateway


async def entries(gateway: Intake, **wanted: Any) -> list[AuditEntry]:
    await gateway.context.use_cases.audit.flush()
    assert (await verify(gateway.folder.database)).problem == ""
    return (await search(gateway.folder.database, AuditFilter(**wanted), skip=0, limit=100))[::-1]


async def test_one_entry_for_an_association_and_study(gateway: Intake) -> None:
    data_sets = [instance(StudyInstanceUID=uid) for uid in ("1.2", "1.2", "1.3")]
    await store(gateway, *data_sets)
    found = await entries(gateway)
    assert [(one.action, one.study_uid, one.number) for one in found] == [("upload", "1.2", 2), ("upload", "1.3", 1)]
    assert {one.origin for one in found} == {"TEST@127.0.0.1"}
    assert found[0].patient_id == "P1"
    await store(gateway, data_sets[0])
    first, again = await entries(gateway, study_uid="1.2")
    assert first.details["association"] != again.details["association"]


async def test_a_search(gateway: Intake) -> None:
    async with asking(gateway) as association:
        await find(association, {"PatientID": "P1", "PatientName": "Doe*", "StudyDate": ""})
    (one,) = await entries(gateway)
    assert (one.action, one.outcome) == ("search", "success")
    assert one.details == {"keys": {"00100020": "P1", "00100010": "..."}}


async def test_a_retrieval_says_where_to(gateway: Intake) -> None:
    await store(gateway, instance(StudyInstanceUID="1.2"))
    await move(gateway, "NOBODY", level="STUDY", study="1.2")
    (one,) = await entries(gateway, action="send")
    assert (one.outcome, one.study_uid, one.patient_id) == ("failure", "1.2", "P1")
    assert one.details == {"destination": "NOBODY"}


async def test_who_is_turned_away_is_counted_by_address(gateway: Intake) -> None:
    for aet in ("EVIL1", "EVIL2"):
        with pytest.raises(AssociationRefused):
            async with associate(gateway.call(calling_aet=aet)):
                pass
    (one,) = await entries(gateway)
    assert (one.action, one.outcome, one.origin, one.number) == ("connect", "denied", "127.0.0.1", 2)
    assert one.details["aet"] == "EVIL1"


async def test_what_a_caller_may_not(tmp_path: Path) -> None:
    modality = {**HERE, "allow": ["echo"]}
    async with asyncio.timeout(30), intake(tmp_path, audit={"enabled": True}, modalities={"test": modality}) as gateway:
        async with associate(gateway.call()):
            pass
        (one,) = await entries(gateway)
        assert (one.action, one.outcome, one.origin) == ("upload", "denied", "TEST@127.0.0.1")


def test_every_service_does_something_with_a_name() -> None:
    services = {service.permission for _uid, service in REGISTRY}
    assert services == set(ACTIONS)
    for _uid, service in REGISTRY:
        for command in service.commands.values():
            assert getattr(command, "action", ACTIONS[service.permission]) == ACTIONS[service.permission]
    assert REGISTRY.of(uids.VERIFICATION) is not None
