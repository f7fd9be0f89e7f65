"""What a live Orthanc makes of the same requests is what is made here: `create-dicom`, `split`, `merge`."""

from __future__ import annotations

import io
import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from tests.interop.test_orthanc_rest import ask
from tests.support.processes import Gateway, Peer, orthanc

pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore:Invalid value for VR"),
    pytest.mark.filterwarnings("ignore:The value length"),
]

RGB = np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)
OURS = {
    *("SOPClassUID", "ConversionType", "Modality", "LossyImageCompression", "LossyImageCompressionMethod"),
    *("LossyImageCompressionRatio", "EncapsulatedDocumentLength"),
}
"""What is made here beside what Orthanc makes."""
RANDOM = {
    *("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SpecificCharacterSet"),
    *(
        f"{name}{what}"
        for name in ("Study", "Series", "Acquisition", "Content", "InstanceCreation")
        for what in ("Date", "Time")
    ),
}
"""What differs each time; and the character set, of which Orthanc names one always."""


def picture(pixels: np.ndarray[Any, Any], kind: str = "PNG", **options: Any) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{b64encode(file.getvalue()).decode()}"


PDF = "data:application/pdf;base64," + b64encode(b"%PDF-1.4 x").decode()
CREATED: tuple[dict[str, Any], ...] = (
    {"Tags": {}},
    {"Tags": {"PatientName": "Hélène", "0008-0050": "A", "00100040": "F", "0010,0020": "P"}},
    {"Tags": {"PatientName": "王", "SpecificCharacterSet": "ISO_IR 192"}},
    {"Tags": {"ReferencedStudySequence": [{"ReferencedSOPClassUID": "1.2", "PurposeOfReferenceCodeSequence": [{}]}]}},
    {"Tags": {"ReferencedStudySequence": []}},
    {
        "Tags": {
            "Rows": "7",
            "SliceThickness": "1.5",
            "ImageOrientationPatient": "1\\0\\0\\0\\1\\0",
            "AccessionNumber": "",
        }
    },
    {"Tags": {"FrameIncrementPointer": "0018,1063"}},
    {"Tags": {"ICCProfile": "data:application/octet-stream;base64,AAECAw=="}},
    {"Tags": {"ICCProfile": "hello"}},
    {"Tags": {"0009-0010": "LUNIT", "0009-1001": "hello"}},
    {"Tags": {"0012,9999": "y"}},
    {"Tags": {"TransferSyntaxUID": "1.2", "0008-0000": "5"}},
    {"Tags": {"StudyInstanceUID": "1.2.3", "Modality": "lower", "PatientBirthDate": "x"}, "Force": True},
    {"Tags": {"StudyDate": "20200101", "SeriesTime": "101010"}},
    {"Tags": {"Modality": "DOC"}, "Content": PDF},
    {"Tags": {}, "Content": PDF},
    {"Tags": {}, "Content": picture(RGB)},
    {"Tags": {"Rows": "1", "BitsAllocated": "16"}, "Content": picture(RGB[..., 0])},
    {"Tags": {}, "Content": picture(RGB[..., 0].astype("u2") * 256 + 7)},
    {"Tags": {}, "Content": picture(np.dstack([RGB, RGB[..., 0]]))},
    {"Tags": {}, "Content": picture(RGB[..., 0], "JPEG")},
    {"Tags": {}, "Content": picture(RGB, "JPEG", subsampling=0, quality=100)},
    {"Tags": {}, "Content": "data:application/octet-stream;base64,AAECAw=="},
    {"Tags": {}, "Content": []},
    {"PatientName": "old", "PixelData": picture(RGB)},
    {},
)
REFUSED: tuple[Any, ...] = (
    *(b"x", b"", [], {"Tags": []}, {"Tags": {"PixelData": "x"}}, {"Tags": {"SpecificCharacterSet": "NOPE"}}),
    *({"Tags": {"StudyInstanceUID": "1.2"}}, {"Tags": {"SOPInstanceUID": "1.2"}}, {"PatientName": 5}),
    *({"Tags": {}, name: "x"} for name in ("Force", "InterpretBinaryTags", "Parent")),
    *({"Tags": {}, "Content": each} for each in (5, None, "hello", "data:image/png;base64,AAAA", PDF[:-16])),
    {"Tags": {}, "PrivateCreator": 1},
)
REFUSED_OTHERWISE: tuple[Any, ...] = (
    *({"Tags": {"Nope": "x"}}, {"Tags": {"Rows": "x"}}, {"Tags": {"ReferencedStudySequence": "x"}}),
    *({"Tags": {}, "Content": "data:image/gif;base64,AAAA"}, {"Tags": {}, "Content": [{}]}),
    {"Tags": {"PatientName": "a", "0010,0010": "b"}},
    {"Tags": {"ImageComments": "a"}, "Content": [{"Content": picture(RGB), "Tags": {"ImageComments": "b"}}]},
)
"""What neither takes, with another number, or with an internal error of Orthanc."""


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[Peer, Gateway]]:
    environment = {"GATEWAY_DICOMWEB__DELETE": "true"}
    with Gateway(tmp_path / "data", environment=environment) as gateway, orthanc(tmp_path / "orthanc") as peer:
        yield peer, gateway


