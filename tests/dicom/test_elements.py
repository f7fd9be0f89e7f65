"""pick and inflate: what is found, where it stops, and what it says of bytes that are no data set."""

from __future__ import annotations

import struct
import zlib

import pydicom
import pytest

from gateway.dicom.elements import Element, inflate, pick
from gateway.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from gateway.dicom.walk import SHORT_VRS
from gateway.errors import DataSetError, TruncatedDataSet, UnsupportedTransferSyntax
from tests.support.datasets import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG_BASELINE,
    ct_header,
    data_sets,
    encode,
    instance,
    read_sample,
)

NAME, STUDY, PIXELS, REQUEST = 0x00100010, 0x0020000D, 0x7FE00010, 0x00400275
SOME = frozenset({0x00080005, 0x00080018, NAME, STUDY, 0x00280010, REQUEST})
ALL_TAGS = 0xFFFFFFFF


def element(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    """One element of Explicit VR Little Endian."""
    size = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    long = vr.encode() not in SHORT_VRS
    return head + (struct.pack("<HI", 0, size) if long else struct.pack("<H", size)) + value


def item(*content: bytes, undefined: bool = False) -> bytes:
    data = b"".join(content)
    if undefined:
        return b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + data + b"\xfe\xff\x0d\xe0\0\0\0\0"
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(data)) + data


SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"


@pytest.fixture(scope="module")
def header() -> pydicom.Dataset:
    data_set = ct_header(PatientName="Müller^Änne")
    data_set.PixelData = bytes(64)
    data_set["PixelData"].VR = "OW"
    return data_set


class TestPick:
    @pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
    @pytest.mark.parametrize("undefined", [False, True])
    @pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
    def test_every_encoding(self, header, syntax, undefined, wrap):
        data = encode(header, syntax, undefined_lengths=undefined)
        found, end = pick(wrap(data), syntax, SOME, 0x00400275)
        assert found[NAME].value.rstrip() == "Müller^Änne".encode("latin-1")
        assert found[NAME].vr == "PN"
        assert found[STUDY].value.rstrip(b"\0").decode() == header.StudyInstanceUID
        order = "big" if syntax == BIG_ENDIAN else "little"
        assert int.from_bytes(found[0x00280010].value, order) == header.Rows
        assert found[0x00280010].vr == "US"
        request = found[REQUEST]
        assert (request.vr, request.undefined_length) == ("SQ", undefined)
        assert request.value == data[request.value_start : request.value_start + request.length]
        assert set(found) == SOME
        assert list(found) == sorted(found)
        assert int.from_bytes(data[end : end + 2], order) == 0x0043  # a private group

    def test_values_do_not_hold_the_buffer(self, header):
        buffer = bytearray(encode(header))
        found, _ = pick(buffer, EXPLICIT, SOME, 0x00400275)
        buffer += b"grown"  # raises BufferError while a view of it lives
        assert type(found[NAME].value) is bytes

    def test_offsets(self):
        data = element(NAME, "PN", b"A^B ") + element(0x00100020, "LO", b"1 ")
        found, end = pick(data, EXPLICIT, frozenset({0x00100020}), ALL_TAGS)
        assert found == {0x00100020: Element(0x00100020, "LO", b"1 ", 12, 20, 2, False, EXPLICIT_VR_LITTLE_ENDIAN)}
        assert end == len(data)

    @pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
    def test_truncated_anywhere_before_stop(self, header, syntax):
        data = encode(header, syntax, undefined_lengths=True)
        whole, end = pick(data, syntax, SOME, 0x00400275)
        starts = 0
        for cut in range(end + 16):
            try:
                found, at = pick(data[:cut], syntax, SOME, 0x00400275)
            except TruncatedDataSet:
                continue
            starts += 1
            if cut >= end + 4:  # the tag after the stop is there
                assert (found, at) == (whole, end)
            else:  # a cut between two elements cannot be told from an end
                assert at == cut
        assert 80 < starts < 600

    def test_the_tag_alone_is_enough_to_stop(self):
        data = element(NAME, "PN", b"A ") + b"\xe0\x7f\x10\x00"
        assert pick(data, EXPLICIT, SOME, STUDY)[1] == 10

    def test_stop_itself_is_read(self):
        data = element(STUDY, "UI", b"1.2\0") + element(0x0020000E, "UI", b"1.3\0")
        found, end = pick(data, EXPLICIT, frozenset({STUDY}), STUDY)
        assert STUDY in found
        assert end == 12

    def test_empty(self):
        assert pick(b"", EXPLICIT, SOME, ALL_TAGS) == ({}, 0)

    def test_a_tag_twice(self):
        data = element(NAME, "PN", b"A ") + element(NAME, "PN", b"B ")
        assert pick(data, EXPLICIT, SOME, ALL_TAGS)[0][NAME].value == b"B "

    def test_order_before_stop_does_not_matter(self):
        data = element(STUDY, "UI", b"1.2\0") + element(NAME, "PN", b"A ")
        assert set(pick(data, EXPLICIT, SOME, STUDY)[0]) == {STUDY, NAME}

    def test_odd_length(self):
        data = element(NAME, "PN", b"ABC") + element(STUDY, "UI", b"1.2")
        assert pick(data, EXPLICIT, SOME, ALL_TAGS)[0][STUDY].value == b"1.2"

    @pytest.mark.parametrize("zeros", [1, 2, 7, 8, 9, 512])
    @pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
    def test_zeros_after_the_end(self, zeros, syntax):
        data = encode(instance(PixelData=None), syntax) + bytes(zeros)
        assert pick(data, syntax, SOME, ALL_TAGS)[1] == len(data)

    def test_unknown_transfer_syntax(self):
        with pytest.raises(UnsupportedTransferSyntax, match=r"1\.2\.3"):
            pick(b"", "1.2.3", SOME, ALL_TAGS)

    def test_all_elements_of_every_sample(self):
        class Everything(frozenset):
            def __contains__(self, tag):
                return True

        for path, uid, data in data_sets():
            if path.name in ("MR_truncated.dcm", "rtplan_truncated.dcm"):
                with pytest.raises(TruncatedDataSet):
                    pick(data, uid, frozenset(), ALL_TAGS)
                continue
            if uid == DEFLATED:
                data = inflate(data, 1 << 24)
            found, end = pick(data, uid, Everything(), ALL_TAGS)
            assert end == len(data)
            assert sorted(found) == sorted(int(tag) for tag in read_sample(path).keys()), path.name  # noqa: SIM118


