"""Links to studies: they show what their maker sees, for as long as the maker sees it, and nothing beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from gateway.config import Http, User
from gateway.config.roles import Role
from tests.support.datasets import instance
from tests.support.sign_in import ADMIN, by_password, issuer_tokens, web_token
from tests.support.web import House

UID = "1.2.3"
KINDS = ("viewer-instant-link", "ohif-viewer-publication", "download-instant-link", "resource-instant-link")


@pytest.fixture
async def house(gateway: House) -> House:
    """Two patients have a study of the same UID; who has the role `own` sees one of them, and has labelled it."""
    gateway.roles = {
        "own": Role(permissions=("view", "download", "share"), patients=("P1",)),
        "ward": Role(permissions=("view", "download", "share"), labels=("ward",)),
        "glass": Role(permissions=("break-glass",)),
    }
    roles = {"eva": ("own",), "max": ("ward",), "doc": ("ward", "glass")}
    gateway.http = Http(users=(ADMIN, *(User(name, ADMIN.password, each) for name, each in roles.items())))
    for number, patient in enumerate(("P1", "P2")):
        await gateway.add(instance(PatientID=patient, StudyInstanceUID=UID, SOPInstanceUID=f"{UID}.{number}"))
    return gateway


async def made(house: House, headers: dict[str, str], kind: str = KINDS[1], **study: str) -> tuple[int, str]:
    body = {"Resources": [{"Level": "study", **(study or {"DicomUid": UID})}], "ValidityDuration": 600}
    answer = await house.client.put(f"/auth/tokens/{kind}", json=body, headers=headers)
    return answer.status, (await answer.json()).get("Token", "")


async def shown(house: House, secret: str) -> list[str]:
    """The Patient IDs of the studies that a link shows."""
    found: list[Any] = await house.json(f"/dicom-web/studies?token={secret}")
    return [each["00100020"]["Value"][0] for each in found]


@pytest.mark.parametrize("kind", KINDS)
async def test_nobody_elses_study_of_the_same_uid(house: House, kind: str) -> None:
    """Whoever may store could make one of any UID, and have it shared."""
    status, secret = await made(house, by_password("eva"), kind)
    assert status == 200
    if "download" not in kind:
        assert await shown(house, secret) == ["P1"]
    (own,) = await house.json("/studies", **by_password("eva"))
    for study in await house.json("/studies", **by_password("ann")):
        archive = await house.client.get(f"/studies/{study}/archive?token={secret}")
        assert archive.status == (200 if study == own else 404)


async def test_what_the_maker_sees_no_more(house: House) -> None:
    (study,) = await house.json("/studies", **by_password("eva"))
    label = f"/studies/{study}/labels/ward"
    assert (await made(house, by_password("max"), OrthancId=study))[0] == 404
    assert (await house.client.put(label, headers=by_password("ann"))).status == 200
    status, secret = await made(house, by_password("max"), OrthancId=study)
    assert (status, await shown(house, secret)) == (200, ["P1"])
    assert (await house.client.delete(label, headers=by_password("ann"))).status == 200
    assert await shown(house, secret) == []
    assert (await house.client.get(f"/studies/{study}?token={secret}")).status == 404


async def test_a_maker_from_the_issuer(house: House, tmp_path: Path) -> None:
    house.tokens = issuer_tokens(tmp_path, roles_claim="groups")
    bearer = {"Authorization": f"Bearer {web_token(sub='zoe', groups='ward')}"}
    (study,) = await house.json("/studies", **by_password("eva"))
    label = f"/studies/{study}/labels/ward"
    await house.client.put(label, headers=by_password("ann"))
    status, secret = await made(house, bearer, OrthancId=study)
    assert (status, await shown(house, secret)) == (200, ["P1"])
    await house.client.delete(label, headers=by_password("ann"))
    assert await shown(house, secret) == []
    del house.roles["ward"]
    assert (await house.client.get(f"/dicom-web/studies?token={secret}")).status == 403


@pytest.mark.parametrize(("path", "leads_to"), [("/ui/?x=1", "/ui/?x=1"), ("//ui/", "/ui/"), ("///ui/", "/ui/")])
async def test_leads_to_no_other_host(house: House, path: str, leads_to: str) -> None:
    _, secret = await made(house, by_password("eva"))
    mark = "&" if "?" in path else "?"
    url = URL(f"{house.client.make_url('/')}".rstrip("/") + f"{path}{mark}token={secret}", encoded=True)
    answer = await house.client.session.get(url, allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (303, leads_to)


async def test_nothing_outlasts_emergency_access(house: House) -> None:
    doctor = by_password("doc")
    await house.client.post("/auth/break-glass", json={"Reason": "unconscious"}, headers=doctor)
    studies = await house.json("/studies", **doctor)
    assert len(studies) == 2
    for kind in KINDS:
        assert (await made(house, doctor, kind, OrthancId=studies[0]))[0] == 403
    answer = await house.client.post("/auth/api-tokens", json={"Name": "n", "Roles": ["view"]}, headers=doctor)
    assert (answer.status, "nothing is given away" in await answer.text()) == (403, True)
    await house.client.delete("/auth/break-glass", headers=doctor)
    assert (await made(house, doctor, OrthancId=studies[0]))[0] == 404
    answer = await house.client.post("/auth/api-tokens", json={"Name": "n", "Roles": ["ward"]}, headers=doctor)
    assert answer.status == 200
