"""gateway/web/pages/query: searches of other systems, what is here already, and retrieval, over a second gateway."""

from __future__ import annotations

import asyncio
import datetime
import html
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from multidict import MultiDict

from gateway.config import Dicomweb, Http, User
from gateway.config.roles import Role
from gateway.dicom.dictionary import keyword_of
from gateway.jobs.table import ended_job
from gateway.net.session import Refusal
from gateway.ul.negotiation import CALLING_AE_TITLE_NOT_RECOGNIZED
from gateway.web.pages import query
from gateway.web.pages.query_form import QueryForm
from tests.support.nodes import asked_node
from tests.support.remote import Remote, numbered, remote
from tests.support.sign_in import ADMIN, by_password

THERE = "source=modality:there"
TODAY = datetime.date(2026, 11, 29)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Remote]:
    """Two instances of one study are there, one of them is here too."""
    async with asyncio.timeout(50), remote(tmp_path) as made:
        instances = await made.fill(1, 2)
        status, _ = await made.post("/modalities/there/store", [instances[0]["ParentPatient"]])
        assert status == 200
        made.here.dicomweb = Dicomweb(delete=True)
        assert (await made.here.client.delete(instances[1]["Path"])).status == 200
        yield made


async def text(pair: Remote, path: str) -> str:
    answer = await pair.here.get(path)
    assert answer.status == 200, await answer.text()
    return await answer.text()


def buttons(page: str) -> list[str]:
    """What the buttons that retrieve have."""
    return [html.unescape(found) for found in re.findall(r'name="only" value="([^"]*)"', page)]


async def retrieved(pair: Remote, value: str, **fields: str) -> tuple[str, str]:
    """The state and the error of the job that a button begins."""
    answer = await pair.here.client.post("/ui/query", data={"only": value, **fields}, allow_redirects=False)
    assert answer.status == 303, await answer.text()
    job = await ended_job(pair.here.database, int(answer.headers["Location"].rpartition("=")[2]))
    assert job is not None
    return job.state, job.error


class TestForm:
    def keys(self, **fields: str) -> dict[str, str]:
        found = QueryForm.of(MultiDict(fields)).keys(TODAY)
        return {keyword_of(tag): each.text for tag, each in found.items() if each.values}

    @pytest.mark.parametrize(
        ("fields", "keys"),
        [
            ({}, {}),
            ({"name": "doe"}, {"PatientName": "doe*"}),
            ({"name": "doe, j"}, {"PatientName": "doe*^j*"}),
            ({"name": "D?e^Jane"}, {"PatientName": "D?e^Jane"}),
            ({"patient": "P1", "accession": "A1"}, {"PatientID": "P1", "AccessionNumber": "A1"}),
            ({"patient": "a\\b"}, {"PatientID": "ab"}),
            ({"modality": "ct", "description": "head"}, {"ModalitiesInStudy": "CT", "StudyDescription": "*head*"}),
            ({"when": "today"}, {"StudyDate": "20261129"}),
            ({"when": "week"}, {"StudyDate": "20261122-20261129"}),
            ({"when": "range", "begin": "2026-01-02"}, {"StudyDate": "20260102-"}),
            ({"begin": "2026-01-02", "end": "2026-01-03"}, {"StudyDate": "20260102-20260103"}),
            ({"when": "range", "begin": "nonsense"}, {}),
            ({"level": "patient", "patient": "P1", "modality": "CT"}, {"PatientID": "P1"}),
            ({"level": "series", "study": "1.2", "patient": "P1"}, {"StudyInstanceUID": "1.2"}),
            ({"level": "series", "patient": "P1", "modality": "CT"}, {"PatientID": "P1", "Modality": "CT"}),
            ({"study": "../x"}, {}),
        ],
    )
    def test_keys(self, fields: dict[str, str], keys: dict[str, str]) -> None:
        assert self.keys(**fields) == keys

    def test_the_address_has_the_form(self) -> None:
        fields = MultiDict([("source", "modality:a"), ("source", "server:b"), ("name", "doe"), ("when", "week")])
        form = QueryForm.of(fields)
        address = form.address("/ui/query")
        assert address == "/ui/query?source=modality%3Aa&source=server%3Ab&name=doe&when=week"


