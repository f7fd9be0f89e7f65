"""What a user may not see is not there: every door is tried as the wrong user, and answers as for what never was.

Of four studies ben sees one. Those that he does not see are of another patient, of the same patient, and of another
patient under the same UIDs. Whoever sees all has been everywhere before him, so that caches hold what he must not see.
"""

from __future__ import annotations

import asyncio
import base64
import io
import re
import zipfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientResponse
from pydicom.dataset import Dataset

from gateway.access.passwords import hash_password
from gateway.config import Dicomweb, Http, Modality, User
from gateway.config.roles import Role
from gateway.dicom.levels import COLLECTIONS, LEVELS, Level
from gateway.dicom.part10 import file_header
from gateway.index.identity import owned, public_id
from gateway.jobs.table import ended_job
from gateway.web.route import SERVED, Route
from tests.support.datasets import EXPLICIT, encode, instance
from tests.support.web import House, archive, working

PASSWORD = "geheim"
HASH = hash_password(PASSWORD)


def by_password(name: str) -> dict[str, str]:
    """The headers of a user's requests."""
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{PASSWORD}".encode()).decode()}


SEES_ALL, SEES_ONE = by_password("anna"), by_password("ben")
ENDLESS = "/ui/events"


@dataclass(frozen=True)
class Ids:
    """The identifiers of a study with one instance; each kind is as long for all of them."""

    patient: str
    study: str
    series: str
    instance: str
    job: str = "8"
    tenant: str = ""

    def public(self, level: Level) -> str:
        named = {"patient": (), "study": (self.study,), "series": (self.study, self.series)}
        uids = named.get(level, (self.study, self.series, self.instance))
        return public_id(owned(self.patient, self.tenant), *uids)

    def uids(self) -> dict[str, str]:
        return {"study": self.study, "series": self.series, "instance": self.instance, "uid": self.instance}

    def every(self) -> list[str]:
        return [*(self.public(level) for level in LEVELS), self.patient, *self.uids().values()]

    def anonymous(self, text: str) -> str:
        """A text in which the identifiers are those of anybody."""
        for number, each in enumerate(self.every()):
            text = text.replace(each, f"<{number}>")
        return re.sub(rf"\b(jobs?[ /]){self.job}\b", r"\1<job>", text)


def ids(number: int, patient: str = "", study: int | None = None) -> Ids:
    uid = f"1.2.{study or number}"
    return Ids(patient or f"PATIENT{number}", uid, f"{uid}.5", f"{uid}.5.7")


OWN = ids(111111)
OTHERS, SAME_PATIENT, SAME_UIDS = ids(222222), ids(333333, "PATIENT111111"), ids(444444, study=111111)
HIDDEN = (OTHERS, SAME_PATIENT, SAME_UIDS)
NEVER = ids(999999)
WORDS = ("Verborgen", "HIDDENACCESSION", "Hidden description")


def image(of: Ids, **values: Any) -> Dataset:
    return instance(
        PatientID=of.patient,
        StudyInstanceUID=of.study,
        SeriesInstanceUID=of.series,
        SOPInstanceUID=of.instance,
        **values,
    )


async def add(gateway: House, data_set: Dataset) -> None:
    answer = await gateway.client.post("/instances", data=file_of(data_set), headers=SEES_ALL)
    assert answer.status == 200, await answer.text()


def file_of(data_set: Dataset) -> bytes:
    head = file_header(
        sop_class_uid=data_set.SOPClassUID, sop_instance_uid=data_set.SOPInstanceUID, transfer_syntax_uid=EXPLICIT
    )
    return head + encode(data_set, EXPLICIT)


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[House]:
    async with asyncio.timeout(50), archive(tmp_path / "data") as made, working(made):
        made.roles = {"part": Role(permissions=("all",), labels=("shown",))}
        made.http = Http(users=(User(name="anna", password=HASH), User(name="ben", password=HASH, roles=("part",))))
        made.dicomweb = Dicomweb(delete=True)
        made.modalities = {"pacs": Modality(aet="PACS", host="127.0.0.1", port=1)}
        hidden = {"PatientName": WORDS[0], "AccessionNumber": WORDS[1], "StudyDescription": WORDS[2]}
        for each in HIDDEN:
            await add(made, image(each, **(hidden if each is not SAME_PATIENT else {**hidden, "PatientName": "Own"})))
        await add(made, image(OWN, PatientName="Own", AccessionNumber="OWN", StudyDescription="Own"))
        for of, label in ((OWN, "shown"), (OTHERS, "hiddenlabel"), (SAME_PATIENT, "hiddenlabel")):
            path = f"/studies/{of.public('study')}/labels/{label}"
            assert (await made.client.put(path, headers=SEES_ALL)).status == 200
        yield made


