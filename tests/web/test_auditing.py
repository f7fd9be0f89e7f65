"""gateway/web/auditing.py: what each kind of request leaves in the audit log; /auth/audit-logs."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.entry import AuditEntry
from gateway.audit.table import AuditFilter, search, verify
from gateway.config import Audit, Dicomweb, Http, User
from gateway.config.roles import Role
from gateway.database.actor import Actor
from gateway.database.database import Query
from gateway.database.view import seeing
from gateway.errors import DatabaseError
from gateway.index.visibility import visible
from gateway.jobs.table import list_jobs
from gateway.web.route import BY_RESOURCE
from tests.support import index
from tests.support.datasets import sample
from tests.support.web import House, archive
from tests.web.test_middlewares import ANNA, basic

LET_IN = {"Authorization": basic("geheim")}


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[House]:
    async with archive(tmp_path) as made:
        made.http = Http(users=(ANNA, User(name="bob", password=ANNA.password, roles=("store",))))
        made.dicomweb = Dicomweb(delete=True)
        yield made


async def entries(app: House, **wanted: Any) -> list[AuditEntry]:
    await app.use_cases.audit.flush()
    assert (await verify(app.database)).problem == ""
    found = await search(app.database, AuditFilter(**wanted), skip=0, limit=100)
    return [one for one in reversed(found) if one.action != "sign-in"]


async def study(app: House) -> str:
    await app.add(index.data_set(study="1.2.3"))
    ((public_id,),) = await app.database.fetch(Query("study", "SELECT public_id FROM studies"))
    return str(public_id)


async def test_looking_is_counted_by_study(app: House) -> None:
    public_id = await study(app)
    for path in ("/dicom-web/studies/1.2.3/instances", "/dicom-web/studies/1.2.3/series", f"/studies/{public_id}") * 3:
        assert (await app.client.get(path, headers=LET_IN)).status == 200
    (one,) = await entries(app, action="view")
    assert one.actor == ("anna", "", "127.0.0.1")
    assert one.subject == ("study", public_id, "1.2.3", "P1")
    assert (one.outcome, one.number) == ("success", 9)


async def test_what_is_not_there(app: House) -> None:
    await app.client.get("/dicom-web/studies/9.9/metadata", headers=LET_IN)
    (one,) = await entries(app)
    assert (one.action, one.outcome, one.study_uid) == ("view", "failure", "9.9")
    answer = await app.client.post("/tools/create-archive", json={"Resources": ["x"]}, headers=LET_IN)
    assert answer.status == 404


async def test_a_search_has_the_values_of_identifiers_alone(app: House) -> None:
    await app.client.get("/dicom-web/studies?PatientID=P1&PatientName=Doe*", headers=LET_IN)
    body = {"Level": "Study", "Query": {"PatientName": "Doe*", "StudyInstanceUID": "1.2"}}
    await app.client.post("/tools/find", headers=LET_IN, json=body)
    await app.client.get("/ui/", headers=LET_IN)
    assert [one.details for one in await entries(app, action="search")] == [
        {"keys": {"PatientID": "P1", "PatientName": "..."}},
        {"keys": {"PatientName": "...", "StudyInstanceUID": "1.2"}},
        {"keys": {}},
    ]


async def test_uploads_and_downloads(app: House) -> None:
    assert (await app.client.post("/instances", headers=LET_IN, data=sample("CT_small.dcm").read_bytes())).status == 200
    ((public_id,),) = await app.database.fetch(Query("study", "SELECT public_id FROM studies"))
    await (await app.client.get(f"/studies/{public_id}/archive", headers=LET_IN)).read()
    await (await app.client.post("/tools/create-archive", headers=LET_IN, json=[public_id])).read()
    found = await entries(app)
    assert [(one.action, one.public_id, one.number) for one in found] == [
        ("upload", public_id, 1),
        ("download", public_id, 2),
    ]


class TestChanges:
    async def test_a_deletion_and_its_entry_are_one_transaction(
        self, app: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        public_id = await study(app)
        monkeypatch.setattr("gateway.audit.queries.ADD.qmark", "INSERT INTO nothing VALUES (?1)", raising=True)
        answer = await app.client.delete(f"/studies/{public_id}", headers=LET_IN)
        assert answer.status >= 500
        assert await app.database.fetch(Query("study", "SELECT 1 FROM studies")) == [(1,)]
        monkeypatch.undo()
        assert (await app.client.delete(f"/studies/{public_id}", headers=LET_IN)).status == 200
        (one,) = await search(app.database, AuditFilter(), skip=0, limit=9)
        assert (one.action, one.outcome, one.patient_id, one.study_uid) == ("delete", "success", "P1", "1.2.3")

    async def test_each_of_many(self, app: House) -> None:
        ids = []
        for uid in ("1.2", "1.3"):
            await app.add(index.data_set(study=uid))
        ids = [row[0] for row in await app.database.fetch(Query("s", "SELECT public_id FROM studies ORDER BY uid"))]
        await app.client.post("/tools/bulk-delete", headers=LET_IN, json={"Resources": [*ids, "0-0"]})
        assert [(one.study_uid, one.outcome) for one in await entries(app)] == [("1.2", "success"), ("1.3", "success")]

    async def test_what_fails(self, app: House) -> None:
        await app.client.delete("/studies/0-0-0-0-0", headers=LET_IN)
        app.dicomweb = Dicomweb()
        await app.client.delete("/studies/0-0-0-0-0", headers=LET_IN)
        assert [(one.outcome, one.public_id) for one in await entries(app)] == [
            ("failure", "0-0-0-0-0"),
            ("denied", "0-0-0-0-0"),
        ]

    async def test_labels_and_settings(self, app: House) -> None:
        public_id = await study(app)
        await app.client.put(f"/studies/{public_id}/labels/seen", headers=LET_IN)
        await app.client.put("/modalities/ct", headers=LET_IN, json=["CT", "127.0.0.1", 104])
        first, second = await entries(app)
        assert (first.action, first.study_uid, first.details["label"]) == ("edit-labels", "1.2.3", "seen")
        assert (second.action, second.details["name"], second.outcome) == ("settings", "ct", "success")

    async def test_a_job_says_who_has_asked_for_it(self, app: House) -> None:
        public_id = await study(app)
        body = {"Asynchronous": True, "Replace": {"StudyDescription": "secret"}}
        await app.client.post(f"/studies/{public_id}/modify", headers=LET_IN, json=body)
        (one,) = await entries(app)
        assert (one.action, one.public_id, one.level) == ("modify", public_id, "study")
        assert "secret" not in one.detail
        (job,) = await list_jobs(app.database)
        assert job.actor == Actor("anna", "", "127.0.0.1")


async def test_who_may_not(app: House) -> None:
    denied = {"Authorization": "Basic " + base64.b64encode(b"bob:geheim").decode()}
    public_id = await study(app)
    for _ in range(2):
        assert (await app.client.get(f"/studies/{public_id}", headers=denied)).status == 403
        assert (await app.client.get("/auth/audit-logs", headers=denied)).status == 403
    found = await entries(app, user="bob")
    assert [(one.action, one.outcome, one.number) for one in found] == [
        ("view", "denied", 2),
        ("audit-logs", "denied", 2),
    ]
    assert found[0].study_uid == "1.2.3"


async def test_signing_in(app: House) -> None:
    wrong = {"Authorization": basic("falsch")}
    for headers in ({}, wrong, LET_IN, LET_IN):
        await app.client.get("/system", headers=headers)
    await app.use_cases.audit.flush()
    first, second = (await search(app.database, AuditFilter(action="sign-in"), skip=0, limit=9))[::-1]
    assert (first.outcome, first.user, first.details, first.origin) == ("denied", "", {"user": "anna"}, "127.0.0.1")
    assert (second.outcome, second.user, second.number) == ("success", "anna", 1)


async def test_off_without_users_unless_it_is_wanted(app: House) -> None:
    app.http = Http()
    await app.client.get("/dicom-web/studies")
    assert await entries(app) == []
    app.audit = Audit(enabled=True)
    await app.client.get("/dicom-web/studies")
    assert [(one.user, one.origin) for one in await entries(app)] == [("", "127.0.0.1")]


async def test_a_log_that_cannot_be_written_stops_what_would_fill_it(
    app: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise DatabaseError("no space")

    monkeypatch.setattr("gateway.audit.log.MAX_COUNTED", 1)
    assert (await app.client.get("/dicom-web/studies", headers=LET_IN)).status == 200
    monkeypatch.setattr(app.database, "write", fails)
    assert (await app.client.get("/dicom-web/studies", headers=LET_IN)).status == 503
    monkeypatch.undo()


class TestReading:
    async def test_as_orthanc_has_it(self, app: House) -> None:
        public_id = await study(app)
        await app.client.get(f"/studies/{public_id}", headers=LET_IN)
        await app.use_cases.audit.flush()
        answer = await app.client.get(f"/auth/audit-logs?resource-id={public_id}", headers=LET_IN)
        (one,) = await answer.json()
        assert one.pop("Timestamp").endswith("Z")
        assert one == {
            "Action": "view",
            "JsonLogData": {
                "Number": 1,
                "Origin": "127.0.0.1",
                "Outcome": "success",
                "PatientID": "P1",
                "Seq": 2,
                "StudyInstanceUID": "1.2.3",
            },
            "ResourceId": public_id,
            "ResourceType": "Study",
            "SourcePlugin": "dicom-gateway",
            "UserId": "anna",
            "UserName": "anna",
        }
        assert [one.action for one in await entries(app)] == ["view", "audit-logs"]

    async def test_parameters(self, app: House) -> None:
        await app.client.get("/dicom-web/studies", headers=LET_IN)
        await app.use_cases.audit.flush()
        for query, count in (
            ("user-id=anna&action=search", 1),
            ("user-id=bob", 0),
            ("action=search&limit=1&log-data-format=base64", 1),
            ("since=1&action=search", 0),
            ("from-timestamp=2020-01-01T00:00:00.000Z&action=search", 1),
            ("to-timestamp=2020-01-01T00:00:00+01:00", 0),
            ("from-timestamp=2020-01-01&study=1.2", 0),
        ):
            answer = await app.client.get(f"/auth/audit-logs?{query}", headers=LET_IN)
            assert len(await answer.json()) == count, query
        for query in ("from-timestamp=soon", "to-timestamp=0001-01-01T00:00:00+23:00x", "log-data-format=xml"):
            assert (await app.client.get(f"/auth/audit-logs?{query}", headers=LET_IN)).status == 400, query

    async def test_a_table_that_is_no_formula(self, app: House) -> None:
        await app.client.get("/dicom-web/studies/=1+1/metadata", headers=LET_IN)
        await app.use_cases.audit.flush()
        answer = await app.client.get("/auth/audit-logs?format=csv", headers=LET_IN)
        text = await answer.text()
        assert answer.content_type == "text/csv"
        assert text.splitlines()[0].startswith("seq,at,action,outcome,user,")
        assert ",'=1+1," in text

    async def test_whether_it_is_whole(self, app: House) -> None:
        await app.client.get("/dicom-web/studies", headers=LET_IN)
        await app.use_cases.audit.flush()
        answer = await app.client.get("/auth/audit-logs/verify", headers=LET_IN)
        found = await answer.json()
        assert (found["First"], found["Last"], found["Problem"]) == (1, 2, "")
        again = f"/auth/audit-logs/verify?seq={found['Last']}&hash={found['Hash']}"
        assert (await (await app.client.get(again, headers=LET_IN)).json())["Problem"] == ""
        wrong = f"/auth/audit-logs/verify?seq=1&hash={'00' * 32}"
        assert "another hash" in (await (await app.client.get(wrong, headers=LET_IN)).json())["Problem"]
        assert (await app.client.get("/auth/audit-logs/verify?hash=x", headers=LET_IN)).status == 400


async def test_every_route_says_what_it_does(app: House) -> None:
    assert app.client.app is not None
    routes = app.client.app[BY_RESOURCE]
    assert all(route.action is not None for route in routes.values())
    silent = {
        path for (method, path), route in routes.items() if not route.action and method in ("POST", "PUT", "DELETE")
    }
    assert silent == {
        "/modalities/{name}/echo",
        "/tools/dicom-echo",
        "/auth/tokens/decode",
        "/ui/sign-in",
        "/ui/columns",
        "/ui/searches",
        "/ui/language",
    }
    for path, action in (
        ("/dicom-web/studies", "search"),
        ("/dicom-web/studies/{study}", "view"),
        ("/dicom-web/studies/{study}/series", "view"),
        ("/instances/{id}/preview", "view"),
        ("/instances/{id}/file", "download"),
        ("/worklists", "worklists"),
        ("/changes", "search"),
        ("/jobs", ""),
        ("/system", ""),
        ("/ohif/", ""),
        ("/ui/", "search"),
    ):
        assert routes["GET", path].action == action, path


class TestPage:
    async def test_entries_and_a_way_to_more(self, app: House) -> None:
        await study(app)
        await app.client.get("/dicom-web/studies/1.2.3/series", headers=LET_IN)
        await app.client.get("/dicom-web/studies?PatientID=<b>P1", headers=LET_IN)
        await app.use_cases.audit.flush()
        text = await (await app.client.get("/ui/audit", headers=LET_IN)).text()
        assert "?study=1.2.3" in text
        assert "&lt;b&gt;P1" in text
        text = await (await app.client.get("/ui/audit?action=view&user-id=anna", headers=LET_IN)).text()
        assert text.count("<tr>") == 2
        assert "action=view&amp;format=csv" in text
        text = await (await app.client.get("/ui/audit?user-id=bob", headers=LET_IN)).text()
        assert "No entry matches" in text

    async def test_only_those_who_may_read_it_are_shown_the_way(self, app: House) -> None:
        assert "/ui/audit" in await (await app.client.get("/ui/", headers=LET_IN)).text()
        bob = {"Authorization": "Basic " + base64.b64encode(b"bob:geheim").decode()}
        assert "/ui/audit" not in await (await app.client.get("/ui/", headers=bob)).text()


async def test_a_role_for_some_studies_shows_their_entries_alone(app: House) -> None:
    await study(app)
    for uid in ("1.2.3", "9.9"):
        await app.client.get(f"/dicom-web/studies/{uid}/series", headers=LET_IN)
    await app.use_cases.audit.flush()
    (shown, hidden) = [
        await search(app.database, AuditFilter(study_uid=uid), skip=0, limit=9) for uid in ("1.2.3", "9.9")
    ]
    assert shown
    assert hidden
    with seeing(visible((Role(permissions=("audit-logs",), studies=("1.2.3",)),))):
        found = await search(app.database, AuditFilter(), skip=0, limit=9)
    assert {one.study_uid for one in found} == {"1.2.3"}
