"""gateway/web/dicomweb/qido.py: PS3.18 §10.6."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import MultiDict
from pydicom.dataset import Dataset

from gateway.config import Http, Query
from gateway.dicom.xml_reader import from_xml
from gateway.errors import BadRequest
from gateway.web.dicomweb.search_query import MAX_PARAMETERS, read_query
from tests.support.datasets import ct_header
from tests.support.index import data_set
from tests.support.web import House, parts


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


class TestMatching:
    """Attributes beyond the index: those that it keeps without a column, those of other levels, those in files."""

    async def fill(self, gateway: House) -> None:
        for study, kvp, step in (("1.1", 80, "S1"), ("1.2", 120, "S2")):
            request = Dataset()
            request.ScheduledProcedureStepID = step
            request.RequestedProcedureID = "R1"
            other = Dataset()
            other.PatientID = f"OTHER{step}"
            source = data_set(study, Modality="CT" if step == "S1" else "MR", PatientID="P" + step)
            source.PatientName = "Meyer^Änne" if step == "S1" else "Maier^Anne"
            source.KVP = kvp
            source.RequestAttributesSequence = [request]
            source.OtherPatientIDsSequence = [other]
            source.PatientComments = f"comment {step}"
            source.PatientWeight = 70 + kvp
            if step == "S1":
                source.AccessionNumber = "A1"
                source.SeriesNumber = 1
                source.ContrastBolusRoute = "IV"
            block = source.private_block(0x0009, "ACME", create=True)
            block.add_new(1, "LO", f"private {step}")
            await gateway.add(source)
            same = {"PatientID": source.PatientID, "PatientName": source.PatientName}
            await gateway.add(data_set(study, f"{study}.9", Modality="SR", KVP=1, **same))

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("studies?Modality=CT", ["1.1"]),
            ("studies?Modality=SR", ["1.2", "1.1"]),
            ("studies?SeriesInstanceUID=1.2.9", ["1.2"]),
            ("studies?KVP=120", ["1.2"]),
            ("studies?00180060=1", ["1.2", "1.1"]),
            ("studies?KVP=2", []),
            ("studies?PatientComments=*S2", ["1.2"]),
            ("studies?PatientWeight=150", ["1.1"]),
            ("studies?RequestAttributesSequence.ScheduledProcedureStepID=S2", ["1.2"]),
            ("studies?00400275.00400009=S1&00400275.00401001=R1", ["1.1"]),
            ("studies?00400275.00400009=S1&00400275.00401001=R2", []),
            ("series?00400275.ScheduledProcedureStepID=S1", ["1.1"]),
            ("studies?OtherPatientIDsSequence.PatientID=OTHER*&KVP=80", ["1.1"]),
            ("studies/1.1/series?OtherPatientIDsSequence.PatientID=OTHERS2", []),
            ("instances?00091001=private*2", ["1.2"]),
            ("studies?PatientName=Mayer&fuzzymatching=true", ["1.2", "1.1"]),
            ("studies?PatientName=Mayer", []),
            ("studies?Modality=CT,MR", ["1.2", "1.1"]),
            ("studies?ModalitiesInStudy=CT%5CMR&multiplevaluematching=true", ["1.2", "1.1"]),
            ("studies?AccessionNumber=%22%22&emptyvaluematching=true", ["1.2"]),
            ("studies?AccessionNumber=%22%22", []),
            ("studies?ReferringPhysicianName=%22%22&emptyvaluematching=true", ["1.2", "1.1"]),
            ("studies?PatientName=%22%22&emptyvaluematching=true", []),
            ("studies?StudyInstanceUID=%22%22&emptyvaluematching=true", []),
            ("studies/1.1/series?SeriesNumber=%22%22&emptyvaluematching=true", ["1.1"]),
            ("studies?ModalitiesInStudy=%22%22&emptyvaluematching=true", []),
            ("studies?ContrastBolusRoute=%22%22&emptyvaluematching=true&PatientID=PS1", ["1.1"]),
            ("studies?KVP=120&limit=1&offset=1", []),
            ("studies?KVP=1&limit=1&offset=1", ["1.1"]),
        ],
    )
    async def test_found(self, gateway: House, query: str, found: list[str]):
        await self.fill(gateway)
        matches = await gateway.json(f"/dicom-web/{query}")
        assert [match["0020000D"]["Value"][0] for match in matches] == found

    async def test_what_is_matched_or_included_is_returned(self, gateway: House):
        await self.fill(gateway)
        (match,) = await gateway.json("/dicom-web/studies?KVP=120&includefield=PatientWeight,ContrastBolusRoute")
        assert match["00180060"] == {"vr": "DS", "Value": [120.0]}
        assert match["00101030"] == {"vr": "DS", "Value": [190.0]}
        assert "00181040" not in match
        assert list(match) == sorted(match)
        (match,) = await gateway.json("/dicom-web/studies?PatientID=PS1&includefield=OtherPatientIDsSequence.PatientID")
        assert match["00101002"]["Value"] == [{"00100020": {"vr": "LO", "Value": ["OTHERS1"]}}]
        (match,) = await gateway.json("/dicom-web/studies?Modality=MR&includefield=KVP,Modality")
        assert (match["00180060"]["Value"], match["00080060"]["Value"]) == ([120.0], ["MR"])

    async def test_an_empty_key_asks_for_what_is_there(self, gateway: House):
        await self.fill(gateway)
        (match,) = await gateway.json("/dicom-web/studies?PatientID=PS2&KVP=&OtherPatientIDsSequence=&PatientComments")
        assert match["00180060"]["Value"] == [120.0]
        assert match["00101002"]["Value"] == [{"00100020": {"vr": "LO", "Value": ["OTHERS2"]}}]
        assert match["00104000"]["Value"] == ["comment S2"]

    async def test_private_elements_come_with_their_creator(self, gateway: House):
        await self.fill(gateway)
        (match,) = await gateway.json("/dicom-web/studies?PatientID=PS1&includefield=00091001")
        assert match["00090010"] == {"vr": "LO", "Value": ["ACME"]}
        assert match["00091001"] == {"vr": "LO", "Value": ["private S1"]}

    async def test_too_many_files(self, gateway: House):
        await self.fill(gateway)
        gateway.query = Query(max_instances_read=3)
        answer = await gateway.get("/dicom-web/studies?KVP=80")
        assert answer.status == 413
        assert "(0018,0060): over 3 files" in (await answer.json())["Details"]
        assert len(await gateway.json("/dicom-web/studies?KVP=80&Modality=CT")) == 1
        assert len(await gateway.json("/dicom-web/studies?includefield=KVP")) == 2  # as many as matches, at most
        answer = await gateway.get("/dicom-web/studies?Modality=SR&includefield=KVP")
        assert len(await answer.json(content_type=None)) == 2
        assert "(0018,0060) is not returned for so many instances" in answer.headers["Warning"] + str(answer.headers)


class TestReturned:
    """Tables 10.6.3-3 to 10.6.3-5."""

    STUDY = (
        "00080020 00080030 00080050 00080056 00080061 00080090 00080201 00081190 00100010 00100020 00100030 "
        "00100040 0020000D 00200010 00201206 00201208"
    )
    SERIES = "00080060 00080201 0008103E 0020000E 00200011 00201209 00400244 00400245 00400275 00081190"
    INSTANCE = "00080016 00080018 00080056 00080201 00200013 00280008 00280010 00280011 00280100 00081190"

    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("studies", [STUDY]),
            ("series", [STUDY, SERIES]),
            ("instances", [STUDY, SERIES, INSTANCE]),
            ("studies/1.1/series", [SERIES]),
            ("studies/1.1/instances", [SERIES, INSTANCE]),
            ("studies/1.1/series/1.1.1/instances", [INSTANCE]),
        ],
    )
    async def test_every_attribute(self, gateway: House, path: str, expected: list[str]):
        source = ct_header(StudyInstanceUID="1.1", SeriesInstanceUID="1.1.1", NumberOfFrames=1)
        await gateway.add(source)
        (match,) = await gateway.json(f"/dicom-web/{path}")
        wanted = set(" ".join(expected).split())
        assert wanted <= match.keys()
        identity = {"0020000D", "0020000E", "00080056", "00083002", "00080005"}  # more than asked, and cheap
        assert match.keys() - wanted <= identity


class TestXml:
    async def test_a_part_for_each_match(self, gateway: House):
        await fill(gateway)
        answer = await gateway.get(
            "/dicom-web/series?includefield=all", accept='multipart/related; type="application/dicom+xml"'
        )
        assert answer.headers["Content-Type"].startswith('multipart/related; type="application/dicom+xml"; boundary=')
        found = parts(answer, await answer.read())
        assert [kind for kind, _ in found] == ["application/dicom+xml"] * 4
        assert [from_xml(part) for _, part in found] == await gateway.json("/dicom-web/series?includefield=all")

    async def test_nothing(self, gateway: House):
        answer = await gateway.get("/dicom-web/studies", accept="application/dicom+xml")
        assert (answer.status, await answer.read()) == (204, b"")


class TestWarnings:
    @pytest.mark.parametrize(
        ("query", "warning"),
        [
            ("NoSuchThing=1", "'NoSuchThing' is not supported"),
            ("includefield=NoSuchThing", "'NoSuchThing' is not supported"),
            ("PixelData=1", "'PixelData' is not supported for matching"),
            ("RequestAttributesSequence=1", "'RequestAttributesSequence' is not supported for matching"),
            ("RetrieveURL=1", "(0008,1190) is not supported"),
            ("NumberOfPatientRelatedStudies=1", "(0020,1200) is not supported"),
            ("PatientName.PatientID=1", "'PatientName.PatientID' is not supported"),
            ("." * 9 + "=1", "'.........' is not supported"),
            ("includefield=PixelData", "(7FE0,0010) is not supported"),
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
        await gateway.add(data_set())
        for query in (
            "fuzzymatching=true&emptyvaluematching=false&multiplevaluematching=true",
            "StationName=",
            "Rows=*",
        ):
            assert "Warning" not in (await gateway.get(f"/dicom-web/studies?{query}")).headers

    async def test_many_are_not_all_said(self, gateway: House):
        answer = await gateway.get("/dicom-web/studies?" + "&".join(f"X{n}=1" for n in range(150)))
        said = answer.headers.getall("Warning")
        assert len(said) == 11
        assert "Further parameters" in said[-1]


class TestRequests:
    @pytest.mark.parametrize(
        "query", ["limit=x", "limit=-1", "limit=²", f"offset={9**99}", "fuzzymatching=maybe", "PatientID=a&PatientID=b"]
    )
    async def test_senseless(self, gateway: House, query: str):
        answer = await gateway.get(f"/dicom-web/studies?{query}")
        assert answer.status == 400
        assert (await answer.json())["Details"].strip("'").startswith(query.partition("=")[0])

    @settings(deadline=None, max_examples=200)
    @given(st.lists(st.tuples(st.text() | st.sampled_from(["limit", "includefield", "00400275.00400009"]), st.text())))
    def test_whatever_comes_is_read_or_refused(self, query: list[tuple[str, str]]):
        with contextlib.suppress(BadRequest):
            asked = read_query(MultiDict(query))
            assert all(text.isascii() and text.isprintable() for text in asked.warnings)

    @pytest.mark.case("a private attribute that is asked for by a value and by what is in it is refused")
    def test_a_value_and_items_of_one_private_attribute(self):
        for query in ([("00091001", "x"), ("00091001.00100010", "y")], [("00091001.00100010", "y"), ("00091001", "x")]):
            with pytest.raises(BadRequest, match="00091001"):
                read_query(MultiDict(query))

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
            ('multipart/related; type="application/dicom+xml"', 200, "multipart/related"),
            ("multipart/related", 200, "multipart/related"),
            ("application/dicom+xml", 200, "multipart/related"),
            ("application/dicom+xml;q=0.5, application/json;q=0.1", 200, "multipart/related"),
            ('multipart/related; type="application/dicom"', 406, "application/json"),
            ("text/html", 406, "application/json"),
            ("application/dicom+json;q=0", 406, "application/json"),
        ],
    )
    async def test_accept(self, gateway: House, accept: str, status: int, content_type: str):
        await gateway.add(data_set())
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


class TestHostile:
    """Values that are to be nothing but values."""

    @pytest.mark.parametrize(
        "value",
        [
            "%25",
            "_",
            "%25%25%25",
            "' OR 1=1 --",
            "%22;",
            "!%25",
            "[a-z]",
            "%FF%FE",
            "%F0%9F%98%80",
            "%5C%5C%5C",
            "a" * 1000,
        ],
    )
    @pytest.mark.parametrize(
        "name", ["PatientID", "PatientName", "ModalitiesInStudy", "StudyInstanceUID", "KVP", "ImageType"]
    )
    async def test_no_wild_cards_but_those_of_dicom(self, gateway: House, name: str, value: str):
        await gateway.add(data_set(KVP=1))
        answer = await gateway.get(f"/dicom-web/studies?{name}={value}")
        if value == "%5C%5C%5C":
            assert len(await answer.json(content_type=None)) == 1  # nothing but separators: universal
        elif name == "KVP":
            assert answer.status == 400
        else:
            assert await answer.json(content_type=None) == []

    async def test_asterisks_take_no_power_of_time(self, gateway: House):
        await gateway.add(data_set(PatientComments="a" * 5000, ImageComments="a" * 5000))
        for name in ("PatientComments", "ImageComments", "PatientID"):
            assert await gateway.json(f"/dicom-web/studies?{name}={'*a' * 400}b") == []

    @pytest.mark.parametrize(
        "query",
        [
            "PatientID=%00",
            "00400275.00400009=%00",
            "PatientID=" + "x" * 2000,
            "ImageComments=" + "x" * 2000,
            "StudyInstanceUID=" + ",".join(["1.2"] * 20 + [f"1.{n}" for n in range(3000)]),
            "PatientID=" + "%5C".join(map(str, range(200))),
            "&".join(f"0009{n:04X}=1" for n in range(0x1000, 0x1000 + MAX_PARAMETERS + 1)),
            "includefield=" + ",".join(["all"] * (MAX_PARAMETERS + 1)),
            "includefield=" + "," * 5000,
            "StudyDate=" + "0" * 5000,
        ],
    )
    async def test_too_much_or_too_odd(self, gateway: House, query: str):
        await gateway.add(data_set())
        assert (await gateway.get(f"/dicom-web/studies?{query}")).status == 400
        assert len(await gateway.json("/dicom-web/studies")) == 1

    async def test_a_line_longer_than_any(self, gateway: House):
        answer = await gateway.get("/dicom-web/studies?StudyInstanceUID=" + ",".join(["1.2.840.10008"] * 10_000))
        assert answer.status == 400


@pytest.mark.case("item 6 a key on what is made for answers is said to be ignored")
async def test_a_key_that_is_not_matched(gateway: House):
    await gateway.add(data_set("1.1"))
    answer = await gateway.get("/dicom-web/instances?AvailableTransferSyntaxUID=1.2.3")
    assert len(await answer.json(content_type=None)) == 1
    assert "(0008,3002) is not supported and was ignored" in answer.headers["Warning"]