def path_of(route: Route, of: Ids) -> str:
    """The path of a route with the identifiers of a resource."""
    level = next((each for each, name in COLLECTIONS.items() if f"/{name}/{{id}}" in route.path), None)
    public = of.job if route.path.startswith("/jobs") else of.public(level) if level else of.study
    values = {
        "id": public,
        "frame": "0",
        "frames": "1",
        "filename": "studies.js",
        "key": "archive",
        "label": "shown" if of.study == OWN.study else "hiddenlabel",
        "name": "pacs" if "/modalities/" in route.path else "1024",
        "number": "0",
        "page": "viewer",
        "path": "00100020" if "content" not in route.path else "0010-0020",
        "release": "1",
        "tenant": of.tenant or "nobody",
        "type": "viewer-instant-link",
        "patient": of.public("patient"),
        **of.uids(),
    }
    return re.sub(r"{(\w+)(?::(?:[^{}]|{[^{}]*})*)?}", lambda found: values[found[1]], route.path)


def bodies(route: Route, of: Ids) -> list[Any]:
    """What is asked or sent: JSON, or bytes."""
    named = [of.public(level) for level in LEVELS]
    if route.method in ("GET", "DELETE", "OPTIONS"):
        return [None]
    if "/metadata/" in route.path or "/attachments/" in route.path or "protected" in route.path:
        return [b"1"]
    find = [{"Level": level.capitalize(), "Query": {"PatientID": of.patient}} for level in LEVELS]
    by_uid = [{"Level": "Study", "Query": {"StudyInstanceUID": of.study}, "Expand": True}]
    known: dict[str, list[Any]] = {
        "/tools/find": find + by_uid,
        "/tools/count-resources": find + by_uid,
        "/tools/lookup": [each.encode() for each in (of.patient, *of.uids().values())],
        "/tools/bulk-content": [{"Resources": named}, *({"Resources": [each], "Level": "Patient"} for each in named)],
        "/tools/bulk-delete": [{"Resources": [each]} for each in named],
        "/tools/bulk-modify": [{"Resources": [each], "Remove": ["StudyDescription"]} for each in named],
        "/tools/bulk-anonymize": [{"Resources": [each]} for each in named],
        "/tools/create-archive": [{"Resources": [each], "Synchronous": True} for each in named],
        "/tools/create-media": [{"Resources": [each], "Synchronous": True} for each in named],
        "/tools/create-media-extended": [{"Resources": [each], "Synchronous": True} for each in named],
        "/tools/create-dicom": [{"Parent": each, "Tags": {}} for each in named],
        "/studies/{id}/merge": [
            {"Resources": [of.public("series")]},
            {"Resources": [OWN.public("series")]},
        ],
        "/studies/{id}/split": [{"Series": [of.public("series")]}],
        "/modalities/{name}/store": [[each] for each in named] + [{"Resources": named[:1], "Synchronous": False}],
        "/auth/tokens/{type}": [
            {"Resources": [{"Level": "study", "OrthancId": of.public("study")}]},
            {"Resources": [{"Level": "study", "DicomUid": of.study}]},
        ],
        "/modalities/{name}/storage-commitment": [{"Resources": [each]} for each in named],
    }
    return known.get(route.path, [{}])


def questions(of: Ids) -> Iterator[str]:
    """Paths with queries that name a resource."""
    for kind in ("studies", "series", "instances") if of.tenant else ():
        yield f"/dicom-web/tenants/{of.tenant}/{kind}?PatientID={of.patient}"
    for level in LEVELS:
        yield f"/tools/create-archive?resources={of.public(level)}"
    for kind in ("studies", "series", "instances"):
        for key in (f"PatientID={of.patient}", f"StudyInstanceUID={of.study}", "AccessionNumber=HIDDENACCESSION"):
            yield f"/dicom-web/{kind}?{key}&includefield=all"
    wado = f"/wado?requestType=WADO&studyUID={of.study}&seriesUID={of.series}&objectUID={of.instance}"
    yield from (wado, f"{wado}&contentType=application/dicom")
    yield f"/ui/?patient={of.patient}"
    yield "/ui/rows?accession=HIDDEN"
    yield f"/dicom-web/patients/{of.public('patient')}/studies"


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...]

    def anonymous(self, of: Ids) -> tuple[int, str, list[tuple[str, str]]]:
        text = re.sub(r"MessageBoundary\w+|boundary=\S+", "", self.body.decode("latin-1"))
        return self.status, of.anonymous(text), [(name, of.anonymous(value)) for name, value in self.headers]


