"""Modifications: the same asked of a live Orthanc and of the gateway, and the data sets that come of it compared."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from tests.interop.test_orthanc_rest import ask
from tests.support.datasets import instance
from tests.support.processes import Gateway, Peer, orthanc
from tests.web.test_stow import part10

pytestmark = [pytest.mark.interop, pytest.mark.slow]

NEW = "a new one"
IMAGES = "ReferencedImageSequence"
UIDS = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Peer, Gateway]]:
    folder = tmp_path_factory.mktemp("changes")
    environment = {"GATEWAY_DICOMWEB__DELETE": "true"}
    with Gateway(folder / "data", environment=environment) as gateway, orthanc(folder / "orthanc") as peer:
        yield peer, gateway


def referenced(*uids: str) -> list[Dataset]:
    items = []
    for number, uid in enumerate(uids):
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID, item.CodeMeaning = "1.2.3", uid, f"x{number}"
        items.append(item)
    return items


def one(**values: Any) -> Dataset:
    made = instance(SpecificCharacterSet="ISO_IR 100", **values)
    made.ReferencedImageSequence = referenced("1.2.3.0", "1.2.3.1", "1.2.3.2")
    block = made.private_block(0x0019, "ACME", create=True)
    block.add_new(0x10, "LO", "secret")
    block.add_new(0x11, "US", 5)
    return made


def uploaded(both: tuple[Peer, Gateway], *data_sets: Dataset) -> list[Any]:
    """The answers to the upload of each, which are the same from both."""
    found = []
    for each in data_sets:
        answers = [ask(system.url, "POST", "/instances", part10(each)) for system in both]
        assert [status for status, _ in answers] == [200, 200]
        assert answers[0][1]["ID"] == answers[1][1]["ID"]
        found.append(answers[1][1])
    return found


def shown(data_set: Dataset, originals: set[str]) -> dict[str, Any]:
    """All attributes by their paths. Of UIDs that are new, that they are; of private ones, their bytes."""
    found: dict[str, Any] = {}

    def walk(level: Dataset, before: str) -> None:
        for element in level:
            path = f"{before}{element.keyword or element.tag}"
            if element.VR == "SQ":
                found[path] = len(element.value)
                for number, item in enumerate(element.value):
                    walk(item, f"{path}[{number}].")
            elif element.tag.is_private:
                value = element.value
                data = value.to_bytes(2, "little") if isinstance(value, int) else value
                found[path] = data if isinstance(data, bytes) else str(data).encode() + b"\0" * (len(str(data)) & 1)
            elif element.VR == "UI" and isinstance(element.value, str) and element.value not in originals:
                found[path] = NEW if len(element.value) > 12 else element.value
            else:
                found[path] = str(element.value)

    walk(data_set, "")
    return found


def read(answer: tuple[int, Any]) -> Dataset:
    assert answer[0] == 200, answer
    return pydicom.dcmread(io.BytesIO(answer[1]))


CHANGES: tuple[dict[str, Any], ...] = (
    {},
    {"Replace": {"PatientComments": None}},
    {"Replace": {"PatientComments": "x", "StudyDate": ""}},
    {"Replace": {"Rows": "8", "0028-0011": "9"}},
    *({"Replace": {name: "a"}} for name in ("0010-0010", "0010,0010", "00100010", "(0010,0010)", " PatientName ")),
    *({"Replace": {"FrameIncrementPointer": text}} for text in ("0018,1063", "00181063", "FrameTime")),
    {"Replace": {"RequestAttributesSequence": []}},
    {
        "Replace": {
            "RequestAttributesSequence": [
                {
                    "ScheduledProcedureStepID": "S",
                    "0040,1001": "R",
                    "RequestedProcedureCodeSequence": [{"CodeValue": "c"}],
                },
                {"ScheduledProcedureStepID": None},
                {},
            ]
        }
    },
    *({"Replace": {f"{IMAGES}[{at}].CodeMeaning": "n"}} for at in ("0", "*", " 1 ", "3", "7")),
    {"Replace": {"0008-1140[0].0008-0104": "n", "(0008,1140)[1].(0008,0100)": "c"}},
    {"Replace": {f"{IMAGES}[*].CodeValue": "n"}},
    {"Replace": {f"{IMAGES}[1].PurposeOfReferenceCodeSequence": [{"CodeValue": "1"}]}},
    {"Replace": {f"{IMAGES}[*].ReferencedSOPInstanceUID": "1.2"}},
    *({"Replace": {f"RequestAttributesSequence[{at}].CodeMeaning": "n"}} for at in ("0", "*")),
    {"Remove": [f"{IMAGES}[0].CodeMeaning"]},
    {"Remove": [f"{IMAGES}[*].CodeMeaning", "StudyDate"]},
    {"Remove": [IMAGES]},
    {"Remove": ["StudyDate"], "Keep": ["StudyDate"]},
    {"Remove": ["StudyDate"], "Replace": {"StudyDate": "20210101"}},
    {"Remove": [IMAGES], "Keep": [f"{IMAGES}[0].CodeMeaning"]},
    {"Replace": {"0019-1010": "zz"}},
    {"Replace": {"0019-1012": "zz"}, "PrivateCreator": "ACME"},
    {"Replace": {"0021-0010": "NEW", "0021-1012": "zz"}},
    {"Remove": ["0019-1010"]},
    {"RemovePrivateTags": True},
    {"Keep": ["PatientName"]},
    {"Keep": ["SOPInstanceUID"], "Force": True},
    {"Replace": {"SOPInstanceUID": "1.2.3"}, "Force": True},
    {"Replace": {"SeriesInstanceUID": "1.2.3"}, "Force": True},
    {"Replace": {"StudyInstanceUID": "1.2.3"}, "Force": True},
    {"Replace": {"PatientID": "P2"}, "Force": True},
    {"Replace": {"PatientName": "Müller^Jörg"}},
    {"Transcode": "1.2.840.10008.1.2"},
    {"KeepSource": False},
)
"""Bodies of which the same comes. (Another character set is not among them: this Orthanc leaves the text as it was.)"""


@pytest.mark.parametrize("body", CHANGES, ids=str)
def test_an_instance(both: tuple[Peer, Gateway], body: dict[str, Any]) -> None:
    source = one(PatientName="Müller^Jörg")
    (stored,) = uploaded(both, source)
    answers = [read(ask(system.url, "POST", f"/instances/{stored['ID']}/modify", body)) for system in both]
    originals = {str(source[name].value) for name in UIDS} | {"1.2.3.0", "1.2.3.1", "1.2.3.2", source.SOPClassUID}
    theirs, ours = (shown(each, originals) for each in answers)
    assert ours == theirs
    assert answers[0].file_meta.TransferSyntaxUID == answers[1].file_meta.TransferSyntaxUID


REFUSED: tuple[dict[str, Any], ...] = (
    {"Replace": {"PatientComments": True}},
    {"Replace": {"PatientComments": ["a", "b"]}},
    {"Replace": {"PatientComments": {"a": 1}}},
    *({"Replace": {"Rows": text}} for text in ("x", "1.5", "70000")),
    *({"Replace": {"RequestAttributesSequence": value}} for value in ("x", ["x"], {})),
    {"Remove": [f"{IMAGES}[-1].CodeMeaning"]},
    {"Remove": [f"{IMAGES}[x].CodeMeaning"]},
    {"Keep": ["SOPInstanceUID"]},
    {"Replace": {"PatientID": "x"}},
    {"Remove": ["PatientID"]},
    {"Remove": ["PatientID"], "Force": True},
    {"Remove": ["SOPInstanceUID"], "Force": True},
    {"RemovePrivateTags": 1},
    {"Force": "x"},
    {"Replace": []},
    {"Remove": "x"},
    {"Remove": [1]},
    {"Keep": {}},
    {"Transcode": "nonsense"},
)
"""Bodies that both refuse."""


@pytest.mark.parametrize("body", REFUSED, ids=str)
def test_what_is_refused(both: tuple[Peer, Gateway], body: dict[str, Any]) -> None:
    (stored,) = uploaded(both, one())
    answers = [ask(system.url, "POST", f"/instances/{stored['ID']}/modify", body)[0] for system in both]
    assert answers == [400, 400]


ABOVE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("patients", {"Replace": {"PatientID": "N1", "PatientName": "x"}, "Force": True}),
    ("patients", {"Replace": {"PatientID": "N2", "StudyInstanceUID": "1.2.4"}, "Force": True}),
    ("patients", {"Replace": {"PatientID": "N3"}, "Keep": list(UIDS), "Force": True}),
    ("studies", {"Replace": {"StudyDescription": "x"}}),
    ("studies", {"Replace": {"StudyDescription": "x"}, "Keep": ["SeriesInstanceUID"], "Force": True}),
    ("studies", {"Replace": {"StudyDescription": "x"}, "Keep": ["StudyInstanceUID"], "Force": True}),
    ("studies", {"Replace": {"StudyInstanceUID": "1.2.5"}, "Force": True}),
    ("studies", {"Replace": {"SeriesInstanceUID": "1.2.6"}, "Force": True}),
    ("studies", {"Replace": {"StudyDescription": "x"}, "KeepSource": False}),
    ("series", {"Replace": {"SeriesDescription": "x"}}),
    ("series", {"Replace": {"SeriesInstanceUID": "1.2.7"}, "Force": True}),
    ("series", {"Replace": {"SeriesDescription": "x"}, "KeepSource": False}),
)


@pytest.mark.parametrize(("kind", "body"), ABOVE, ids=str)
def test_what_is_above(both: tuple[Peer, Gateway], kind: str, body: dict[str, Any]) -> None:
    """The objects and the answer are the same, but for references to what is modified, which here follow."""
    first = one(PatientID=f"P{ABOVE.index((kind, body))}")
    second = one(PatientID=first.PatientID, StudyInstanceUID=first.StudyInstanceUID)
    third = one(PatientID=first.PatientID, StudyInstanceUID=first.StudyInstanceUID)
    third.SeriesInstanceUID = first.SeriesInstanceUID
    stored = uploaded(both, first, second, third)
    parent = {"patients": "ParentPatient", "studies": "ParentStudy", "series": "ParentSeries"}[kind]
    source = stored[0][parent]
    answers = [ask(system.url, "POST", f"/{kind}/{source}/modify", body) for system in both]
    assert [status for status, _ in answers] == [200, 200], answers
    named = [{**answer, "ID": "", "Path": "", "PatientID": ""} for _, answer in answers]
    assert named[1].pop("ParentResources") == [source]
    assert named[1].pop("Resources") == [{"ID": source, "Type": answers[0][1]["Type"]}]
    assert named[0] == named[1]
    originals = {str(each[name].value) for each in (first, second, third) for name in UIDS}
    originals |= {"1.2.3.0", "1.2.3.1", "1.2.3.2", first.SOPClassUID}
    results = []
    for system, (_, answer) in zip(both, answers, strict=True):
        listed = ask(system.url, "GET", f"{answer['Path']}/instances")[1]
        files = [read(ask(system.url, "GET", f"/instances/{each['ID']}/file")) for each in listed]
        results.append(sorted(str(sorted(shown(each, originals).items())) for each in files))
    assert results[1] == results[0]
    left = [ask(system.url, "GET", f"/{kind}/{source}")[0] for system in both]
    assert left[0] == left[1]


ANONYMIZED: tuple[tuple[dict[str, Any], tuple[str, ...]], ...] = (
    (
        {"Replace": {"PatientName": "x", "StudyDate": "20200102"}},
        ("PatientName", "StudyDate", "ReferencedImageSequence"),
    ),
    ({"Replace": {"PatientID": "x"}, "Force": True}, ("PatientID",)),
    ({"Keep": ["StudyDate", "AccessionNumber"]}, ("StudyDate", "AccessionNumber")),
    ({"Keep": list(UIDS), "Force": True}, UIDS),
    ({"Keep": ["0019-1010"]}, ("(0019,1010)", "(0019,1011)")),
    ({"KeepPrivateTags": True}, ("(0019,1010)", "(0019,1011)")),
    ({"Remove": ["Modality"]}, ("Modality", "Rows")),
    ({"Remove": [f"{IMAGES}[1].CodeMeaning"]}, tuple(f"{IMAGES}[{at}].CodeMeaning" for at in range(3))),
    ({"Replace": {f"{IMAGES}[*].CodeMeaning": "n"}}, tuple(f"{IMAGES}[{at}].CodeMeaning" for at in range(3))),
    (
        {"Replace": {"ConceptNameCodeSequence": [{"CodeValue": "S"}]}},
        ("ConceptNameCodeSequence", "ConceptNameCodeSequence[0].CodeValue"),
    ),
    *(({"DicomVersion": version}, ("PatientIdentityRemoved",)) for version in ("2008", "2017c", "2021b")),
)
"""Bodies, and attributes that are the same afterwards; what the profile does with all others is not compared."""


@pytest.mark.parametrize(("body", "paths"), ANONYMIZED, ids=str)
def test_an_instance_anonymized(both: tuple[Peer, Gateway], body: dict[str, Any], paths: tuple[str, ...]) -> None:
    source = one()
    (stored,) = uploaded(both, source)
    answers = [read(ask(system.url, "POST", f"/instances/{stored['ID']}/anonymize", body)) for system in both]
    originals = {str(source[name].value) for name in UIDS}
    theirs, ours = (shown(each, originals) for each in answers)
    assert {path: ours.get(path) for path in paths} == {path: theirs.get(path) for path in paths}


BULK: tuple[dict[str, Any], ...] = (
    {"Replace": {"StudyDescription": "x"}},
    {"Replace": {"StudyDescription": "x"}, "Level": "Study"},
    {"Replace": {"StudyDescription": "x"}, "Level": "SERIES", "KeepSource": False},
    {"Replace": {"PatientID": "new"}, "Force": True},
    {"Replace": {"SeriesInstanceUID": "1.2.8"}, "Force": True},
    {"Level": "Patient"},
    {"Level": "nonsense"},
)


@pytest.mark.parametrize("body", BULK, ids=str)
@pytest.mark.parametrize("what", ["modify", "anonymize"])
def test_several(both: tuple[Peer, Gateway], what: str, body: dict[str, Any]) -> None:
    first = one(PatientID=f"B{BULK.index(body)}{what}")
    second = one(PatientID=first.PatientID, StudyInstanceUID=first.StudyInstanceUID)
    stored = uploaded(both, first, second)
    wanted = {**body, "Resources": [stored[0]["ParentSeries"], stored[1]["ID"]]}
    answers = [ask(system.url, "POST", f"/tools/bulk-{what}", wanted) for system in both]
    assert answers[0][0] == answers[1][0], answers
    if answers[0][0] != 200:
        return
    kinds = [[each["Type"] for each in answer.pop("Resources")] for _, answer in answers]
    assert kinds[0] == kinds[1]
    assert answers[1][1].pop("ParentResources") == sorted(wanted["Resources"])
    assert answers[0][1] == answers[1][1]
    left = [ask(system.url, "GET", f"/series/{stored[0]['ParentSeries']}")[0] for system in both]
    assert left[0] == left[1]


@pytest.mark.parametrize("what", ["modify", "anonymize"])
@pytest.mark.parametrize(
    "body", [[], {}, {"Resources": "x"}, {"Resources": [1]}, {"Resources": []}, {"Resources": ["x"]}]
)
def test_several_of_nothing(both: tuple[Peer, Gateway], what: str, body: Any) -> None:
    answers = [ask(system.url, "POST", f"/tools/bulk-{what}", body) for system in both]
    assert answers[0][0] == answers[1][0]
    fields = ("OrthancStatus", "Details", "InstancesCount", "Resources")
    theirs, ours = ({name: answer.get(name) for name in fields} for _, answer in answers)
    assert ours == {**theirs, "Details": ours["Details"]}
    assert theirs["Details"] in (None, ours["Details"])


class TestClients:
    """Libraries for Orthanc, unmodified, against the gateway."""

    def test_orthanc_api_client(self, both: tuple[Peer, Gateway]) -> None:
        oac = pytest.importorskip("orthanc_api_client")
        (stored,) = uploaded(both, one(PatientID="C1"))
        client = oac.OrthancApiClient(both[1].url)
        try:
            study = client.studies.modify(
                stored["ParentStudy"], replace_tags={"StudyDescription": "a"}, delete_original=True
            )
            assert not client.studies.exists(stored["ParentStudy"])
            instances, series, studies, patients = client.studies.modify_bulk(
                orthanc_ids=[study], replace_tags={"StudyDescription": "b"}, transcode="1.2.840.10008.1.2"
            )
            assert [len(each) for each in (instances, series, studies, patients)] == [1, 1, 1, 1]
            assert not client.studies.exists(study)
            *_, anonymized, _ = client.studies.anonymize_bulk(orthanc_ids=studies)
            assert client.studies.exists(studies[0])
            job = client.studies.anonymize_bulk_async(orthanc_ids=anonymized, delete_original=True)
            job.wait_completed()
            assert job.info.status == oac.JobStatus.SUCCESS
            assert not client.studies.exists(anonymized[0])
        finally:
            client.close()

    def test_pyorthanc(self, both: tuple[Peer, Gateway]) -> None:
        pyorthanc = pytest.importorskip("pyorthanc")
        (stored,) = uploaded(both, one(PatientID="C2"))
        with pyorthanc.Orthanc(both[1].url) as client:
            study = pyorthanc.Study(stored["ParentStudy"], client)
            itself = study.modify(
                replace={"ReferringPhysicianName": "last^first"}, keep=["StudyInstanceUID"], force=True
            )
            assert (itself.id_, study.referring_physician_name) == (study.id_, "last^first")
            job = study.anonymize_as_job(replace={"StudyDescription": "new"}, dicom_version="2017c", keep_source=True)
            job.wait_until_completion()
            made = pyorthanc.Study(job.content["ID"], client)
            assert (job.state.value, made.description) == ("Success", "new")
            patient = made.parent_patient.modify(replace={"PatientID": "C3"}, force=True, keep_source=False)
            assert patient.patient_id == "C3"
            assert patient.studies[0].series[0].instances[0].modify(remove=["StudyDate"])[128:132] == b"DICM"