class TestEncapsulated:
    def test_fragments_are_passed_over(self):
        data_set = instance(PixelData=pydicom.encaps.encapsulate([b"\xff\xd8" + bytes(100)] * 3))
        data = encode(data_set, JPEG_BASELINE) + element(0xFFFCFFFC, "OB", b"\0\0")
        found, end = pick(data, JPEG_BASELINE, frozenset({PIXELS, 0xFFFCFFFC}), ALL_TAGS)
        assert end == len(data)
        assert found[PIXELS].undefined_length
        assert found[PIXELS].value == data_set.PixelData
        assert found[0xFFFCFFFC].value == b"\0\0"


class TestUnknownVR:
    """PS3.5 §6.2.2."""

    def test_of_defined_length_is_named_by_the_dictionary(self):
        found, _ = pick(element(NAME, "UN", b"A^B "), EXPLICIT, SOME, ALL_TAGS)
        assert (found[NAME].vr, found[NAME].syntax) == ("PN", IMPLICIT_VR_LITTLE_ENDIAN)

    def test_of_undefined_length_holds_implicit_little_endian_items(self):
        inner = struct.pack("<HHI", 0x0040, 0x0009, 2) + b"S1"
        data = element(REQUEST, "UN", item(inner, undefined=True) + SEQUENCE_END, 0xFFFFFFFF)
        after = element(0x00400280, "ST", b"hi")
        found, end = pick(data + after, EXPLICIT, SOME, ALL_TAGS)
        assert (found[REQUEST].vr, found[REQUEST].syntax) == ("SQ", IMPLICIT_VR_LITTLE_ENDIAN)
        assert found[REQUEST].value == item(inner, undefined=True)
        assert end == len(data + after)

    def test_a_vr_to_come_has_the_long_form(self):
        data = element(0x00091001, "ZZ", b"abcd") + element(NAME, "PN", b"A ")
        assert NAME in pick(data, EXPLICIT, SOME, ALL_TAGS)[0]

    @pytest.mark.parametrize("vr", [b"??", b"  ", b"1A"])
    def test_what_is_no_vr_has_the_short_form(self, vr):
        data = struct.pack("<HH2sH", 0x0009, 0x1001, vr, 2) + b"ab" + element(NAME, "PN", b"A ")
        assert NAME in pick(data, EXPLICIT, SOME, ALL_TAGS)[0]

    def test_implicit_element_among_explicit_ones(self):
        data = struct.pack("<HHI", 0x0010, 0x0010, 4) + b"A^B " + element(STUDY, "UI", b"1.2\0")
        found, _ = pick(data, EXPLICIT, SOME, ALL_TAGS)
        assert (found[NAME].vr, found[NAME].value) == ("PN", b"A^B ")
        assert STUDY in found