def stored(base: str, identifier: str) -> Dataset:
    status, file = ask(base, "GET", f"/instances/{identifier}/file")
    assert status == 200
    return pydicom.dcmread(io.BytesIO(file))


def compared(theirs: Dataset, ours: Dataset, but: set[str]) -> dict[str, tuple[Any, Any]]:
    """Attributes of two data sets whose values differ, those `but` left out."""
    tags = {each.tag for each in (*theirs, *ours) if each.keyword not in but}
    values = {tag: [each[tag].value if tag in each else "absent" for each in (theirs, ours)] for tag in tags}
    return {str(tag): (first, second) for tag, (first, second) in values.items() if first != second}


def test_instances(both: tuple[Peer, Gateway]) -> None:
    for body in CREATED:
        made = []
        for base in (both[0].url, both[1].url):
            status, answer = ask(base, "POST", "/tools/create-dicom", body)
            assert (status, answer["Status"]) == (200, "Success"), (base, body, answer)
            assert set(answer) == {"ID", "ParentPatient", "ParentSeries", "ParentStudy", "Path", "Status"}
            made.append(stored(base, answer["ID"]))
        given = set(body.get("Tags", body))
        assert not compared(*made, but=(RANDOM | OURS) - (given - {"SpecificCharacterSet"})), body


def test_series(both: tuple[Peer, Gateway]) -> None:
    body = {
        "Tags": {"PatientID": "P"},
        "Content": [picture(RGB), {"Content": picture(RGB), "Tags": {"ImageType": "A"}}],
    }
    made = []
    for base in (both[0].url, both[1].url):
        status, answer = ask(base, "POST", "/tools/create-dicom", body)
        assert (status, set(answer), answer["Status"]) == (200, {"ID", "Path", "Status"}, "Success")
        found = [stored(base, each) for each in ask(base, "GET", answer["Path"])[1]["Instances"]]
        made.append(sorted(found, key=lambda each: int(each.InstanceNumber)))
    for theirs, ours in zip(*made, strict=True):
        assert not compared(theirs, ours, but=RANDOM - {"PatientID"} | OURS)


def test_parents(both: tuple[Peer, Gateway]) -> None:
    tags = {
        **dict.fromkeys(
            ("PatientName", "PatientComments", "StudyDescription", "SeriesDescription", "StationName"), "é"
        ),
        "PatientID": "P",
        "Modality": "MR",
        "StudyDate": "20200101",
        "StudyID": "",
        "ImageComments": "i",
        "OtherPatientIDsSequence": [{"PatientID": "q"}],
    }
    firsts = [ask(base, "POST", "/tools/create-dicom", {"Tags": tags})[1] for base in (both[0].url, both[1].url)]
    for level in ("Patient", "Study", "Series"):
        made = []
        for base, first in zip((both[0].url, both[1].url), firsts, strict=True):
            status, answer = ask(base, "POST", "/tools/create-dicom", {"Tags": {}, "Parent": first[f"Parent{level}"]})
            assert status == 200
            made.append(stored(base, answer["ID"]))
        inherited = {"PatientID", "Modality", *(() if level == "Patient" else ("StudyDate",))}
        assert not compared(*made, but=(RANDOM | OURS) - inherited)
    for parent, more in (("Patient", {"PatientName": "x"}), ("Study", {"StudyID": "x"})):
        answers = [
            ask(base, "POST", "/tools/create-dicom", {"Tags": more, "Parent": first[f"Parent{parent}"]})
            for base, first in zip((both[0].url, both[1].url), firsts, strict=True)
        ]
        assert {(status, answer["OrthancStatus"], answer["Details"]) for status, answer in answers} == {
            (400, 2020, *more)
        }


def test_errors(both: tuple[Peer, Gateway]) -> None:
    for body in REFUSED:
        answers = [ask(each.url, "POST", "/tools/create-dicom", body) for each in both]
        assert len({(status, answer["OrthancStatus"]) for status, answer in answers}) == 1, (body, answers)
        assert answers[1][0] == 400
    for body in REFUSED_OTHERWISE:
        theirs, ours = [ask(each.url, "POST", "/tools/create-dicom", body) for each in both]
        assert theirs[0] >= 400
        assert (ours[0], ours[1]["OrthancStatus"]) != (theirs[0], theirs[1]["OrthancStatus"])
        assert ours[0] == 400
    assert ask(both[1].url, "GET", "/instances")[1] == []


TAGS = {
    "PatientID": "A",
    "PatientName": "é",
    "StudyDescription": "one",
    "PatientComments": "c",
    "Modality": "CT",
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
    "StudyInstanceUID": "1.2.3.1",
    "StationName": "s",
    "OtherPatientIDsSequence": [{"PatientID": "q"}],
}
LEVELS = ("PATIENT", "STUDY", "SERIES")
NEW = {"StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"}


