"""Tenants over HTTP: what is another tenant's was never there, at whichever door, and one's own is one's own.

The other tenant has a study of another patient, and one with every identifier of ours: Patient ID and all UIDs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from gateway.config import Dicomweb, Http, Modality, Tenant, User
from gateway.config.destinations import FolderDestination
from gateway.config.roles import Role
from gateway.dicom.levels import LEVELS
from gateway.web.route import SERVED
from tests.support.web import House, archive, working
from tests.web.test_hidden import (
    HASH,
    NEVER,
    OTHERS,
    OWN,
    SEES_ALL,
    SEES_ONE,
    WORDS,
    Answer,
    Ids,
    answered,
    ask,
    asked,
    by_password,
    file_of,
    image,
    job_of,
    state,
)

pytestmark = pytest.mark.case("tenants: what is another tenant's is not there")

OURS = replace(OWN, tenant="clinic-a")
THEIRS = replace(OTHERS, tenant="clinic-b")
THE_SAME = replace(OWN, tenant="clinic-b")
EVE = by_password("eve")
HIDDEN: dict[str, Any] = {"PatientName": WORDS[0], "AccessionNumber": WORDS[1], "StudyDescription": WORDS[2]}


async def add(gateway: House, of: Ids, who: dict[str, str], **values: Any) -> Any:
    answer = await ask(gateway, "POST", "/instances", file_of(image(of, **values)), who=who)
    assert answer.status == 200, answer.body
    return msgspec.json.decode(answer.body)


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[House]:
    async with asyncio.timeout(50), archive(tmp_path / "data") as made, working(made):
        made.tenants = {"clinic-a": Tenant(), "clinic-b": Tenant()}
        made.roles = {name: Role(permissions=("all",), tenant=name) for name in made.tenants}
        made.roles["operator"] = Role(permissions=("settings", "route", "admin-permissions", "audit-logs"))
        roles = {"anna": ("admin",), "ben": ("clinic-a",), "eve": ("clinic-b",), "otto": ("operator",)}
        made.http = Http(users=tuple(User(name=name, password=HASH, roles=held) for name, held in roles.items()))
        made.dicomweb = Dicomweb(delete=True)
        made.modalities = {
            "pacs": Modality(aet="PACS", host="127.0.0.1", port=1, tenant="*"),
            "our-ct": Modality(aet="OURCT", host="127.0.0.1", port=1, tenant="clinic-a"),
            "their-ct": Modality(aet="THEIRCT", host="127.0.0.1", port=1, tenant="clinic-b"),
            "house-ct": Modality(aet="HOUSECT", host="127.0.0.1", port=1),
        }
        await add(made, THEIRS, EVE, **HIDDEN)
        await add(made, THE_SAME, EVE, **HIDDEN)
        assert (await add(made, OURS, SEES_ONE, PatientName="Own"))["ID"] == OURS.public("instance")
        for of, label, who in ((OURS, "shown", SEES_ONE), (THE_SAME, "hiddenlabel", EVE)):
            path = f"/studies/{of.public('study')}/labels/{label}"
            assert (await made.client.put(path, headers=who)).status == 200
        yield made


@pytest.mark.parametrize("theirs", [THEIRS, THE_SAME], ids=["another patient", "the same identifiers"])
@pytest.mark.parametrize("reads", [True, False])
async def test_answers_as_for_what_never_was(gateway: House, reads: bool, theirs: Ids) -> None:
    """Of what has one's own identifiers too, only by public ids: UIDs lead to one's own."""
    theirs = replace(theirs, job=await job_of(gateway, theirs, EVE))
    if reads:
        for each, who in ((theirs, EVE), (OURS, SEES_ONE), (theirs, SEES_ALL)):
            await asked(gateway, each, who=who, reads=True)
    before = await state(gateway, EVE)
    hidden = await asked(gateway, theirs, who=SEES_ONE, reads=reads)
    never_was = replace(NEVER, job="9", tenant="clinic-x")
    never = await asked(gateway, never_was, who=SEES_ONE, reads=reads)
    wrong = []
    for (what, found), (_same, expected) in zip(hidden, never, strict=True):
        if theirs.study == OURS.study and not by_public_id(what):
            continue
        mine, other = (each.anonymous(of) for each, of in ((found, theirs), (expected, never_was)))
        if str(mine).replace("clinic-b", "<tenant>") != str(other).replace("clinic-x", "<tenant>"):
            wrong.append((what, found.status, found.body[:200], expected.status, expected.body[:200]))
    assert not wrong, f"{len(wrong)}: {wrong[:12]}"
    assert await state(gateway, EVE) == before


def by_public_id(what: str) -> bool:
    """Whether a question names resources by public ids alone."""
    if "{label}" in what:  # The one asked for differs.
        return False
    return "s/{id}" in what or what.startswith(("POST /tools/bulk", "POST /tools/create", "/tools/create-archive"))


def check_nothing_of_theirs(what: str, answer: Answer) -> None:
    text = answer.body.decode("latin-1") + str(answer.headers)
    names = {*THEIRS.every(), *map(THE_SAME.public, LEVELS), *WORDS, "hiddenlabel", "clinic-b", "their-ct", "house-ct"}
    for each in names - {OWN.patient}:
        assert each not in text, (what, each)


async def test_nothing_in_lists_and_own_resources(gateway: House) -> None:
    await asked(gateway, THE_SAME, who=EVE, reads=True)
    await asked(gateway, THE_SAME, who=SEES_ALL, reads=True)
    for route in gateway.client.app[SERVED]:
        if route.method == "GET" and "{" not in route.path:
            for query in ("", "?expand", "?includefield=all"):
                what = route.path + query
                check_nothing_of_theirs(what, await ask(gateway, "GET", what, who=SEES_ONE))
    for what, answer in await asked(gateway, OURS, who=SEES_ONE, reads=True):
        check_nothing_of_theirs(what, answer)


async def test_what_comes_belongs_to_who_brings_it(gateway: House) -> None:
    """In each way, also where every identifier is another tenant's."""
    new = Ids(THEIRS.patient, THEIRS.study, f"{THEIRS.study}.6", f"{THEIRS.study}.6.1", tenant="clinic-a")
    assert (await add(gateway, new, SEES_ONE))["ParentPatient"] == new.public("patient")
    stow = await ask(gateway, "POST", "/dicom-web/tenants/clinic-a/studies", who=SEES_ALL)
    assert stow.status in (400, 415)
    headers = {**SEES_ALL, "Content-Type": "application/dicom"}
    more = replace(new, instance=f"{new.series}.2")
    answer = await gateway.client.post(
        "/dicom-web/tenants/clinic-a/studies", data=file_of(image(more)), headers=headers
    )
    assert answer.status == 200
    (reference,) = (await answer.json(content_type=None))["00081199"]["Value"]
    assert "/dicom-web/tenants/clinic-a/studies/" in reference["00081190"]["Value"][0]
    made = await answered(gateway, "POST", "/tools/create-dicom", {"Parent": new.public("study"), "Tags": {}})
    assert made["ParentPatient"] == new.public("patient")
    changed = await answered(
        gateway, "POST", f"/studies/{new.public('study')}/modify", {"Replace": {"StudyDescription": "x"}, "Keep": []}
    )
    assert (await answered(gateway, "GET", f"/studies/{changed['ID']}"))["ParentPatient"] == new.public("patient")
    for path in ("/studies", "/patients"):
        theirs = msgspec.json.decode((await ask(gateway, "GET", path, who=EVE)).body)
        ours = await answered(gateway, "GET", path)
        assert set(theirs).isdisjoint(ours)
        assert set(theirs) | set(ours) == set(msgspec.json.decode((await ask(gateway, "GET", path, who=SEES_ALL)).body))


