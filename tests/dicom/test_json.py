"""The DICOM JSON Model, clause by clause. Beside pydicom's and DCMTK's it is held in tests/interop/test_json.py."""

from __future__ import annotations

import base64
import json
import math
import struct
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from gateway.dicom.elements import Element, pick
from gateway.dicom.json import MAX_INLINE_BYTES, encode_data_set, encode_element, encode_elements
from gateway.dicom.uids import EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, Syntax
from gateway.errors import DataSetError, TruncatedDataSet
from tests.support.datasets import (
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG_BASELINE,
    UNCOMPRESSED,
    ct_header,
    encode,
    instance,
)


def uri(path: str) -> str:
    return f"../bulk/{path}"


def to_json(data: bytes, syntax: str = EXPLICIT, **options: Any) -> dict[str, Any]:
    """Encoded through reads of what is asked for, at an offset in a larger object."""
    stored = b"HEADER" + data + b"TRAILER"

    def read(offset: int, length: int) -> bytes:
        assert offset >= 6
        assert offset + length <= 6 + len(data)
        return stored[offset : offset + length]

    return json.loads(encode_data_set(read, 6, 6 + len(data), syntax, bulk_data_uri=uri, **options))


def attribute(
    vr: str,
    value: bytes,
    *,
    tag: int = 0x00091001,
    charset: str | None = None,
    syntax: Syntax = EXPLICIT_VR_LITTLE_ENDIAN,
) -> dict[str, Any]:
    return json.loads(encode_element(Element(tag, vr, value, 0, 8, len(value), False, syntax), charset))


def values(vr: str, value: bytes, **options: Any) -> Any:
    result = attribute(vr, value, **options)
    assert result["vr"] == vr
    return result.get("Value")


class TestF_2_2_Structure:
    def test_ordered_by_property_name(self):
        data = b"".join(
            struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, b"LO", 2) + text
            for tag, text in ((0x00200010, b"c "), (0x00100020, b"b "), (0x00200010, b"d "), (0x00080060, b"a "))
        )
        assert list(to_json(data).items()) == [
            ("00080060", {"vr": "LO", "Value": ["a"]}),
            ("00100020", {"vr": "LO", "Value": ["b"]}),
            ("00200010", {"vr": "LO", "Value": ["d"]}),
        ]

    def test_group_lengths_are_not_included(self):
        data = struct.pack("<HHII", 0x0008, 0, 4, 10) + struct.pack("<HHI", 0x0008, 0x0060, 2) + b"CT"
        assert to_json(data, IMPLICIT) == {"00080060": {"vr": "CS", "Value": ["CT"]}}
        assert encode_elements(pick(data, IMPLICIT, frozenset({0x00080000}), 0x00080000)[0], None) == b"{}"

    def test_hexadecimal_names_are_uppercase(self):
        data_set = Dataset()
        data_set.add_new(0x300A00B2, "SH", "Linac")
        assert list(to_json(encode(data_set))) == ["300A00B2"]

    def test_person_names(self):
        assert values("PN", b"Doe^Jane=\xb0=") == [{"Alphabetic": "Doe^Jane", "Ideographic": "°"}]
        assert values("PN", b"A^B\\=I\\==P\\\\=") == [
            {"Alphabetic": "A^B"},
            {"Ideographic": "I"},
            {"Phonetic": "P"},
            None,
            None,
        ]

    def test_sequences_and_their_items(self):
        data_set = Dataset()
        inner = Dataset()
        inner.CodeValue = "T-04000"
        item = Dataset()
        item.ConceptNameCodeSequence = [inner]
        data_set.ContentSequence = [item, Dataset()]
        data_set.RequestAttributesSequence = []
        expected = {
            "00400275": {"vr": "SQ"},
            "0040A730": {
                "vr": "SQ",
                "Value": [
                    {"0040A043": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["T-04000"]}}]}},
                    {},
                ],
            },
        }
        for syntax in UNCOMPRESSED:
            for undefined in (False, True):
                assert to_json(encode(data_set, syntax, undefined_lengths=undefined), syntax) == expected