def filled(base: str) -> tuple[dict[str, str], dict[str, str]]:
    """Two instances of a study, in series of their own, and one of another patient: what is said of the first and of
    the last."""
    made = [
        ask(base, "POST", "/tools/create-dicom", {"Tags": {**TAGS, **more}, "Force": True})[1]
        for more in (
            {"SeriesInstanceUID": "1.2.3.1.1", "SOPInstanceUID": "1.2.3.1.1.1"},
            {"SeriesInstanceUID": "1.2.3.1.2", "SOPInstanceUID": "1.2.3.1.2.1"},
            {
                "StudyInstanceUID": "1.2.3.2",
                "SeriesInstanceUID": "1.2.3.2.1",
                "SOPInstanceUID": "1.2.3.2.1.1",
                "PatientID": "B",
                "PatientSex": "M",
                "StudyDescription": "two",
                "OtherPatientIDsSequence": [],
            },
        )
    ]
    return made[0], made[2]


def below(base: str, study: str) -> list[Dataset]:
    """The instances of a study, that of the other patient first."""
    found = [stored(base, each["ID"]) for each in ask(base, "GET", f"/studies/{study}/instances")[1]]
    return sorted(found, key=lambda each: str(each.SOPInstanceUID) not in ("1.2.3.2.1.1",))


def test_split(both: tuple[Peer, Gateway]) -> None:
    made = []
    for base in (both[0].url, both[1].url):
        first, _ = filled(base)
        body = {
            "Series": [first["ParentSeries"]],
            "Replace": {"PatientID": "Z", "StudyDescription": "new"},
            "Remove": ["PatientComments"],
        }
        status, answer = ask(base, "POST", f"/studies/{first['ParentStudy']}/split", body)
        assert (status, answer["Description"], answer["FailedInstancesCount"]) == (200, "REST API", 0)
        assert {"InstancesCount", "TargetStudy", "TargetStudyUID"} < set(answer)
        assert len(ask(base, "GET", f"/studies/{first['ParentStudy']}/instances")[1]) == 1
        (one,) = below(base, answer["TargetStudy"])
        assert one.StudyInstanceUID == answer["TargetStudyUID"]
        assert "1.2.3.1.1" not in (one.SeriesInstanceUID, one.SOPInstanceUID)
        made.append(one)
    assert not compared(*made, but=RANDOM - {"PatientID"} | NEW)


def test_merge(both: tuple[Peer, Gateway]) -> None:
    made = []
    for base in (both[0].url, both[1].url):
        first, other = filled(base)
        body = {"Resources": [first["ParentStudy"]]}
        status, answer = ask(base, "POST", f"/studies/{other['ParentStudy']}/merge", body)
        assert (status, answer["TargetStudy"], answer["FailedInstancesCount"]) == (200, other["ParentStudy"], 0)
        assert ask(base, "GET", "/studies")[1] == [other["ParentStudy"]]
        made.append(below(base, other["ParentStudy"]))
    for theirs, ours in zip(*made, strict=True):
        # The target's sequences are taken over, where Orthanc removes those that there were.
        assert set(compared(theirs, ours, but=RANDOM - {"PatientID"} | NEW)) <= {"(0010,1002)"}
        assert "q" not in str(ours.get("OtherPatientIDsSequence"))
        assert (ours.PatientID, ours.StudyDescription, ours.StudyInstanceUID) == ("B", "two", "1.2.3.2")


def test_what_cannot_be_split_or_merged(both: tuple[Peer, Gateway]) -> None:
    urls = [each.url for each in both]
    firsts = [filled(url) for url in urls]
    series = {"Series": ["SERIES"]}
    for call, body in (
        *(("split", each) for each in ({}, {"Series": []}, {"Series": "x"}, {"Series": ["x"]}, {"Series": [1]})),
        *(("split", {"Series": ["OTHER"]}), ("split", {"Instances": ["x"]})),
        *(("split", {**series, "Replace": each}) for each in ({"SeriesDescription": "x"}, {"PatientName": 1}, [])),
        *(("split", {**series, "Replace": {"StudyInstanceUID": "1"}}), ("split", {**series, "Remove": {}})),
        *(("split", {**series, "Remove": [1]}), ("split", {**series, "KeepSource": "x"})),
        *(("merge", each) for each in ({}, {"Resources": "x"}, {"Resources": ["x"]}, {"Resources": [1]})),
        *(("merge", {"Resources": [each]}) for each in ("STUDY", "SERIES", "ID", "PATIENT")),
        *(("merge", {"Resources": []}),),
    ):
        answers = []
        for url, (first, other) in zip(urls, firsts, strict=True):
            names = {"OTHER": other["ParentSeries"], **{name: first[f"Parent{name.title()}"] for name in LEVELS}}
            text = json.dumps(body)
            for name, identifier in {**names, "ID": first["ID"]}.items():
                text = text.replace(f'"{name}"', f'"{identifier}"')
            status, answer = ask(url, "POST", f"/studies/{first['ParentStudy']}/{call}", json.loads(text))
            answers.append((status, answer.get("OrthancStatus"), answer.get("InstancesCount")))
        assert answers[0] == answers[1], (call, body)
    for url, (first, _) in zip(urls, firsts, strict=True):
        assert len(ask(url, "GET", f"/studies/{first['ParentStudy']}/instances")[1]) == 2