async def ask(gateway: House, method: str, path: str, body: Any = None, *, who: dict[str, str]) -> Answer:
    data = {"data": body} if isinstance(body, bytes) else {"json": body} if body is not None else {}
    answer: ClientResponse = await gateway.client.request(method, path, headers=who, allow_redirects=False, **data)
    headers = [(name, value) for name, value in sorted(answer.headers.items()) if name not in ("Date",)]
    if path.partition("?")[0] == ENDLESS:
        found = await answer.content.readline()
        answer.close()
        return Answer(answer.status, found, tuple(headers))
    return Answer(answer.status, await answer.read(), tuple(headers))


def routes(gateway: House) -> list[Route]:
    """All routes with identifiers of resources, without those that end the gateway."""
    return [each for each in gateway.client.app[SERVED] if "{" in each.path or each.path.startswith("/tools/")]


async def asked(gateway: House, of: Ids, *, who: dict[str, str], reads: bool) -> list[tuple[str, Answer]]:
    """What is answered about a resource at each route, and by each question; of what changes nothing, if it `reads`."""
    found = []
    for route in routes(gateway):
        is_read = route.method == "GET" or route.path in ("/tools/find", "/tools/bulk-content", "/tools/lookup")
        if is_read is reads and route.path not in ("/tools/now", "/tools/now-local", "/tools/generate-uid"):
            for body in bodies(route, of):
                answer = await ask(gateway, route.method, path_of(route, of), body, who=who)
                found.append((f"{route.method} {route.path} {of.anonymous(str(body))}", answer))
    if reads:
        found += [(of.anonymous(path), await ask(gateway, "GET", path, who=who)) for path in questions(of)]
    return found


async def job_of(gateway: House, of: Ids, who: dict[str, str]) -> str:
    """A job about a resource that has been done."""
    path = f"/patients/{of.public('patient')}/archive"
    answer = await gateway.client.post(path, json={"Asynchronous": True}, headers=who)
    assert answer.status == 200, await answer.text()
    number = str((await answer.json())["ID"])
    async with asyncio.timeout(30):
        await ended_job(gateway.database, int(number))
    return number


def check_nothing_hidden(what: str, answer: Answer, *others: Ids) -> None:
    text = answer.body.decode("latin-1") + str(answer.headers)
    ours = {OWN.patient, OWN.public("patient"), *OWN.uids().values()}
    for each in others or HIDDEN:
        for name in set(each.every()) - ours:
            assert name not in text, (what, name)
    for word in (*WORDS, "hiddenlabel"):
        assert word not in text, (what, word)


@pytest.mark.parametrize("reads", [True, False])
async def test_answers_as_for_what_never_was(gateway: House, reads: bool) -> None:
    job = await job_of(gateway, OTHERS, SEES_ALL)
    others = replace(OTHERS, job=job)
    if reads:
        for each in (others, OWN):
            await asked(gateway, each, who=SEES_ALL, reads=True)
    before = await state(gateway)
    hidden = await asked(gateway, others, who=SEES_ONE, reads=reads)
    never = await asked(gateway, replace(NEVER, job="9"), who=SEES_ONE, reads=reads)
    wrong = []
    for (what, found), (_same, expected) in zip(hidden, never, strict=True):
        if found.anonymous(others) != expected.anonymous(replace(NEVER, job="9")):
            wrong.append((what, found.status, found.body[:200], expected.status, expected.body[:200]))
    assert not wrong, f"{len(wrong)}: {wrong[:12]}"
    assert await state(gateway) == before


async def state(gateway: House, who: dict[str, str] = SEES_ALL) -> list[Any]:
    """All that there is, as somebody sees it."""
    found = []
    for path in ("/studies?expand", "/patients?expand", "/statistics", "/jobs?expand", "/changes?limit=1000"):
        answer = await ask(gateway, "GET", path, who=who)
        found.append(re.sub(rb'"Timestamp": "[^"]*"', b"", answer.body))
    return found


