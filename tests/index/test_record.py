"""The rows made of one header."""

from __future__ import annotations

import msgspec
import pytest
from pydicom.dataset import Dataset

from gateway.dicom.elements import pick
from gateway.errors import DataSetError
from gateway.index import record as module
from gateway.index.attributes import INDEX_STOP, INDEX_TAGS
from gateway.index.record import RecordTemplate
from gateway.index.values import NO_NUMBER
from tests.support.datasets import BIG_ENDIAN, EXPLICIT, IMPLICIT, ct_header, encode
from tests.support.index import data_set, record


def members(fragment: str) -> dict[str, dict[str, object]]:
    return msgspec.json.decode(f"{{{fragment}}}", type=dict[str, dict[str, object]])


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_a_ct_header_in_every_syntax(syntax: str) -> None:
    found = record(ct_header(), syntax)
    expected = ct_header()
    assert found.sop_instance_uid == expected.SOPInstanceUID
    assert found.sop_class_uid == expected.SOPClassUID
    assert found.study_instance_uid == expected.StudyInstanceUID
    assert found.series_instance_uid == expected.SeriesInstanceUID
    assert found.patient_id == expected.PatientID
    assert found.number == int(expected.InstanceNumber)
    instance = members(found.attributes)
    assert instance["00280010"] == {"vr": "US", "Value": [expected.Rows]}
    assert instance["00280100"] == {"vr": "US", "Value": [expected.BitsAllocated]}
    series = found.parents.series
    assert series[2:4] == ("CT", int(expected.SeriesNumber))
    assert series[9:11] == ("\\S1\\", "\\R1\\")
    assert members(str(series[-2]))["00400275"]["vr"] == "SQ"
    assert members(str(series[-1]))["00180015"] == {"vr": "CS", "Value": ["CHEST"]}
    assert members(found.parents.study[-1])["00081030"] == {"vr": "LO", "Value": ["Thorax nativ"]}


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Müller^Jörg"),
        ("ISO_IR 192", "Ärzte^Ünal"),
        ("ISO_IR 144", "Щукин^Юрий"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
    ],
)
def test_text_is_decoded(charset: str | list[str], name: str) -> None:
    found = record(data_set(SpecificCharacterSet=charset, PatientName=name))
    (value,) = members(found.parents.study[-2])["00100010"]["Value"]  # type: ignore[misc]
    assert "=".join(value.values()) == name
    expected = [group.casefold() for group in name.split("=")]
    assert [text for tag, text in found.parents.names if tag == 0x00100010] == expected


def test_what_is_missing() -> None:
    source = Dataset()
    source.SOPClassUID, source.SOPInstanceUID = "1.2", "1.2.3"
    source.StudyInstanceUID, source.SeriesInstanceUID = "1.2.4", "1.2.5"
    found = record(source)
    assert found.patient_id == ""
    assert found.number == NO_NUMBER
    study = members(found.parents.study[-2])
    assert study["00080020"] == {"vr": "DA"}
    assert study["00100010"] == {"vr": "PN"}
    assert "00080201" not in study


@pytest.mark.case("broken 33 dots are no UID")
@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("value", [None, b"", b"1.2.x ", b"1" * 66, b".", b"..", b".1.2"])
def test_uids_must_be_there(keyword: str, value: bytes | None) -> None:
    source = data_set()
    tag = int(source[keyword].tag)
    elements, _ = pick(encode(source), EXPLICIT, INDEX_TAGS, INDEX_STOP)
    if value is None:
        del elements[tag]
    else:
        elements[tag] = elements[tag]._replace(value=value, length=len(value))
    with pytest.raises(DataSetError, match=f"{tag >> 16:04X},{tag & 0xFFFF:04X}"):
        RecordTemplate(elements, EXPLICIT)


@pytest.mark.parametrize("value", [b"1.2.3\0", b"1.2.3 ", b" 1.2.3", b"1..02.3."])
def test_odd_uids_pass(value: bytes) -> None:
    elements, _ = pick(encode(data_set()), EXPLICIT, INDEX_TAGS, INDEX_STOP)
    elements[0x0020000D] = elements[0x0020000D]._replace(value=value)
    assert RecordTemplate(elements, EXPLICIT).record.study_instance_uid == value.strip(b" \0").decode()


