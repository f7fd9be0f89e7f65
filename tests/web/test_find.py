"""/tools/find, /tools/count-resources, /tools/lookup: what is found, shown and refused."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.index.attachments import Attachment, attach
from gateway.index.precondition import ANYTHING
from gateway.retrieve import find
from gateway.web.rest.find import whole_dates
from tests.support.index import data_set
from tests.support.web import House


@pytest.fixture
async def filled(gateway: House) -> House:
    """Three studies of two patients, in the order of their dates 2, 1, 3; the last has an MR series beside its CT."""
    for study, series, patient, date, more in (
        ("1.1", "1.1.1", "Ab1", "20260102", {"PatientName": "Doe^Jane", "KVP": "120"}),
        ("1.2", "1.2.1", "Ab1", "20250102", {"PatientName": "Doe^Jane", "KVP": "80"}),
        ("1.3", "1.3.1", "Z9", "20260302", {"PatientName": "Roe^Jim", "OperatorsName": "Meier"}),
        ("1.3", "1.3.2", "Z9", "20260302", {"PatientName": "Roe^Jim", "Modality": "MR"}),
    ):
        await gateway.add(
            data_set(study, series, PatientID=patient, StudyDate=date, AccessionNumber=f"A{study}", **more)
        )
    return gateway


async def post(house: House, path: str, body: Any) -> tuple[int, Any]:
    answer = (
        await house.client.post(path, json=body)
        if not isinstance(body, bytes)
        else await house.client.post(path, data=body)
    )
    return answer.status, await answer.json(content_type=None)


async def found(house: House, query: dict[str, Any], level: str = "Study", **more: Any) -> list[str]:
    """UIDs of what is found, in its order."""
    body = {"Level": level, "Query": query, "Expand": True, **more}
    status, answer = await post(house, "/tools/find", body)
    assert status == 200, answer
    name = {"Patient": "PatientID", "Study": "StudyInstanceUID", "Series": "SeriesInstanceUID"}.get(
        level, "SOPInstanceUID"
    )
    return [each["MainDicomTags"][name] for each in answer]


class TestMatching:
    @pytest.mark.parametrize(
        ("query", "uids"),
        [
            ({}, ["1.1", "1.2", "1.3"]),
            ({"PatientID": "ab1"}, ["1.1", "1.2"]),
            ({"PatientID": "aB*"}, ["1.1", "1.2"]),
            ({"PatientID": "Z?"}, ["1.3"]),
            ({"PatientID": "z9\\nobody"}, ["1.3"]),
            ({"0010-0020": "Z9"}, ["1.3"]),
            ({"0010,0020": "Z9"}, ["1.3"]),
            ({"PatientID": ""}, ["1.1", "1.2", "1.3"]),
            ({"StudyDate": "2026-"}, ["1.1", "1.3"]),
            ({"StudyDate": "-2025"}, ["1.2"]),
            ({"StudyDate": "202601-202602"}, ["1.1"]),
            ({"ModalitiesInStudy": "mr"}, ["1.3"]),
            ({"ModalitiesInStudy": "MR\\US"}, ["1.3"]),
            ({"Modality": "MR"}, ["1.3"]),
            ({"PatientName": "doe*", "StudyDate": "20260102"}, ["1.1"]),
            ({"OperatorsName": "meier"}, ["1.3"]),
            ({"KVP": "80"}, ["1.2"]),
            ({"PatientID": "nobody"}, []),
        ],
    )
    async def test_studies(self, filled: House, query: dict[str, str], uids: list[str]) -> None:
        assert await found(filled, query) == uids
        status, count = await post(filled, "/tools/count-resources", {"Level": "Study", "Query": query})
        assert (status, count) == (200, {"Count": len(uids)})

    async def test_capitals_count_where_that_is_wanted(self, filled: House) -> None:
        assert await found(filled, {"PatientID": "ab1"}, CaseSensitive=True) == []
        assert await found(filled, {"PatientID": "Ab1"}, CaseSensitive=True) == ["1.1", "1.2"]

    async def test_other_levels(self, filled: House) -> None:
        assert await found(filled, {"Modality": "MR"}, "Series") == ["1.3.2"]
        assert await found(filled, {"StudyDate": "2025-"}, "Patient") == ["Ab1", "Z9"]
        assert len(await found(filled, {"PatientID": "AB1"}, "Instance")) == 2
        assert await found(filled, {}, "images", Limit=0) == await found(filled, {}, "Instance")

    @pytest.mark.parametrize(
        ("value", "whole"),
        [
            ("2004-", "20040101-"),
            ("-2004", "-20041231"),
            ("200402-200403", "20040201-20040331"),
            ("20040102", "20040102"),
            ("2004", "2004"),
            ("20040102-20040103", "20040102-20040103"),
            ("1-2", "1-2"),
            ("-", "-"),
        ],
    )
    def test_ranges_of_years_and_months(self, value: str, whole: str) -> None:
        assert whole_dates(value) == whole


class TestPart:
    async def test_since_and_limit(self, filled: House) -> None:
        assert await found(filled, {}, Since=1) == ["1.2", "1.3"]
        assert await found(filled, {}, Since=1, Limit=1) == ["1.2"]
        assert await found(filled, {}, Since=9) == []

    async def test_page_after_page(self, filled: House, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(find, "PAGE", 1)
        assert await found(filled, {}) == ["1.1", "1.2", "1.3"]
        order = [{"Type": "DicomTag", "Key": "StudyDate", "Direction": "ASC"}]
        assert await found(filled, {}, OrderBy=order) == ["1.2", "1.1", "1.3"]

    @pytest.mark.parametrize(
        ("kind", "key", "uids"),
        [
            ("DicomTag", "StudyDate", ["1.2", "1.1", "1.3"]),
            ("DicomTag", "PatientName", ["1.1", "1.2", "1.3"]),
            ("DicomTag", "0020000d", ["1.1", "1.2", "1.3"]),
            ("Metadata", "LastUpdate", ["1.1", "1.2", "1.3"]),
            ("Metadata", "mine", ["1.2", "1.3", "1.1"]),
        ],
    )
    async def test_in_an_order(self, filled: House, kind: str, key: str, uids: list[str]) -> None:
        studies = await filled.json("/studies")
        await filled.client.put(f"/studies/{studies[0]}/metadata/mine", data=b"x")
        assert await found(filled, {}, OrderBy=[{"Type": kind, "Key": key, "Direction": "ASC"}]) == uids
        backwards = await found(filled, {}, OrderBy=[{"Type": kind, "Key": key, "Direction": "DESC"}])
        assert backwards[-1 if kind == "DicomTag" and key != "PatientName" else 0] == (
            uids[0] if kind == "DicomTag" and key != "PatientName" else backwards[0]
        )

    async def test_patients_in_the_order_of_what_their_studies_say(self, filled: House) -> None:
        order = [{"Type": "DicomTag", "Key": "PatientName", "Direction": "DESC"}]
        assert await found(filled, {}, "Patient", OrderBy=order) == ["Z9", "Ab1"]

    async def test_keys_that_stand_in_files_alone_are_ordered_too(self, filled: House) -> None:
        order = [{"Type": "DicomTag", "Key": "StudyDate", "Direction": "ASC"}]
        assert await found(filled, {"KVP": "80\\120"}, OrderBy=order, Limit=1) in (["1.2"], ["1.1"])


class TestNarrowed:
    async def test_by_what_it_belongs_to(self, filled: House) -> None:
        patients, studies = await filled.json("/patients"), await filled.json("/studies")
        series = await filled.json("/series")
        assert await found(filled, {}, ParentPatient=patients[1]) == ["1.3"]
        assert await found(filled, {}, "Series", ParentStudy=studies[2]) == ["1.3.1", "1.3.2"]
        assert len(await found(filled, {}, "Instance", ParentSeries=series[0])) == 1
        assert await found(filled, {}, "Series", ParentStudy="0-0") == []

    async def test_by_labels(self, filled: House) -> None:
        first, second, _ = await filled.json("/studies")
        for study, label in ((first, "a"), (first, "b"), (second, "a")):
            assert (await filled.client.put(f"/studies/{study}/labels/{label}")).status == 200
        assert await found(filled, {}, Labels=["a"]) == ["1.1", "1.2"]
        assert await found(filled, {}, Labels=["a", "b"]) == ["1.1"]
        assert await found(filled, {}, Labels=["b", "c"], LabelsConstraint="Any") == ["1.1"]
        assert await found(filled, {}, Labels=["b"], LabelsConstraint="None") == ["1.2", "1.3"]
        assert await found(filled, {}, Labels=[], LabelsConstraint="None") == ["1.3"]
        assert await found(filled, {}, Labels=[]) == ["1.1", "1.2", "1.3"]

    async def test_by_metadata(self, filled: House) -> None:
        first, *_ = await filled.json("/studies")
        await filled.client.put(f"/studies/{first}/metadata/reader", data=b"Doctor A")
        assert await found(filled, {}, MetadataQuery={"reader": "doctor*"}) == ["1.1"]
        assert await found(filled, {}, MetadataQuery={"reader": "doctor*"}, CaseSensitive=True) == []
        assert await found(filled, {}, MetadataQuery={"other": "*"}) == []
        assert len(await found(filled, {}, "Instance", MetadataQuery={"RemoteAET": "SENDER"})) == 4


class TestShown:
    async def test_identifiers_alone(self, filled: House) -> None:
        status, answer = await post(filled, "/tools/find", {"Level": "Study", "Query": {}})
        assert (status, answer) == (200, await filled.json("/studies"))

    async def test_requested_tags_and_formats(self, filled: House) -> None:
        body = {"Level": "Study", "Query": {"PatientID": "Z9"}, "Expand": True, "RequestedTags": ["ModalitiesInStudy"]}
        _, (study,) = await post(filled, "/tools/find", body)
        assert study["RequestedTags"] == {"ModalitiesInStudy": "CT\\MR"}
        _, (study,) = await post(filled, "/tools/find", {**body, "Short": True})
        assert study["MainDicomTags"]["0020,000d"] == "1.3"
        _, (study,) = await post(filled, "/tools/find", {**body, "Full": True})
        assert study["MainDicomTags"]["0020,000d"] == {"Name": "StudyInstanceUID", "Type": "String", "Value": "1.3"}

    async def test_contents(self, filled: House) -> None:
        body = {"Level": "Study", "Query": {"PatientID": "Z9"}, "ResponseContent": ["Children", "Metadata"]}
        _, (study,) = await post(filled, "/tools/find", body)
        assert study.keys() == {"ID", "Type", "Series", "Metadata"}
        assert study["Metadata"] == {"LastUpdate": "19700101T001640"}
        body = {"Level": "Patient", "Query": {}, "ResponseContent": ["IsProtected"], "Limit": 1}
        _, (patient,) = await post(filled, "/tools/find", body)
        assert patient.keys() == {"ID", "Type", "IsProtected"}

    async def test_attachments(self, filled: House) -> None:
        """The file of an instance, whose MD5 is not kept, and what users have attached."""
        body = {"Level": "Study", "Query": {"PatientID": "Z9"}, "ResponseContent": ["Attachments"]}
        _, (study,) = await post(filled, "/tools/find", body)
        assert study == {"ID": study["ID"], "Type": "Study", "Attachments": []}
        digest = "900150983cd24fb0d6963f7d28e17f72"
        file = Attachment("1025", "the key", 512, 3, digest)
        await filled.database.write(lambda: attach("study", study["ID"], file, ANYTHING, 0, 0))
        _, (study,) = await post(filled, "/tools/find", body)
        described = {"ContentType": 1025, "CompressedMD5": digest, "CompressedSize": 3}
        described |= {"UncompressedMD5": digest, "UncompressedSize": 3, "Uuid": "the key"}
        assert study["Attachments"] == [described]
        _, instances = await post(filled, "/tools/find", {**body, "Level": "Instance"})
        for each in instances:
            info = await filled.json(f"/instances/{each['ID']}/attachments/dicom/info")
            assert each["Attachments"] == [{**info, "CompressedMD5": "", "UncompressedMD5": ""}]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{bad", "JSON object"),
        ([1], "JSON object"),
        ({}, "Level"),
        ({"Level": "Foo", "Query": {}}, "Level"),
        ({"Level": 1, "Query": {}}, "Level"),
        ({"Level": "Study"}, "Query"),
        ({"Level": "Study", "Query": []}, "Query"),
        ({"Level": "Study", "Query": {"PatientID": 5}}, "PatientID"),
        ({"Level": "Study", "Query": {"Nonsense": "x"}}, "Nonsense"),
        ({"Level": "Study", "Query": {"RequestAttributesSequence": "x"}}, "sequence"),
        ({"Level": "Study", "Query": {"StudyDate": "soon"}}, "0008,0020"),
        ({"Level": "Study", "Query": {"RetrieveURL": "x"}}, "0008,1190"),
        ({"Level": "Study", "Query": {}, "Limit": "2"}, "Limit"),
        ({"Level": "Study", "Query": {}, "Limit": -1}, "Limit"),
        ({"Level": "Study", "Query": {}, "Since": True}, "Since"),
        ({"Level": "Study", "Query": {}, "Expand": "x"}, "Expand"),
        ({"Level": "Study", "Query": {}, "CaseSensitive": "x"}, "CaseSensitive"),
        ({"Level": "Study", "Query": {}, "RequestedTags": "x"}, "RequestedTags"),
        ({"Level": "Study", "Query": {}, "RequestedTags": ["PatientID"] * 101}, "RequestedTags"),
        ({"Level": "Study", "Query": {}, "ResponseContent": ["Foo"]}, "Foo"),
        ({"Level": "Study", "Query": {}, "OrderBy": [{"Type": "Foo"}]}, "OrderBy"),
        (
            {"Level": "Study", "Query": {}, "OrderBy": [{"Type": "DicomTag", "Key": "Rows", "Direction": "ASC"}]},
            "OrderBy",
        ),
        ({"Level": "Study", "Query": {}, "Labels": [1]}, "Labels"),
        ({"Level": "Study", "Query": {}, "Labels": [], "LabelsConstraint": "Some"}, "LabelsConstraint"),
        ({"Level": "Study", "Query": {}, "MetadataQuery": {"a": 1}}, "MetadataQuery"),
        ({"Level": "Study", "Query": {}, "ParentSeries": "x"}, "ParentSeries"),
        ({"Level": "Study", "Query": {}, "ParentPatient": 1}, "ParentPatient"),
    ],
)
async def test_what_makes_no_sense(gateway: House, body: Any, text: str) -> None:
    status, answer = await post(gateway, "/tools/find", body)
    assert status == 400
    assert text in answer["Details"]


class TestLookup:
    @pytest.mark.parametrize(
        ("identifier", "kinds"),
        [
            (b"ab1", ["Patient"]),
            (b"1.3", ["Study"]),
            (b"1.3.2\n", ["Series"]),
            (b"nothing", []),
            (b"", []),
            (b"\xff\xfe", []),
            (b"Ab*", []),
        ],
    )
    async def test_identifiers(self, filled: House, identifier: bytes, kinds: list[str]) -> None:
        status, answer = await post(filled, "/tools/lookup", identifier)
        assert status == 200
        assert [each["Type"] for each in answer] == kinds
        for each in answer:
            assert (await filled.json(each["Path"]))["ID"] == each["ID"]