async def answered(gateway: House, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
    """What the one who sees a part is answered."""
    answer = await ask(gateway, method, path, body, who=SEES_ONE)
    assert answer.status == status, (path, answer.body)
    return msgspec.json.decode(answer.body) if answer.body else None


async def test_nothing_in_lists_and_own_resources(gateway: House) -> None:
    await job_of(gateway, OTHERS, SEES_ALL)
    await asked(gateway, OWN, who=SEES_ALL, reads=True)
    for route in gateway.client.app[SERVED]:
        if route.method == "GET" and "{" not in route.path:
            for query in ("", "?expand", "?includefield=all"):
                check_nothing_hidden(route.path + query, await ask(gateway, "GET", route.path + query, who=SEES_ONE))
    for what, answer in await asked(gateway, OWN, who=SEES_ONE, reads=True):
        check_nothing_hidden(what, answer)


async def test_counts(gateway: House) -> None:
    counts = await answered(gateway, "GET", "/statistics")
    assert [counts[f"Count{name}"] for name in ("Patients", "Studies", "Series", "Instances")] == [1] * 4
    (_, _, size, *_) = (await answered(gateway, "GET", f"/instances/{OWN.public('instance')}/statistics")).values()
    assert counts["TotalDiskSize"] == str(size)
    for level in LEVELS:
        asked_for = {"Level": level.capitalize(), "Query": {}}
        assert await answered(gateway, "POST", "/tools/count-resources", asked_for) == {"Count": 1}
        assert await answered(gateway, "POST", "/tools/find", asked_for) == [OWN.public(level)]
    (found,) = await answered(gateway, "GET", "/dicom-web/studies?includefield=00201200,00201206")
    assert found["00201206"]["Value"] == [1]
    (patient,) = await answered(gateway, "POST", "/tools/find", {"Level": "Patient", "Query": {}, "Expand": True})
    assert patient["Studies"] == [OWN.public("study")]
    changes = await answered(gateway, "GET", "/changes?limit=1000")
    assert {each["ID"] for each in changes["Changes"]} == {OWN.public(level) for level in LEVELS[1:]}
    assert changes["Last"] == changes["Changes"][-1]["Seq"]
    assert (await answered(gateway, "GET", "/changes?last"))["Last"] == changes["Last"]
    assert await answered(gateway, "GET", "/tools/labels") == ["shown"]
    event = await ask(gateway, "GET", ENDLESS, who=SEES_ONE)
    live = msgspec.json.decode(event.body.removeprefix(b"data: "))
    assert [live["totals"][name] for name in ("patients", "studies", "series", "instances")] == [1] * 4
    assert (live["associations"], live["rates"]) == ([], [])


async def test_own_resources_are_there_whole(gateway: House) -> None:
    """What is answered about them is what whoever sees all is answered, who has to say of which patient."""
    roots = tuple(f"/{name}/" for name in list(COLLECTIONS.values())[1:])
    for route in routes(gateway):
        if route.method == "GET" and route.path.startswith((*roots, "/dicom-web/patients/")):
            path = path_of(route, OWN)
            whole, part = [await ask(gateway, "GET", path, who=who) for who in (SEES_ALL, SEES_ONE)]
            assert part.status == whole.status, path
            if not route.path.endswith(("/archive", "/media")) and whole.headers == part.headers:
                assert part.body == whole.body, path
    for path in (f"/dicom-web/studies/{OWN.study}", f"/dicom-web/studies/{OWN.study}/metadata"):
        assert (await ask(gateway, "GET", path, who=SEES_ALL)).status == 409
        assert (await ask(gateway, "GET", path, who=SEES_ONE)).status == 200


async def test_jobs_see_what_their_requester_does(gateway: House) -> None:
    everybodys = await job_of(gateway, OWN, SEES_ALL)
    own = await job_of(gateway, OWN, SEES_ONE)
    assert await answered(gateway, "GET", "/jobs") == [own]
    assert (await ask(gateway, "GET", f"/jobs/{everybodys}/archive", who=SEES_ONE)).status == 404
    assert (await ask(gateway, "DELETE", f"/jobs/{everybodys}/archive", who=SEES_ONE)).status == 404
    for number, expected in ((own, {"Own"}), (everybodys, {"Own", WORDS[2]})):
        answer = await ask(gateway, "GET", f"/jobs/{number}/archive", who=SEES_ONE if number == own else SEES_ALL)
        names = zipfile.ZipFile(io.BytesIO(answer.body)).namelist()
        assert {word for word in (*WORDS, "Own") if any(word in name for name in names)} >= expected
        assert len(names) == len(expected)


async def test_what_a_job_has_made_is_seen_by_who_may_see_it_now(gateway: House) -> None:
    """Not by a token with fewer roles than the user who asked, nor by the user when the roles have changed."""
    made = await ask(gateway, "POST", "/auth/api-tokens", {"Name": "x", "Roles": ["part"]}, who=SEES_ALL)
    token = {"Authorization": f"Bearer {msgspec.json.decode(made.body)['Token']}"}
    number = await job_of(gateway, OTHERS, SEES_ALL)
    own = await job_of(gateway, OWN, token)
    listed = await ask(gateway, "GET", "/jobs", who=token)
    assert msgspec.json.decode(listed.body) == [own]
    for method, path in (
        ("GET", f"/jobs/{number}"),
        ("GET", f"/jobs/{number}/archive"),
        ("POST", f"/jobs/{number}/cancel"),
    ):
        assert (await ask(gateway, method, path, who=token)).status == 404
    for each in (number, own):
        assert (await ask(gateway, "GET", f"/jobs/{each}/archive", who=SEES_ALL)).status == 200
    assert (await ask(gateway, "GET", f"/jobs/{own}/archive", who=token)).status == 200
    gateway.http = Http(users=(User(name="anna", password=HASH, roles=("part",)),))
    assert (await ask(gateway, "GET", f"/jobs/{own}/archive", who=SEES_ALL)).status == 200
    assert (await ask(gateway, "GET", f"/jobs/{number}/archive", who=SEES_ALL)).status == 404


async def test_a_token_tells_nothing_of_the_links_of_its_maker(gateway: House) -> None:
    made = await ask(gateway, "POST", "/auth/api-tokens", {"Name": "x", "Roles": ["part"]}, who=SEES_ALL)
    token = {"Authorization": f"Bearer {msgspec.json.decode(made.body)['Token']}"}
    wanted = {"Resources": [{"Level": "study", "OrthancId": OTHERS.public("study")}]}
    made = await ask(gateway, "PUT", "/auth/tokens/ohif-viewer-publication", wanted, who=SEES_ALL)
    link = msgspec.json.decode(made.body)["ID"]
    for path in ("/auth/shares", "/auth/api-tokens"):
        assert msgspec.json.decode((await ask(gateway, "GET", path, who=token)).body) == []
    assert (await ask(gateway, "DELETE", f"/auth/shares/{link}", who=token)).status == 404
    assert len(msgspec.json.decode((await ask(gateway, "GET", "/auth/shares", who=SEES_ALL)).body)) == 1


async def test_a_patient_seen_in_part(gateway: House) -> None:
    patient = f"/patients/{OWN.public('patient')}"
    for method, path in (
        ("PUT", "labels/hiddenlabel"),
        ("DELETE", "labels/shown"),
        ("PUT", "metadata/1024"),
        ("PUT", "protected"),
    ):
        await answered(gateway, method, f"{patient}/{path}", b"1", status=403)
    assert (await answered(gateway, "GET", f"{patient}/statistics"))["CountStudies"] == 1
    assert await answered(gateway, "DELETE", patient) == {"RemainingAncestor": None}
    await answered(gateway, "GET", patient, status=404)
    left = await ask(gateway, "GET", f"{patient}/studies", who=SEES_ALL)
    assert [each["ID"] for each in msgspec.json.decode(left.body)] == [SAME_PATIENT.public("study")]


async def test_what_is_stored_and_changed_is_not_seen_before_it_is_shown(gateway: House) -> None:
    """The gateway sees all of it, so that counts stay right and duplicates are found."""
    new = ids(555555)
    answer = await ask(gateway, "POST", "/instances", file_of(image(new)), who=SEES_ONE)
    assert msgspec.json.decode(answer.body)["Status"] == "Success"
    again = await ask(gateway, "POST", "/instances", file_of(image(new)), who=SEES_ONE)
    assert again.status == 200
    await answered(gateway, "GET", f"/studies/{new.public('study')}", status=404)
    made = await answered(
        gateway, "POST", f"/studies/{OWN.public('study')}/anonymize", {"Synchronous": True, "KeepSource": True}
    )
    metadata = f"/studies/{made['ID']}/metadata/AnonymizedFrom"
    await answered(gateway, "GET", metadata, status=404)
    assert (await ask(gateway, "GET", metadata, who=SEES_ALL)).body.decode() == OWN.public("study")
    label = f"/studies/{new.public('study')}/labels/shown"
    await answered(gateway, "PUT", label, status=404)
    assert (await ask(gateway, "PUT", label, who=SEES_ALL)).status == 200
    assert (await answered(gateway, "GET", f"/studies/{new.public('study')}"))["Labels"] == ["shown"]
    assert (await ask(gateway, "DELETE", label, who=SEES_ALL)).status == 200
    await answered(gateway, "GET", f"/studies/{new.public('study')}", status=404)
