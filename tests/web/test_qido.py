"""gateway/web/dicomweb/qido.py: PS3.18 §10.6."""

from __future__ import annotations

import pytest
from multidict import MultiDict

from gateway.config import Http
from gateway.errors import BadRequest
from gateway.web.dicomweb.qido import read_query
from tests.support.index import data_set
from tests.support.web import House


async def fill(gateway: House) -> None:
    for study, modality in (("1.1", "CT"), ("1.2", "MR")):
        for series in (f"{study}.1", f"{study}.2"):
            for _ in range(2):
                await gateway.add(data_set(study, series, Modality=modality, PatientID=f"P{study}", StudyID="S"))


class TestResources:
    """Table 10.6.1-1: every path."""

    @pytest.mark.parametrize(
        ("path", "matches"),
        [
            ("studies", 2),
            ("series", 4),
            ("instances", 8),
            ("studies/1.1/series", 2),
            ("studies/1.1/instances", 4),
            ("studies/1.1/series/1.1.2/instances", 2),
            ("studies/1.9/series", 0),
            ("studies/1.2/series/1.1.1/instances", 0),
            ("studies?ModalitiesInStudy=MR", 1),
            ("studies?00100020=P1.*", 2),
            ("studies?StudyInstanceUID=1.1,1.2", 2),
            ("studies?StudyInstanceUID=1.1%5C1.2", 2),
            ("studies?PatientName=nobody", 0),
            ("instances?SeriesInstanceUID=1.1.1&limit=1", 1),
            ("instances?offset=7", 1),
            ("instances?offset=7&limit=0", 1),
        ],
    )
    async def test_count(self, gateway: House, path: str, matches: int):
        await fill(gateway)
        assert len(await gateway.json(f"/dicom-web/{path}")) == matches

    async def test_retrieve_urls_lead_to_what_was_found(self, gateway: House):
        await gateway.add(data_set("1.1", "1.1.1", "1.1.1.1"))
        here = str(gateway.client.make_url("/dicom-web"))
        for level, rest in (
            ("studies", "/studies/1.1"),
            ("series", "/studies/1.1/series/1.1.1"),
            ("instances", "/studies/1.1/series/1.1.1/instances/1.1.1.1"),
        ):
            (match,) = await gateway.json(f"/dicom-web/{level}")
            assert match["00081190"] == {"vr": "UR", "Value": [here + rest]}
            assert list(match) == sorted(match)
            assert (
                await gateway.get(match["00081190"]["Value"][0].removeprefix(here[: -len("/dicom-web")]))
            ).status == 200

    async def test_included_fields_come_by_keyword_tag_list_and_all(self, gateway: House):
        await gateway.add(data_set("1.1", StudyDescription="Thorax", InstitutionName="House"))
        for query in ("StudyDescription,InstitutionName", "00081030,00080080", "all"):
            (match,) = await gateway.json(f"/dicom-web/studies?includefield={query}")
            assert match["00081030"]["Value"] == ["Thorax"]
            assert match["00080080"]["Value"] == ["House"]
        (match,) = await gateway.json("/dicom-web/studies?includefield=StudyDescription&includefield=InstitutionName")
        assert {"00081030", "00080080"} <= match.keys()


class TestWarnings:
    @pytest.mark.parametrize(
        ("query", "warning"),
        [
            ("fuzzymatching=true", "The fuzzymatching parameter is not supported. Only literal matching"),
            ("NoSuchThing=1", "'NoSuchThing' is not supported"),
            ("includefield=NoSuchThing", "'NoSuchThing' is not supported"),
            ("PixelData=1", "7FE00010 is not supported for matching"),
            ("a%0D%0ASet-Cookie:%20x=1", "'a??Set-Cookie: x'"),
        ],
    )
    async def test_what_is_not_supported_is_said_and_left_out(self, gateway: House, query: str, warning: str):
        await gateway.add(data_set())
        answer = await gateway.get(f"/dicom-web/studies?{query}")
        assert answer.status == 200
        assert len(await answer.json(content_type=None)) == 1
        assert answer.headers["Warning"].startswith("299 dicom-gateway ")
        assert warning in answer.headers["Warning"]
        assert "Set-Cookie" not in answer.headers

    async def test_more_than_max_results_is_said(self, gateway: House):
        await fill(gateway)
        gateway.http = Http(max_results=3)
        for query, count, said in (("", 3, True), ("limit=5", 3, True), ("limit=2", 2, False), ("offset=5", 3, False)):
            answer = await gateway.get(f"/dicom-web/instances?{query}")
            assert len(await answer.json(content_type=None)) == count
            assert ("additional results" in answer.headers.get("Warning", "")) is said

    async def test_no_warning_where_all_is_well(self, gateway: House):
        assert "Warning" not in (await gateway.get("/dicom-web/studies?fuzzymatching=false")).headers


class TestRequests:
    @pytest.mark.parametrize(
        "query", ["limit=x", "limit=-1", "limit=²", f"offset={9**99}", "fuzzymatching=maybe", "PatientID=a&PatientID=b"]
    )
    async def test_senseless(self, gateway: House, query: str):
        answer = await gateway.get(f"/dicom-web/studies?{query}")
        assert answer.status == 400
        assert (await answer.json())["Details"].startswith(query.partition("=")[0])

    def test_a_zero_byte(self):
        with pytest.raises(BadRequest):
            read_query(MultiDict({"PatientID": "\0"}))

    @pytest.mark.parametrize(
        ("accept", "status", "content_type"),
        [
            ("application/dicom+json", 200, "application/dicom+json"),
            ("application/json", 200, "application/json"),
            ("application/json;q=0.5, application/dicom+json", 200, "application/dicom+json"),
            ("text/html, */*;q=0.1", 200, "application/dicom+json"),
            ("multipart/related; type=application/dicom+xml", 406, "application/json"),
            ("text/html", 406, "application/json"),
            ("application/dicom+json;q=0", 406, "application/json"),
        ],
    )
    async def test_accept(self, gateway: House, accept: str, status: int, content_type: str):
        answer = await gateway.get("/dicom-web/studies", accept=accept)
        assert (answer.status, answer.content_type) == (status, content_type)

    async def test_accept_in_the_query_goes_first(self, gateway: House):
        answer = await gateway.get("/dicom-web/studies?accept=application/json", accept="text/html")
        assert answer.content_type == "application/json"
        answer = await gateway.get("/dicom-web/studies?accept=application/dicom+json", accept="text/html")
        assert answer.content_type == "application/dicom+json"

    async def test_a_long_list_of_uids(self, gateway: House):
        uids = ",".join(f"1.2.840.{n}" for n in range(10**6, 10**6 + 2000))
        assert await gateway.json(f"/dicom-web/studies?StudyInstanceUID={uids}") == []
