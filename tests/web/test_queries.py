"""/modalities/{name}/query, /queries and find…: C-FIND as scripts for Orthanc use it, over a second gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Http, User
from gateway.config.roles import Role
from gateway.database.actor import Actor
from gateway.database.view import reading
from gateway.errors import NotFound
from gateway.index.visibility import visible
from gateway.scu.find import STUDY_ROOT
from gateway.systems import kept_queries
from gateway.web.rest import finding
from gateway.web.rest.tags import from_tags
from tests.support.nodes import EXPLICIT, asked_node
from tests.support.remote import Remote, remote
from tests.support.sign_in import ADMIN, by_password

STUDY = {"Level": "Study", "Query": {"PatientID": "*", "StudyDescription": ""}}


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Remote]:
    async with asyncio.timeout(50), remote(tmp_path) as made:
        instances = await made.fill(1, 2)
        status, _ = await made.post("/modalities/there/store", [instances[0]["ParentPatient"]])
        assert status == 200
        yield made


async def asked(pair: Remote, body: Any = STUDY) -> str:
    status, answer = await pair.post("/modalities/there/query", body)
    assert status == 200, answer
    assert answer["Path"] == f"/queries/{answer['ID']}"
    return str(answer["Path"])


async def text(pair: Remote, path: str) -> str:
    return await (await pair.here.get(path)).text()


class TestQuery:
    async def test_what_was_asked(self, pair: Remote) -> None:
        path = await asked(pair)
        assert await pair.here.json("/queries") == [path.rpartition("/")[2]]
        assert await pair.here.json(path) == ["answers", "level", "modality", "query", "retrieve"]
        assert (await text(pair, f"{path}/level"), await text(pair, f"{path}/modality")) == ("Study", "there")
        keys = await pair.here.json(f"{path}/query")
        assert keys["0010,0020"] == {"Name": "PatientID", "Type": "String", "Value": "*"}
        assert sorted(keys) == ["0008,1030", "0010,0020"]

    async def test_the_answers_in_three_forms(self, pair: Remote) -> None:
        path = await asked(pair)
        assert await pair.here.json(f"{path}/answers") == ["0"]
        assert await pair.here.json(f"{path}/answers/0") == ["content", "retrieve", "query-series", "query-instances"]
        full = await pair.here.json(f"{path}/answers/0/content")
        assert full["0020,000d"] == {"Name": "StudyInstanceUID", "Type": "String", "Value": "1.2.3"}
        short = await pair.here.json(f"{path}/answers/0/content?short")
        assert (short["0020,000d"], short["0008,0052"]) == ("1.2.3", "STUDY")
        simple = await pair.here.json(f"{path}/answers/0/content?simplify")
        assert (simple["PatientID"], simple["StudyDescription"]) == ("P1", "")
        assert await pair.here.json(f"{path}/answers?expand&simplify") == [simple]
        assert await pair.here.json(f"{path}/answers?expand") == [full]

    async def test_below_an_answer(self, pair: Remote) -> None:
        path = await asked(pair)
        status, series = await pair.post(f"{path}/answers/0/query-series", {})
        assert status == 200
        assert (await pair.here.json(f"{series['Path']}/answers/0/content?simplify"))["SeriesInstanceUID"] == "1.2.3.1"
        body = {"Query": {"SOPInstanceUID": "1.2.3.1.2"}}
        status, instances = await pair.post(f"{path}/answers/0/query-instances", body)
        assert await pair.here.json(f"{instances['Path']}/answers") == ["0"]
        assert (await pair.post(f"{path}/answers/0/query-studies", {}))[0] == 404

    async def test_all_or_one_are_retrieved(self, pair: Remote) -> None:
        path = await asked(pair)
        status, answer = await pair.post(f"{path}/retrieve", {"TargetAet": "TARGET", "Simplify": True})
        assert status == 200, answer
        assert answer["Query"] == [
            {"AccessionNumber": "A1", "PatientID": "P1", "QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.2.3"}
        ]
        assert set(pair.target.received) == {"1.2.3.1.1", "1.2.3.1.2"}
        status, answer = await pair.post(f"{path}/answers/0/retrieve", data=b"TARGET")
        assert status == 200, answer
        assert list(answer["Query"][0]) == ["0008,0050", "0008,0052", "0010,0020", "0020,000d"]
        assert len(pair.target.messages) == 4
        status, answer = await pair.post(f"{path}/answers/0/retrieve", {"RetrieveMethod": "C-GET"})
        assert (status, len(answer["Details"][0]["ReceivedInstancesIds"])) == (200, 2)

    async def test_is_forgotten(self, pair: Remote) -> None:
        path = await asked(pair)
        assert (await pair.here.client.delete(path)).status == 200
        assert (await pair.here.client.delete(path)).status == 200
        assert (await pair.here.get(path)).status == 404

    async def test_the_newest_are_kept(self, pair: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kept_queries, "MAX_KEPT", 2)
        paths = [await asked(pair) for _ in range(3)]
        assert sorted(await pair.here.json("/queries")) == sorted(each.rpartition("/")[2] for each in paths[1:])

    async def test_answers_are_bounded(self, pair: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kept_queries, "MAX_ANSWERS", 1)
        path = await asked(pair, {"Level": "Instance", "Query": {"StudyInstanceUID": "1.2.3"}})
        assert await pair.here.json(f"{path}/answers") == ["0"]

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ("x", "Must provide a JSON object"),
            ({}, "The JSON body must contain field Level"),
            ({"Level": "Foo"}, "Level: Patient, Study, Series or Instance"),
            ({"Level": "Study", "Query": []}, "The field Query must contain a JSON object"),
            ({"Level": "Study", "Query": {"Nope": "1"}}, "'Nope' is no attribute"),
            ({"Level": "Study", "Timeout": "x"}, "Timeout"),
        ],
    )
    async def test_what_makes_no_sense(self, pair: Remote, body: Any, said: str) -> None:
        status, answer = await pair.post("/modalities/there/query", body)
        assert (status, answer["OrthancStatus"]) == (400, 15)
        assert said in answer["Details"]

    @pytest.mark.parametrize(
        ("below", "status", "number"),
        [("answers/9", 400, 3), ("answers/9/content", 400, 3), ("answers/x/content", 400, 5), ("nope", 404, 17)],
    )
    async def test_what_is_not_there(self, pair: Remote, below: str, status: int, number: int) -> None:
        answer = await pair.here.get(f"{await asked(pair)}/{below}")
        assert (answer.status, (await answer.json())["OrthancStatus"]) == (status, number)

    async def test_a_failure_is_told_with_its_status(self, pair: Remote) -> None:
        async with asked_node({STUDY_ROOT: [EXPLICIT]}) as node:
            node.answer = lambda message: message.respond(0xA700)
            host, port = node.acceptor.address
            await pair.here.client.put("/modalities/sick", json={"AET": "SICK", "Host": host, "Port": port})
            status, answer = await pair.post("/modalities/sick/query", STUDY)
        assert (status, answer["OrthancStatus"]) == (500, 9)
        assert answer["ErrorPayload"] == {"Content": {"DimseErrorStatus": 0xA700}, "Type": "Dimse"}

    @pytest.mark.parametrize(
        ("manufacturer", "values"),
        [("Generic", ["*", "*"]), ("GenericNoWildcardInDates", ["*", ""]), ("GenericNoUniversalWildcard", ["", ""])],
    )
    async def test_wildcards_that_a_modality_does_not_know(
        self, pair: Remote, manufacturer: str, values: list[str]
    ) -> None:
        async with asked_node({STUDY_ROOT: [EXPLICIT]}) as node:
            host, port = node.acceptor.address
            fields = {"AET": "OLD", "Host": host, "Port": port, "Manufacturer": manufacturer}
            await pair.here.client.put("/modalities/old", json=fields)
            body = {"Level": "Study", "Query": {"PatientID": "*", "StudyDate": "*"}}
            path = (await pair.post("/modalities/old/query", body))[1]["Path"]
        keys = await pair.here.json(f"{path}/query?simplify")
        assert [keys["PatientID"], keys["StudyDate"]] == values


class TestOfOthers:
    """What another archive has of its patients is not for everybody who may ask one."""

    @pytest.fixture(autouse=True)
    def users(self, pair: Remote) -> None:
        pair.here.http = Http(users=(ADMIN, *(User(name, ADMIN.password, ("asks",)) for name in ("eva", "max"))))
        pair.here.roles = {"asks": Role(permissions=("q-r-remote-modalities",))}

    async def ask(self, pair: Remote, method: str, path: str, user: str, body: Any = None) -> tuple[int, Any]:
        answer = await pair.here.client.request(method, path, json=body, headers=by_password(user))
        return answer.status, await answer.json()

    async def test_are_not_there(self, pair: Remote) -> None:
        status, made = await self.ask(pair, "POST", "/modalities/there/query", "eva", STUDY)
        assert status == 200
        path = made["Path"]
        for user, expected in (("eva", [made["ID"]]), ("max", []), ("ann", [made["ID"]])):
            assert await self.ask(pair, "GET", "/queries", user) == (200, expected)
        for place in ("", "/level", "/modality", "/query", "/answers", "/answers/0", "/answers/0/content"):
            assert (await self.ask(pair, "GET", path + place, "max"))[0] == 404, place
        for place in ("/retrieve", "/answers/0/retrieve", "/answers/0/query-series"):
            assert (await self.ask(pair, "POST", path + place, "max", {}))[0] == 404, place
        assert await self.ask(pair, "DELETE", path, "max") == (200, {})
        assert (await self.ask(pair, "GET", f"{path}/answers", "eva")) == (200, ["0"])
        assert (await self.ask(pair, "GET", f"{path}/answers", "ann")) == (200, ["0"])
        status, series = await self.ask(pair, "POST", f"{path}/answers/0/query-series", "eva", {})
        assert (await self.ask(pair, "GET", series["Path"], "max"))[0] == 404
        assert await self.ask(pair, "DELETE", path, "eva") == (200, {})
        assert (await self.ask(pair, "GET", path, "ann"))[0] == 404


async def test_in_the_view_of_a_tenant(pair: Remote) -> None:
    """Somebody of a tenant sees their own queries, and none of others."""
    kept, keys = pair.here.use_cases.kept_queries, {"PatientID": "*"}
    role = Role(permissions=("q-r-remote-modalities", "view"), tenant="a")
    made = {}
    for name in ("eva", "max"):
        with reading(Actor(name), None):
            made[name] = await kept.ask("there", "study", from_tags(keys), added={})
    with reading(Actor("eva"), visible([role], reader="eva")):
        assert await kept.listed("") == [made["eva"]]
        assert (await kept.get(made["eva"], "eva")).modality == "there"
        with pytest.raises(NotFound):
            await kept.get(made["max"], "")


class TestFind:
    async def test_at_each_level(self, pair: Remote) -> None:
        (patient,) = (await pair.post("/modalities/there/find-patient", {"PatientID": "P1"}))[1]
        assert (patient["PatientName"], patient["QueryRetrieveLevel"]) == ("Doe^Jane", "PATIENT")
        keys = {"PatientID": "P1*", "StudyInstanceUID": "1.2.3"}
        (study,) = (await pair.post("/modalities/there/find-study", keys | {"PatientID": "P1**"}))[1]
        assert study["StudyInstanceUID"] == "1.2.3"
        (series,) = (await pair.post("/modalities/there/find-series", keys))[1]
        assert series["SeriesInstanceUID"] == "1.2.3.1"
        found = (await pair.post("/modalities/there/find-instance", keys | {"SeriesInstanceUID": "1.2.3.1"}))[1]
        assert {each["SOPInstanceUID"] for each in found} == {"1.2.3.1.1", "1.2.3.1.2"}

    async def test_one_inside_the_other(self, pair: Remote) -> None:
        status, (patient,) = await pair.post("/modalities/there/find", {"PatientID": "P1"})
        assert status == 200
        (study,) = patient["Studies"]
        assert [each["SeriesInstanceUID"] for each in study["Series"]] == ["1.2.3.1"]

    async def test_for_too_many_patients(self, pair: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(finding, "_MAX_PATIENTS", 0)
        status, answer = await pair.post("/modalities/there/find", {"PatientID": "*"})
        assert (status, "1 patients fit" in answer["Details"]) == (400, True)

    @pytest.mark.parametrize("level", ["study", "series", "instance"])
    async def test_too_wide(self, pair: Remote, level: str) -> None:
        assert (await pair.post(f"/modalities/there/find-{level}", {"PatientID": "*"}))[0] == 400

    async def test_worklist(self, pair: Remote) -> None:
        worklists = pair.there.context.use_cases.worklists
        await worklists.create(
            from_tags(
                {"PatientID": "W1", "PatientName": "Roe^John", "ScheduledProcedureStepSequence": [{"Modality": "CT"}]}
            )
        )
        (item,) = (await pair.post("/modalities/there/find-worklist", {"PatientID": "W1", "PatientName": ""}))[1]
        assert item["PatientName"] == "Roe^John"
        body = {"Query": {"PatientID": "W1", "PatientName": ""}, "Short": True}
        (item,) = (await pair.post("/modalities/there/find-worklist", body))[1]
        assert item["0010,0010"] == "Roe^John"