async def test_changes_by_somebody_above_stay_with_the_tenant(gateway: House) -> None:
    body = {"Replace": {"StudyDescription": "x"}, "Keep": []}
    answer = await ask(gateway, "POST", f"/studies/{OURS.public('study')}/modify", body, who=SEES_ALL)
    made = msgspec.json.decode(answer.body)["ID"]
    assert (await answered(gateway, "GET", f"/studies/{made}"))["ParentPatient"] == OURS.public("patient")
    answer = await ask(gateway, "POST", "/tools/create-dicom", {"Parent": made, "Tags": {}}, who=SEES_ALL)
    assert msgspec.json.decode(answer.body)["ParentPatient"] == OURS.public("patient")


async def test_the_root_of_a_tenant(gateway: House) -> None:
    for who, tenant, found in (
        (SEES_ALL, "clinic-a", 1),
        (SEES_ALL, "clinic-b", 2),
        (SEES_ONE, "clinic-a", 1),
        (EVE, "clinic-b", 2),
        (SEES_ONE, "clinic-b", 404),
        (SEES_ALL, "clinic-x", 404),
        (by_password("otto"), "clinic-a", 403),
    ):
        answer = await ask(gateway, "GET", f"/dicom-web/tenants/{tenant}/studies", who=who)
        studies = msgspec.json.decode(answer.body) if answer.status == 200 else []
        assert (len(studies) or answer.status) == found, (who, tenant)
        for study in studies:
            (url,) = study["00081190"]["Value"]
            assert f"/dicom-web/tenants/{tenant}/studies/" in url
            assert (await ask(gateway, "GET", urlsplit(url).path, who=who)).status == 200
    root = f"/dicom-web/tenants/clinic-a/studies/{OURS.study}"
    (metadata,) = msgspec.json.decode((await ask(gateway, "GET", f"{root}/metadata", who=SEES_ALL)).body)
    assert metadata["00100010"]["Value"][0]["Alphabetic"] == "Own"
    assert "tenants/clinic-a" in str(metadata.get("7FE00010", {"BulkDataURI": "tenants/clinic-a"}))