def test_a_broken_sequence_is_left_out() -> None:
    elements, _ = pick(encode(ct_header()), EXPLICIT, INDEX_TAGS, INDEX_STOP)
    elements[0x00400275] = elements[0x00400275]._replace(value=b"\xfe\xff\x00\xe0\xff\x00\x00\x00junk", length=12)
    found = RecordTemplate(elements, EXPLICIT).record
    assert "00400275" not in members(str(found.parents.series[-2]))
    assert found.parents.series[9:11] == ("", "")


def test_what_is_too_long_is_left_out() -> None:
    elements, _ = pick(encode(data_set(ImageComments="x" * 10000)), EXPLICIT, INDEX_TAGS, INDEX_STOP)
    elements[0x00100020] = elements[0x00100020]._replace(value=b"P" * 2000, length=2000)
    found = RecordTemplate(elements, EXPLICIT).record
    assert "00204000" not in members(found.extras)
    assert found.patient_id == "P" * 2000
    assert len(found.parents.study[2]) == 1024


class TestSibling:
    """What it says of another is what that says of itself."""

    @pytest.mark.parametrize(
        "values",
        [
            {"InstanceNumber": 7},
            {"InstanceNumber": None, "SOPInstanceUID": "1.2.3"},
            {"ImagePositionPatient": ["1", "2.5", "-3"], "Rows": 1, "ImageComments": "Jörg"},
            {"ImageComments": "x" * 9000},
            {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"},
            {"PatientName": "Other^Jörg", "TimezoneOffsetFromUTC": "+0100"},
            {"SeriesInstanceUID": "1.2.8", "StudyInstanceUID": "1.2.9"},
        ],
        ids=lambda values: "-".join(values),
    )
    def test_of_another(self, values: dict[str, object]) -> None:
        base = {"ImageComments": "y", "TimezoneOffsetFromUTC": "+0000", "ImagePositionPatient": ["0", "0", "0"]}
        first, _ = pick(encode(ct_header(**base)), EXPLICIT, INDEX_TAGS, INDEX_STOP)
        values = {name: "" if value is None else value for name, value in values.items()}
        other, _ = pick(encode(ct_header(**(base | values))), EXPLICIT, INDEX_TAGS, INDEX_STOP)
        changed = {tag: element for tag, element in other.items() if element.value != first[tag].value}
        assert changed
        template = RecordTemplate(first, EXPLICIT)
        assert template.with_other(changed) == RecordTemplate(other, EXPLICIT).record
        assert template.with_other({}) == template.record

    @pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
    @pytest.mark.parametrize("value", [b"", b"1.2.x ", b"1" * 66])
    def test_uids_must_be_there(self, keyword: str, value: bytes) -> None:
        source = data_set()
        elements, _ = pick(encode(source), EXPLICIT, INDEX_TAGS, INDEX_STOP)
        tag = int(source[keyword].tag)
        changed = {tag: elements[tag]._replace(value=value, length=len(value))}
        with pytest.raises(DataSetError, match=f"{tag >> 16:04X},{tag & 0xFFFF:04X}"):
            RecordTemplate(elements, EXPLICIT).with_other(changed)


class TestCache:
    def test_instances_of_a_series_share_their_parents(self) -> None:
        assert record(data_set()).parents is record(data_set()).parents

    @pytest.mark.parametrize(
        "change", [{"PatientName": "Other"}, {"SpecificCharacterSet": "ISO_IR 192"}, {"BodyPartExamined": "HEAD"}]
    )
    def test_any_difference_above_the_instance_counts(self, change: dict[str, str]) -> None:
        assert record(data_set()).parents is not record(data_set(**change)).parents

    def test_it_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_MAX_CACHED_PARENTS", 4)
        module._parents.clear()
        for n in range(20):
            record(data_set(study=f"1.9.{n}"))
            assert 1 <= len(module._parents) <= 4

    def test_large_values_stay_out(self) -> None:
        first, second = (
            record(data_set(PatientComments="x" * 9000, AdditionalPatientHistory="y" * 9000)) for _ in "ab"
        )
        assert first.parents is not second.parents