class TestF_2_3_ValueRepresentation:
    @pytest.mark.parametrize(
        ("text", "number"),
        [
            ("1", 1),
            (" +007 ", 7),
            ("-2147483648", -2147483648),
            ("", None),
            ("1.0", "1.0"),
            ("1_0", "1_0"),
            ("1A", "1A"),
            ("9" * 400, "9" * 400),
        ],
    )
    def test_is(self, text, number):
        assert values("IS", b"5\\" + text.encode()) == [5, number]

    @pytest.mark.parametrize(
        ("text", "number"),
        [
            ("0.5", 0.5),
            (" -1.25E-3 ", -0.00125),
            ("+5", 5.0),
            (".5", 0.5),
            ("", None),
            ("nan", "nan"),
            ("1e999", "1e999"),
            ("1_0", "1_0"),
            ("1,5", "1,5"),
            ("1234567.12345678", 1234567.12345678),
            ("0.12345678901234567", "0.12345678901234567"),
            ("12345678901234567", "12345678901234567"),
        ],
    )
    def test_ds(self, text, number):
        assert values("DS", b"1\\" + text.encode()) == [1.0, number]

    def test_binary_numbers(self):
        assert values("US", struct.pack("<2H", 1, 65535)) == [1, 65535]
        assert values("SS", struct.pack("<h", -2)) == [-2]
        assert values("UL", struct.pack("<I", 1 << 31)) == [1 << 31]
        assert values("SL", struct.pack("<i", -5)) == [-5]
        assert values("FD", struct.pack("<2d", 0.1, -1e300)) == [0.1, -1e300]
        assert values("FL", struct.pack("<f", 0.5)) == [0.5]
        assert values("US", b"\1\2", syntax=EXPLICIT_VR_BIG_ENDIAN) == [258]
        assert values("FD", struct.pack(">d", 0.1), syntax=EXPLICIT_VR_BIG_ENDIAN) == [0.1]

    def test_64_bits_past_what_javascript_holds(self):
        assert values("UV", struct.pack("<2Q", 1 << 53, (1 << 53) - 1)) == [str(1 << 53), (1 << 53) - 1]
        assert values("SV", struct.pack("<2q", -(1 << 53), -1)) == [str(-(1 << 53)), -1]

    def test_at(self):
        assert values("AT", b"\x10\x00\x20\x00\xfe\xff\x0d\xe0") == ["00100020", "FFFEE00D"]
        assert values("AT", b"\x00\x10\x00\x20", syntax=EXPLICIT_VR_BIG_ENDIAN) == ["00100020"]

    def test_no_number_at_all(self):
        nan = struct.pack("<3f", 1.0, math.nan, math.inf)
        assert values("FL", nan) == [1.0, None, None]
        data_set = Dataset()
        data_set.RecommendedDisplayFrameRateInFloat = 1.0
        data = encode(data_set)[:-4] + struct.pack("<f", -math.inf)
        assert to_json(data) == {"00089459": {"vr": "FL", "BulkDataURI": "../bulk/00089459"}}

    @pytest.mark.parametrize(("vr", "value"), [("US", b"abc"), ("FD", b"abcd"), ("AT", b"ab")])
    def test_a_value_that_does_not_fit_is_unknown(self, vr, value):
        assert attribute(vr, value) == {"vr": "UN", "InlineBinary": base64.b64encode(value).decode()}

    def test_text(self):
        assert values("LO", b'a\\\\ b \\"c"') == ["a", None, " b", '"c"']
        assert values("LT", b" a\\b\r\n\x01 ") == [" a\\b\r\n\x01"]
        assert values("UI", b"1.2\\1.3\0") == ["1.2", "1.3"]
        assert values("DA", b"20260102") == ["20260102"]
        assert values("LO", "Лю".encode("iso8859_5"), charset="ISO_IR 144") == ["Лю"]

    def test_signed_pixels_in_implicit_vr(self):
        data_set = instance(PixelRepresentation=1)
        data_set.add_new(0x00280120, "SS", -2000)
        assert to_json(encode(data_set, IMPLICIT), IMPLICIT)["00280120"] == {"vr": "SS", "Value": [-2000]}


class TestF_2_5_EmptyValues:
    @pytest.mark.parametrize("vr", ["LO", "PN", "SQ", "OB", "US", "DS", "AT", "UN", "UI"])
    def test_empty(self, vr):
        assert attribute(vr, b"") == {"vr": vr}

    @pytest.mark.parametrize("vr", ["LO", "PN", "DS", "IS", "CS", "ST"])
    def test_padding_alone(self, vr):
        assert attribute(vr, b"  ") == {"vr": vr}

    def test_null_among_values(self):
        assert values("DS", b"1\\\\3 ") == [1.0, None, 3.0]
        assert values("CS", b"\\") == [None, None]


class TestF_2_6_BulkData:
    def test_threshold(self):
        data_set = Dataset()
        data_set.EncapsulatedDocument = bytes(1024)
        assert "InlineBinary" in to_json(encode(data_set))["00420011"]
        assert "BulkDataURI" in to_json(encode(data_set), bulk_threshold=1022)["00420011"]

    @pytest.mark.parametrize("syntax", UNCOMPRESSED)
    def test_pixel_data_of_any_size_is_never_read(self, syntax):
        icon = instance(rows=1, columns=1)
        data_set = instance(rows=2, columns=2, IconImageSequence=[Dataset(), icon])
        result = to_json(encode(data_set, syntax), syntax)
        assert result["7FE00010"] == {"vr": "OW", "BulkDataURI": "../bulk/7FE00010"}
        assert result["00880200"]["Value"][1]["7FE00010"]["BulkDataURI"] == "../bulk/00880200/1/7FE00010"

    def test_encapsulated(self):
        data_set = instance(PixelData=pydicom.encaps.encapsulate([bytes(100)] * 3))
        data_set.add_new(0xFFFCFFFC, "OB", b"\0\0")
        result = to_json(encode(data_set, JPEG_BASELINE), JPEG_BASELINE)
        assert result["7FE00010"] == {"vr": "OB", "BulkDataURI": "../bulk/7FE00010"}
        assert result["FFFCFFFC"] == {"vr": "OB", "InlineBinary": "AAA="}

    def test_large_pixels_cost_two_reads(self):
        data = encode(instance(rows=512, columns=512))
        asked = []

        def read(offset: int, length: int) -> bytes:
            asked.append(length)
            return data[offset : offset + length]

        encode_data_set(read, 0, len(data), EXPLICIT, bulk_data_uri=uri)
        assert len(asked) <= 2
        assert sum(asked) < 32 << 10

    def test_long_text(self):
        data_set = Dataset()
        data_set.TextValue = "x" * (MAX_INLINE_BYTES + 2)
        assert to_json(encode(data_set))["0040A160"] == {"vr": "UT", "BulkDataURI": "../bulk/0040A160"}
        # PN may not be bulk data; nor may it be this long.
        data = struct.pack("<HHI", 0x0010, 0x0010, MAX_INLINE_BYTES + 2) + b"x" * (MAX_INLINE_BYTES + 2)
        assert to_json(data, IMPLICIT)["00100010"] == {"vr": "UN", "BulkDataURI": "../bulk/00100010"}