async def test_the_operator_sees_no_patient(gateway: House) -> None:
    otto = by_password("otto")
    found = msgspec.json.decode((await ask(gateway, "GET", "/tenants?expand", who=otto)).body)
    assert [(each["ID"], each["CountStudies"], each["CountInstances"]) for each in found] == [
        ("clinic-a", 1, 1),
        ("clinic-b", 2, 2),
    ]
    assert (await ask(gateway, "GET", "/tenants/clinic-a", who=otto)).status == 200
    assert (await ask(gateway, "GET", "/tenants/none", who=otto)).status == 404
    for path in ("/studies", "/statistics", "/changes", "/dicom-web/studies", f"/studies/{OURS.public('study')}"):
        assert (await ask(gateway, "GET", path, who=otto)).status == 403
    await answered(gateway, "GET", "/tenants", status=403)


async def test_systems_of_a_tenant(gateway: House, tmp_path: Path) -> None:
    gateway.destinations = {
        "ours": FolderDestination(path=str(tmp_path), tenant="clinic-a"),
        "theirs": FolderDestination(path=str(tmp_path), tenant="clinic-b"),
    }
    assert await answered(gateway, "GET", "/modalities") == ["our-ct", "pacs"]
    await answered(gateway, "POST", "/modalities/their-ct/store", [OURS.public("study")], status=404)
    await answered(gateway, "POST", "/modalities/house-ct/store", [OURS.public("study")], status=404)
    answer = await ask(gateway, "PUT", "/modalities/new", {"AET": "X", "Host": "h", "Port": 1}, who=SEES_ALL)
    assert answer.status == 200
    assert await answered(gateway, "GET", "/modalities") == ["our-ct", "pacs"]


async def test_a_link_leads_to_the_study_of_its_maker(gateway: House) -> None:
    """And not to that of another tenant, or patient, with the same UID."""
    body = {"Resources": [{"DicomUid": OURS.study, "Level": "study"}]}
    made = await answered(gateway, "PUT", "/auth/tokens/ohif-viewer-publication", body)
    link = {"Authorization": f"Bearer {made['Token']}"}
    found = await ask(gateway, "GET", "/dicom-web/studies", who=link)
    (study,) = msgspec.json.decode(found.body)
    assert study["00100010"]["Value"][0]["Alphabetic"] == "Own"
    check_nothing_of_theirs("a link", found)
    assert (await ask(gateway, "GET", f"/studies/{THE_SAME.public('study')}", who=link)).status == 404
    assert (await ask(gateway, "GET", f"/studies/{OURS.public('study')}", who=link)).status == 200


async def test_limits(gateway: House) -> None:
    gateway.tenants = {"clinic-a": Tenant(max_instances=2), "clinic-b": Tenant(max_size=100)}
    first = replace(OURS, instance=f"{OURS.series}.8")
    await add(gateway, first, SEES_ONE)
    full = await ask(gateway, "POST", "/instances", file_of(image(replace(OURS, instance="1.2.9"))), who=SEES_ONE)
    assert full.status == 507
    assert b"tenant clinic-a has 2 instances and may have 2" in full.body
    full = await ask(gateway, "POST", "/instances", file_of(image(replace(OURS, instance="1.2.9"))), who=EVE)
    assert (full.status, b"tenant clinic-b has" in full.body) == (507, True)
    await add(gateway, replace(OTHERS, instance="1.2.9"), SEES_ALL)


TAGS = {"PatientName": "Own", "ScheduledProcedureStepSequence": [{"ScheduledProcedureStepID": "1"}]}