class TestMalformed:
    @pytest.mark.parametrize("tag", [0x00020010, 0x00020000, 0x00000002])
    @pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
    def test_group_0002_and_commands(self, tag, syntax):
        data = element(tag, "UI", b"1.2\0")
        if syntax == IMPLICIT:
            data = struct.pack("<HHI", tag >> 16, tag & 0xFFFF, 4) + b"1.2\0"
        with pytest.raises(DataSetError, match=f"\\({tag >> 16:04X},{tag & 0xFFFF:04X}\\) at offset 0") as caught:
            pick(data, syntax, SOME, ALL_TAGS)
        assert not isinstance(caught.value, TruncatedDataSet)

    def test_four_gigabytes(self):
        with pytest.raises(TruncatedDataSet, match=r"\(0009,1001\) at offset 0"):
            pick(element(0x00091001, "OB", b"", 0xFFFFFFFE), EXPLICIT, SOME, ALL_TAGS)

    @pytest.mark.parametrize("vr", ["UT", "OF", "UC"])
    def test_undefined_length_where_it_may_not_be(self, vr):
        with pytest.raises(DataSetError, match=f"undefined length with VR {vr}"):
            pick(element(0x00091001, vr, b"abc", 0xFFFFFFFF), EXPLICIT, SOME, ALL_TAGS)

    @pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
    def test_ten_thousand_nested_items(self, syntax):
        if syntax == EXPLICIT:
            level = struct.pack("<HH2sHI", 0x0009, 0x1001, b"SQ", 0, 0xFFFFFFFF)
        else:
            level = struct.pack("<HHI", 0x0009, 0x1001, 0xFFFFFFFF)
        data = (level + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * 10_000
        with pytest.raises(DataSetError, match="more than 128 sequences") as caught:
            pick(data, syntax, SOME, ALL_TAGS)
        assert not isinstance(caught.value, TruncatedDataSet)

    def test_element_where_an_item_must_be(self):
        data = element(REQUEST, "SQ", element(NAME, "PN", b"A ") + SEQUENCE_END, 0xFFFFFFFF)
        with pytest.raises(DataSetError, match=r"\(0010,0010\).*must have an item"):
            pick(data, EXPLICIT, SOME, ALL_TAGS)

    def test_element_longer_than_its_item(self):
        # Passed over by the item's length at first; found where the sequence cannot be skipped the plain way.
        inner = item(element(NAME, "PN", b"A ", 100)) + b"\xfe\xff\x0d\xe0\0\0\0\0"
        data = element(REQUEST, "SQ", inner + SEQUENCE_END, 0xFFFFFFFF) + bytes(200)
        with pytest.raises(DataSetError, match="but its item at"):
            pick(data, EXPLICIT, SOME, ALL_TAGS)

    def test_stray_delimiters_at_the_end_of_what_has_a_length(self):
        inner = element(0x00400009, "SH", b"S1") + b"\xfe\xff\x0d\xe0\0\0\0\0"
        data = element(REQUEST, "SQ", item(inner) + SEQUENCE_END, 0xFFFFFFFF) + element(0x00400280, "ST", b"hi")
        assert pick(data, EXPLICIT, SOME, ALL_TAGS)[1] == len(data)


class TestInflate:
    DATA = bytes(range(256)) * 4096

    def deflated(self) -> bytes:
        deflate = zlib.compressobj(wbits=-15)
        return deflate.compress(self.DATA) + deflate.flush()

    def test_whole(self):
        assert inflate(self.deflated(), len(self.DATA)) == self.DATA

    def test_padding_after_the_stream(self):
        assert inflate(self.deflated() + b"\0", 1 << 24) == self.DATA

    def test_limit(self):
        with pytest.raises(DataSetError, match="more than 1000 bytes"):
            inflate(self.deflated(), 1000)

    @pytest.mark.parametrize("cut", [0, 1, 10, -1])
    def test_truncated(self, cut):
        with pytest.raises(TruncatedDataSet):
            inflate(self.deflated()[:cut], 1 << 24)

    def test_corrupt(self):
        with pytest.raises(DataSetError, match="corrupt"):
            inflate(b"\xff" * 100, 1 << 24)