class TestSearch:
    async def test_the_form_has_every_system(self, pair: Remote) -> None:
        await pair.here.client.put("/dicom-web/servers/web", json={"Url": "http://127.0.0.1:1/dicom-web"})
        page = await text(pair, "/ui/query?patient=P1")
        assert re.findall(r'name="source" value="([^"]*)"', page) == ["modality:there", "server:web"]
        assert 'name="patient" value="P1"' in page
        assert buttons(page) == []

    async def test_a_study_and_what_is_here_of_it(self, pair: Remote) -> None:
        for path in (f"/ui/query?run=1&{THERE}&name=doe", f"/ui/query/results?{THERE}&name=doe"):
            page = await text(pair, path)
            assert re.findall(r'class="name">([^<]*)<', page)[-1] == "Doe, Jane"
            assert "1 instance here" in page
            assert "2 instances" in page
            assert len(buttons(page)) == 1
        assert buttons(await text(pair, f"/ui/query/results?{THERE}&name=roe")) == []

    async def test_series_of_a_study(self, pair: Remote) -> None:
        page = await text(pair, f"/ui/query/results?{THERE}&level=series&study=1.2.3&patient=P1")
        assert len(buttons(page)) == 1
        assert "1 instance here" in page

    async def test_patients(self, pair: Remote) -> None:
        page = await text(pair, f"/ui/query/results?{THERE}&level=patient&patient=P1")
        assert len(buttons(page)) == 1

    async def test_more_than_are_shown(self, pair: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
        other = numbered(3)
        other.StudyInstanceUID, other.SeriesInstanceUID = "1.2.4", "1.2.4.1"
        instance = await pair.upload(other)
        await pair.post("/modalities/there/store", [instance["ID"]])
        monkeypatch.setattr(query, "MAX_ROWS", 1)
        page = await text(pair, f"/ui/query/results?{THERE}")
        assert len(buttons(page)) == 1
        assert "search more narrowly" in page

    async def test_a_system_that_is_not_there(self, pair: Remote) -> None:
        await pair.here.client.put("/modalities/off", json={"AET": "OFF", "Host": "127.0.0.1", "Port": 1})
        page = await text(pair, f"/ui/query?run=1&{THERE}&source=modality:off&source=modality:none")
        assert len(buttons(page)) == 1, "what the others have is shown"
        assert "It cannot be reached." in page
        assert "No modality with symbolic name: none" in page

    async def test_what_a_reader_may_not_see_is_not_marked(self, pair: Remote) -> None:
        pair.here.roles = {
            "some": Role(permissions=("view",), labels=("x",)),
            "ask": Role(permissions=("q-r-remote-modalities",)),
        }
        pair.here.http = Http(users=(User(name="ann", password=ADMIN.password, roles=("some", "ask")),))
        answer = await pair.here.client.get(f"/ui/query/results?{THERE}", headers=by_password("ann"))
        page = await answer.text()
        assert len(buttons(page)) == 1
        assert "instance here" not in page


class TestEcho:
    async def test_it_answers(self, pair: Remote) -> None:
        assert re.search(r"Answers, in \d+ ms", await text(pair, "/ui/query/echo?source=modality:there"))
        assert re.search(r"Answers, in \d+ ms", await text(pair, "/ui/query?echo=modality:there"))

    async def test_it_does_not(self, pair: Remote) -> None:
        await pair.here.client.put("/modalities/off", json={"AET": "OFF", "Host": "127.0.0.1", "Port": 1})
        page = await text(pair, "/ui/query/echo?source=modality:off")
        assert "It cannot be reached." in page
        assert "connection refused" in page

    async def test_it_refuses_us(self, pair: Remote) -> None:
        async with asked_node({}) as peer:
            peer.refusal = Refusal(CALLING_AE_TITLE_NOT_RECOGNIZED, "who?")
            port = peer.acceptor.address[1]
            await pair.here.client.put("/modalities/other", json={"AET": "X", "Host": "127.0.0.1", "Port": port})
            assert "It does not know our AE title." in await text(pair, "/ui/query/echo?source=modality:other")

    async def test_nonsense(self, pair: Remote) -> None:
        for source in ("", "peer:x", "modality:"):
            assert (await pair.here.get(f"/ui/query/echo?source={source}")).status == 400


class TestRetrieve:
    async def test_to_us_by_c_get(self, pair: Remote) -> None:
        (value,) = buttons(await text(pair, f"/ui/query/results?{THERE}"))
        assert await retrieved(pair, value, method="C-GET") == ("done", "")
        assert "Here already" in await text(pair, f"/ui/query/results?{THERE}")
        jobs = await text(pair, "/ui/jobs")
        assert "Retrieve (C-GET)" in jobs
        assert "Doe, Jane" in jobs

    async def test_to_another_by_c_move(self, pair: Remote) -> None:
        (value,) = buttons(await text(pair, f"/ui/query/results?{THERE}"))
        assert await retrieved(pair, value, target="TARGET") == ("done", "")
        assert set(pair.target.received) == {"1.2.3.1.1", "1.2.3.1.2"}
        state, error = await retrieved(pair, value, target="NOBODY")
        assert (state, "A801H" in error) == ("failed", True)
        assert "It does not know the AE title to which it is to send." in await text(pair, "/ui/jobs")

    async def test_a_series(self, pair: Remote) -> None:
        page = await text(pair, f"/ui/query/results?{THERE}&level=series&study=1.2.3&patient=P1")
        assert await retrieved(pair, buttons(page)[0], target="TARGET") == ("done", "")
        assert len(pair.target.received) == 2

    async def test_several_at_once(self, pair: Remote) -> None:
        (value,) = buttons(await text(pair, f"/ui/query/results?{THERE}"))
        fields = [("row", value), ("row", value), ("target", "TARGET")]
        answer = await pair.here.client.post("/ui/query", data=fields, allow_redirects=False)
        assert answer.headers["Location"].count("id=") == 2

    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            ({}, "choose 1 to 50 rows"),
            ({"only": "nonsense"}, "search again"),
            ({"only": '["modality:there","study","","","",""]'}, "no identifier"),
            ({"only": '["modality:there","study","","../x","",""]'}, "no identifier"),
            ({"only": '["modality:there","study","","1.2","",""]', "target": "x" * 17}, "AE title"),
            ({"only": '["modality:there","study","","1.2","",""]', "method": "x"}, "method"),
            ({"only": '["modality:there","study","","1.2","",""]', "method": "C-GET", "target": "X"}, "choose C-MOVE"),
            ({"only": '["server:web","study","","1.2","",""]', "target": "X"}, "sends to us alone"),
            ({"only": '["server:web","patient","P1","","",""]'}, "no patients"),
        ],
    )
    async def test_what_makes_no_sense(self, pair: Remote, fields: dict[str, str], said: str) -> None:
        answer = await pair.here.client.post("/ui/query", data=fields)
        assert answer.status == 400
        assert said in (await answer.json())["Details"]