async def test_worklists(gateway: House) -> None:
    """Each makes, sees, changes and deletes items of its own; whoever is above sees whose they are."""
    ours = (await answered(gateway, "POST", "/worklists/create", {"Tags": TAGS}))["ID"]
    hidden = {"Tags": {**TAGS, "PatientName": WORDS[0]}}
    theirs = msgspec.json.decode((await ask(gateway, "POST", "/worklists/create", hidden, who=EVE)).body)["ID"]
    assert await answered(gateway, "GET", "/worklists") == [ours]
    assert WORDS[0] not in (await ask(gateway, "GET", "/ui/worklist", who=SEES_ONE)).body.decode()
    for method, body in (("GET", None), ("PUT", {"Tags": TAGS}), ("DELETE", None)):
        assert (await ask(gateway, method, f"/worklists/{theirs}", body, who=SEES_ONE)).status == 404
        assert (await ask(gateway, method, f"/worklists/{ours}", body, who=EVE)).status == 404
    assert (await ask(gateway, "GET", f"/ui/worklist?item={theirs}", who=SEES_ONE)).status == 404
    found = msgspec.json.decode((await ask(gateway, "GET", "/worklists?expand", who=SEES_ALL)).body)
    named = [(each["Tenant"], each["Tags"]["PatientName"]) for each in found]
    assert named == [("clinic-a", "Own"), ("clinic-b", WORDS[0])]
    assert "clinic-b" in (await ask(gateway, "GET", "/ui/worklist", who=SEES_ALL)).body.decode()
    await answered(gateway, "PUT", f"/worklists/{ours}", {"Tags": {**TAGS, "PatientName": "Changed"}})
    assert (await answered(gateway, "GET", f"/worklists/{ours}"))["Tags"]["PatientName"] == "Changed"
    await answered(gateway, "DELETE", f"/worklists/{ours}")
    assert await answered(gateway, "GET", "/worklists") == []


async def test_deliveries(gateway: House, tmp_path: Path) -> None:
    """Each sees and steers those of its studies, and holds destinations of its own alone."""
    path = str(tmp_path)
    gateway.destinations = {
        "both": FolderDestination(path=path, tenant="*"),
        "ours": FolderDestination(path=path, tenant="clinic-a"),
        "theirs": FolderDestination(path=path, tenant="clinic-b"),
    }
    for name in gateway.destinations:  # Nothing here sends.
        assert (await ask(gateway, "POST", f"/destinations/{name}/hold", who=SEES_ALL)).status == 200
    add_delivery = gateway.use_cases.manual_deliveries.add
    for name, of in (("both", OURS), ("ours", OURS), ("both", THEIRS), ("both", THE_SAME), ("theirs", THEIRS)):
        assert await add_delivery(name, [of.public("study")]) == 1
    found = await answered(gateway, "GET", "/destinations?expand")
    assert [(each["Name"], each["Waiting"]) for each in found] == [("both", 1), ("ours", 1)]
    (own,) = await answered(gateway, "GET", "/destinations/both/queue")
    assert own["Study"] == OURS.public("study")
    seen = (await answered(gateway, "GET", "/deliveries"))["Deliveries"]
    assert {each["Study"] for each in seen} == {OURS.public("study")}
    above = msgspec.json.decode((await ask(gateway, "GET", "/deliveries", who=SEES_ALL)).body)["Deliveries"]
    hidden = [each["ID"] for each in above if each["Study"] != OURS.public("study")]
    assert len(hidden) == 3
    for number in hidden:
        await answered(gateway, "GET", f"/deliveries/{number}", status=404)
        await answered(gateway, "POST", f"/deliveries/{number}/cancel", status=404)
    for what in ({"Destination": "both"}, {"Study": THEIRS.public("study")}, {"Destination": "theirs"}):
        count = await answered(gateway, "POST", "/deliveries/hold", what)
        assert count == {"Count": int(what == {"Destination": "both"})}
    for action in ("release", "hold"):
        await answered(gateway, "POST", f"/destinations/ours/{action}")
        await answered(gateway, "POST", f"/destinations/both/{action}", status=403)
        await answered(gateway, "POST", f"/destinations/theirs/{action}", status=404)
    proof = {"Study": THEIRS.public("study")}
    await answered(gateway, "POST", "/destinations/both/prove", proof, status=404)
    await answered(gateway, "POST", "/destinations/both/prove", {"Study": OURS.public("study")})
    for query in ("", "?destination=both&state=held", "?destination=both", f"?name={OURS.study}"):
        check_nothing_of_theirs(query, await ask(gateway, "GET", f"/ui/routing{query}", who=SEES_ONE))
    await answered(gateway, "GET", f"/trace?name={THEIRS.study}", status=404)
    states = {each["ID"]: each["State"] for each in above}
    after = msgspec.json.decode((await ask(gateway, "GET", "/deliveries", who=SEES_ALL)).body)["Deliveries"]
    assert {each["ID"]: each["State"] for each in after if each["ID"] in hidden} == {
        each: states[each] for each in hidden
    }
    page = (await ask(gateway, "GET", "/ui/routing", who=SEES_ONE)).body.decode()
    assert page.count('value="release-destination"') == 1
