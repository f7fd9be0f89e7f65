"""Small data sets: written here and read by pydicom, written by pydicom and read here, in every syntax and script."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from gateway.dicom.decode import decode_data_set
from gateway.dicom.encode import Attribute, encode_data_set
from gateway.dicom.json_reader import from_json
from gateway.dicom.uids import transfer_syntax
from gateway.dicom.walk import MAX_DEPTH
from gateway.errors import DataSetError, TruncatedDataSet, UnsupportedTransferSyntax
from tests.support.datasets import BIG_ENDIAN, EXPLICIT, IMPLICIT, JPEG_BASELINE, UNCOMPRESSED, decode, encode

ITEM = {0x00080100: Attribute("SH", ["121"]), 0x00080104: Attribute("LO", ["Kopf"])}
EVERYTHING = {
    0x00080016: Attribute("UI", ["1.2.3"]),
    0x00080020: Attribute("DA", ["20260101-20260201"]),
    0x00080060: Attribute("CS", ["CT", "MR"]),
    0x00081140: Attribute("SQ", [{0x00081150: Attribute("UI", ["1.2"]), 0x00081199: Attribute("SQ", [ITEM])}, {}]),
    0x00100010: Attribute("PN", ["Doe^J*"]),
    0x00101030: Attribute("DS", [70.5]),
    0x00181310: Attribute("US", [1, 2, 3, 65535]),
    0x00200013: Attribute("IS", [7]),
    0x00205000: Attribute("AT", [0x00100010]),
    0x00209257: Attribute("FD", [1.5]),
    0x00280010: Attribute("US", [512]),
    0x00280106: Attribute("US", [0]),
    0x00282000: Attribute("OB", [b"abc"]),
    0x00281201: Attribute("OW", [b"\1\2\3\4"]),
    0x00321032: Attribute("PN", []),
    0x00104000: Attribute("LT", ["one\\two"]),
}


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_group_2_before_it_is_passed_over(syntax: str) -> None:
    """As Orthanc has it in its queries for instances, in the encoding of the data set. Half of it is an error."""
    order: Any = "big" if transfer_syntax(syntax).big_endian else "little"
    length = (6).to_bytes(4, order) if transfer_syntax(syntax).implicit else b"UI" + (6).to_bytes(2, order)
    meta = (2).to_bytes(2, order) + (3).to_bytes(2, order) + length + b"1.2.3\0"
    rest = {0x00100020: Attribute("LO", ["P1"])}
    assert decode_data_set(meta + encode_data_set(rest, syntax), syntax) == rest
    assert decode_data_set(meta, syntax) == {}
    with pytest.raises(TruncatedDataSet):
        decode_data_set(meta[:-2], syntax)


@pytest.mark.parametrize("syntax", UNCOMPRESSED)
class TestEverySyntax:
    def test_pydicom_reads_what_we_write(self, syntax: str) -> None:
        data = encode_data_set(EVERYTHING, syntax)
        assert len(data) % 2 == 0
        found = decode(data, syntax)
        assert found.SOPClassUID == "1.2.3"
        assert list(found.Modality) == ["CT", "MR"]
        assert found.PatientName == "Doe^J*"
        assert found.PatientWeight == 70.5
        assert list(found.AcquisitionMatrix) == [1, 2, 3, 65535]
        assert found.InstanceNumber == 7
        assert found[0x00205000].value == 0x00100010
        assert found.Rows == 512
        assert found[0x00104000].value == "one\\two"
        assert found.ICCProfile == b"abc\0"
        assert found.RequestingPhysician == ""
        inner = found.ReferencedImageSequence[0].ReferencedSOPSequence[0]
        assert (inner.CodeValue, inner.CodeMeaning) == ("121", "Kopf")
        assert len(found.ReferencedImageSequence) == 2
        assert "SpecificCharacterSet" not in found

    def test_we_read_what_we_write(self, syntax: str) -> None:
        found = decode_data_set(encode_data_set(EVERYTHING, syntax), syntax)
        expected = {
            **EVERYTHING,
            0x00101030: Attribute("DS", ["70.5"]),
            0x00200013: Attribute("IS", ["7"]),
            0x00282000: Attribute("OB", [b"abc\0"]),
        }
        assert found == expected

    def test_we_read_what_pydicom_writes(self, syntax: str) -> None:
        source = Dataset()
        source.QueryRetrieveLevel = "STUDY"
        source.PatientName = "Doe*"
        source.StudyDate = ""
        source.Rows = 512
        item = Dataset()
        item.ScheduledStationAETitle = "CT1"
        source.ScheduledProcedureStepSequence = [item]
        for undefined in (False, True):
            found = decode_data_set(encode(source, syntax, undefined_lengths=undefined), syntax)
            assert found == {
                0x00080052: Attribute("CS", ["STUDY"]),
                0x00080020: Attribute("DA", []),
                0x00100010: Attribute("PN", ["Doe*"]),
                0x00280010: Attribute("US", [512]),
                0x00400100: Attribute("SQ", [{0x00400001: Attribute("AE", ["CT1"])}]),
            }


class TestSpecificCharacterSet:
    @pytest.mark.parametrize(
        ("name", "prefer", "term"),
        [
            ("Doe^John", "", None),
            ("Doe^John", "ISO_IR 192", None),
            ("Müller^Jürgen", "", "ISO_IR 100"),
            ("Müller^Jürgen", "ISO_IR 101", "ISO_IR 101"),
            ("Διονυσιος", "", "ISO_IR 192"),
            ("Διονυσιος", "ISO_IR 126", "ISO_IR 126"),
            ("Διονυσιος", "ISO_IR 100", "ISO_IR 192"),
            ("Люкceмбypг", "ISO_IR 144", "ISO_IR 144"),  # noqa: RUF001
            ("Wang^XiaoDong=王^小东", "GB18030", "GB18030"),
            ("Yamada^Tarou=山田^太郎=やまだ^たろう", "ISO 2022 IR 87", "ISO_IR 192"),
            ("Hong^Gildong=洪^吉洞=홍^길동", "", "ISO_IR 192"),
            ("שרון^דבורה", "ISO_IR 138", "ISO_IR 138"),
            ("قباني^لنزار", "", "ISO_IR 192"),
        ],
    )
    @pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
    def test_fits_every_value(self, name: str, prefer: str, term: str | None, syntax: str) -> None:
        source = {0x00080005: Attribute("CS", ["ISO_IR 109"]), 0x00100010: Attribute("PN", [name])}
        data = encode_data_set(source, syntax, prefer=prefer)
        found = decode(data, syntax)
        assert found.get("SpecificCharacterSet") == term
        assert found.PatientName == name
        assert decode_data_set(data, syntax)[0x00100010].values == [name]

    def test_values_in_items_count(self) -> None:
        source = {0x00400275: Attribute("SQ", [{0x00400007: Attribute("LO", ["東京"])}])}
        found = decode(encode_data_set(source, EXPLICIT))
        assert found.SpecificCharacterSet == "ISO_IR 192"
        assert found.RequestAttributesSequence[0].ScheduledProcedureStepDescription == "東京"

    def test_of_items_that_name_their_own(self) -> None:
        source = Dataset()
        source.SpecificCharacterSet = "ISO_IR 100"
        item = Dataset()
        item.SpecificCharacterSet = "ISO_IR 126"
        item.PatientComments = "Διον"
        source.ReferencedPatientSequence = [item]
        source.PatientComments = "Ä"
        found = decode_data_set(encode(source), EXPLICIT)
        assert found[0x00104000].values == ["Ä"]
        (inner,) = found[0x00081120].values
        assert inner[0x00104000].values == ["Διον"]

    @pytest.mark.parametrize("codec", ["utf-8", "latin-1"])
    def test_none_named(self, codec: str) -> None:
        value = "Müller*".encode(codec)
        value += b" " * (len(value) & 1)
        data = b"\x10\0\x10\0PN" + len(value).to_bytes(2, "little") + value
        assert decode_data_set(data, EXPLICIT)[0x00100010].values == ["Müller*"]


class TestJson:
    def test_a_model(self) -> None:
        source = Dataset()
        source.PatientName = "Yamada^Tarou=山田^太郎"
        source.PatientWeight = "70.5"
        source.Rows = 512
        source.InstanceNumber = "7"
        source.OtherPatientIDs = ["A", "B"]
        source.ReferencedImageSequence = [Dataset(), Dataset()]
        source.ReferencedImageSequence[0].ReferencedSOPInstanceUID = "1.2"
        source.FrameIncrementPointer = 0x00181063
        source.ICCProfile = b"abcd"
        source.StudyDate = ""
        source.SpecificCharacterSet = "ISO_IR 192"
        data = encode_data_set(from_json(json.loads(source.to_json())), EXPLICIT)
        assert decode(data) == source

    @pytest.mark.parametrize(
        "model",
        [
            [],
            {"PatientName": {"vr": "PN"}},
            {"00100010": "Doe"},
            {"00100010": {"vr": "XX"}},
            {"00100010": {"vr": "PN", "Value": "Doe"}},
            {"00100020": {"vr": "LO", "Value": [{}]}},
            {"00280010": {"vr": "US", "Value": ["many"]}},
            {"00400275": {"vr": "SQ", "Value": [3]}},
            {"00282000": {"vr": "OB", "InlineBinary": "!"}},
            {"00280009": {"vr": "AT", "InlineBinary": "GABjEBgA"}},  # one tag and a half
            {"00282000": {"vr": "OB", "Value": [1 << 33]}},  # and not so many bytes
            {"00282000": {"vr": "OB", "Value": ["text"]}},
        ],
    )
    def test_no_model(self, model: Any) -> None:
        with pytest.raises(DataSetError):
            from_json(model)

    def test_a_number_that_json_cannot_say(self) -> None:
        (number,) = from_json({"00186020": {"vr": "FL", "Value": [None]}})[0x00186020].values
        assert math.isnan(number)

    def test_nesting_is_bounded(self) -> None:
        model: dict[str, Any] = {}
        for _ in range(MAX_DEPTH + 1):
            model = {"00400275": {"vr": "SQ", "Value": [model]}}
        with pytest.raises(DataSetError, match="inside one another"):
            from_json(model)


class TestErrors:
    def test_encapsulated(self) -> None:
        with pytest.raises(UnsupportedTransferSyntax):
            encode_data_set({}, JPEG_BASELINE)

    @pytest.mark.parametrize("attribute", [Attribute("US", [70000]), Attribute("US", ["a"]), Attribute("OB", ["a"])])
    def test_a_value_that_does_not_fit(self, attribute: Attribute) -> None:
        with pytest.raises(DataSetError, match=r"\(0028,0010\)"):
            encode_data_set({0x00280010: attribute}, EXPLICIT)


def test_a_value_longer_than_its_vr_can_say() -> None:
    data = encode_data_set({0x00104000: Attribute("LO", ["x" * 70000])}, EXPLICIT)
    assert decode_data_set(data, EXPLICIT)[0x00104000].values == ["x" * 70000]


@given(st.floats(allow_nan=False, min_value=-1e300, max_value=1e300))
def test_decimal_strings(number: float) -> None:
    data = encode_data_set({0x00101030: Attribute("DS", [number])}, EXPLICIT)
    (text,) = decode_data_set(data, EXPLICIT)[0x00101030].values
    assert len(text) <= 16
    assert math.isclose(float(text), number, rel_tol=1e-8)


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    for syntax in UNCOMPRESSED:
        try:
            decode_data_set(data, syntax)
        except DataSetError:
            pass