class TestF_2_7_InlineBinary:
    def test_base64(self):
        assert attribute("OB", b"\0\1\2\xff") == {"vr": "OB", "InlineBinary": "AAEC/w=="}

    @pytest.mark.parametrize(
        ("vr", "expected"),
        [
            ("OB", bytes(range(16))),
            ("UN", bytes(range(16))),
            ("OW", struct.pack("<8H", *struct.unpack(">8H", bytes(range(16))))),
            ("OL", struct.pack("<4I", *struct.unpack(">4I", bytes(range(16))))),
            ("OF", struct.pack("<4I", *struct.unpack(">4I", bytes(range(16))))),
            ("OD", bytes(range(7, -1, -1)) + bytes(range(15, 7, -1))),
            ("OV", bytes(range(7, -1, -1)) + bytes(range(15, 7, -1))),
        ],
    )
    def test_big_endian_is_turned_round(self, vr, expected):
        result = attribute(vr, bytes(range(16)), syntax=EXPLICIT_VR_BIG_ENDIAN)
        assert base64.b64decode(result["InlineBinary"]) == expected


class TestCharacterSets:
    def test_the_model_is_utf_8(self):
        """PS3.18 F.4: Specific Character Set of the example is ISO_IR 192."""
        result = to_json(encode(instance(SpecificCharacterSet="ISO_IR 100", PatientName="Müller")))
        assert result["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
        assert result["00100010"]["Value"] == [{"Alphabetic": "Müller"}]

    def test_of_an_item_holds_for_that_item_alone(self):
        def text(tag: int, value: bytes, vr: bytes = b"LO") -> bytes:
            return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value

        def items(*contents: bytes) -> bytes:
            value = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(part)) + part for part in contents)
            return struct.pack("<HH2sHI", 0x0040, 0x0275, b"SQ", 0, len(value)) + value

        letter = "ю".encode("iso8859_5")
        data = (
            text(0x00080005, b"ISO_IR 100", b"CS")
            + items(text(0x00080005, b"ISO_IR 144", b"CS") + text(0x00400007, letter), text(0x00400007, letter))
            + text(0x00400280, letter)
        )
        result = to_json(data)
        first, second = result["00400275"]["Value"]
        assert first["00400007"]["Value"] == ["ю"]
        assert second["00400007"]["Value"] == [letter.decode("latin_1")]
        assert result["00400280"]["Value"] == [letter.decode("latin_1")]
        picked, _ = pick(data, EXPLICIT, frozenset({0x00400275}), 0x00400280)
        assert json.loads(encode_elements(picked, "ISO_IR 100")) == {"00400275": result["00400275"]}


class TestDataSets:
    def test_every_syntax_alike(self):
        header = ct_header()
        header.remove_private_tags()  # which implicit VR has no VR for
        expected = to_json(encode(header))
        assert len(expected) > 80
        for syntax in UNCOMPRESSED:
            for undefined in (False, True):
                assert to_json(encode(header, syntax, undefined_lengths=undefined), syntax) == expected

    def test_truncated_anywhere(self):
        data = encode(instance(rows=2, columns=2), undefined_lengths=True)
        whole = to_json(data)
        pixels = data.index(b"\xe0\x7f\x10\x00")
        for cut in range(len(data)):
            try:
                result = to_json(data[:cut])
            except TruncatedDataSet:
                assert cut < pixels + 12
                continue
            assert result.items() <= whole.items()
            if cut >= pixels + 12:
                assert result == whole  # cut pixels hide nothing

    def test_deflated_past_its_limit(self):
        with pytest.raises(DataSetError, match="inflates to more than"):
            to_json(encode(instance(rows=512, columns=512), DEFLATED), DEFLATED, inflate_limit=10_000)

    def test_memory_of_ten_thousand_nested_items(self):
        level = struct.pack("<HH2sHI", 0x0009, 0x1001, b"SQ", 0, 0xFFFFFFFF) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
        with pytest.raises(DataSetError, match="more than 128"):
            to_json(level * 10_000)