class TestDicomweb:
    """The second gateway is this one itself, over its own DICOMweb."""

    @pytest.fixture
    async def loop(self, pair: Remote) -> Remote:
        url = str(pair.here.client.make_url("/dicom-web"))
        assert (await pair.here.client.put("/dicom-web/servers/self", json={"Url": url})).status == 200
        return pair

    @pytest.mark.parametrize(
        ("level", "said"), [("study", "Here already"), ("patient", "Doe, Jane"), ("series&study=1.2.3", "Here already")]
    )
    async def test_search(self, loop: Remote, level: str, said: str) -> None:
        page = await text(loop, f"/ui/query/results?source=server:self&level={level}&patient=P1")
        assert said in page
        assert len(buttons(page)) == 1

    async def test_echo_and_retrieve(self, loop: Remote) -> None:
        assert "Answers, in" in await text(loop, "/ui/query/echo?source=server:self")
        (value,) = buttons(await text(loop, "/ui/query/results?source=server:self&name=doe"))
        assert await retrieved(loop, value) == ("done", "")
        assert "Retrieve (DICOMweb)" in await text(loop, "/ui/jobs")

    async def test_a_wrong_address(self, loop: Remote) -> None:
        url = str(loop.here.client.make_url("/nowhere"))
        await loop.here.client.put("/dicom-web/servers/wrong", json={"Url": url})
        page = await text(loop, "/ui/query/results?source=server:wrong")
        assert "The service is not at this address." in page
