"""Re-encoding as Explicit VR Little Endian: what pydicom reads from it is what it read before."""

from __future__ import annotations

import copy
import struct
import tracemalloc

import pytest
from pydicom.dataset import Dataset

from gateway.dicom.recode import evened, swapped, to_explicit_little_endian
from gateway.dicom.source import CHUNK
from gateway.dicom.uids import TRANSFER_SYNTAXES
from gateway.errors import DataSetError, TruncatedDataSet, UnsupportedTransferSyntax
from tests.support.datasets import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    UNCOMPRESSED,
    ct_header,
    data_sets,
    decode,
    encode,
    instance,
)

MALFORMED = ("MR_truncated.dcm", "rtplan_truncated.dcm", "DICOMDIR-nooffset", "badVR.dcm")


def recode(data: bytes, syntax: str) -> bytes:
    pieces = list(to_explicit_little_endian(lambda at, n: (b"HEADER" + data)[at : at + n], 6, 6 + len(data), syntax))
    assert all(0 < len(piece) <= CHUNK for piece in pieces)
    return b"".join(pieces)


def turned_round(data_set: Dataset) -> Dataset:
    """The data set with the words of its OW values in the other order: pydicom takes and gives them as encoded."""
    result = copy.deepcopy(data_set)
    for element in result.iterall():
        if element.VR == "OW" and element.value:
            size = len(element.value) // 2
            element.value = struct.pack(f"<{size}H", *struct.unpack(f">{size}H", element.value))
    return result


class TestRecode:
    @pytest.mark.parametrize("undefined", [False, True])
    @pytest.mark.parametrize("syntax", UNCOMPRESSED)
    def test_a_header(self, syntax, undefined):
        header = ct_header()
        header.remove_private_tags()
        header.PixelData = bytes(range(256))
        header["PixelData"].VR = "OW"
        result = recode(encode(header, syntax, undefined_lengths=undefined), syntax)
        assert decode(result) == (turned_round(header) if syntax == BIG_ENDIAN else header)
        if syntax in (EXPLICIT, DEFLATED):
            assert result == encode(header, undefined_lengths=undefined)

    @pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom on the values in them
    def test_every_uncompressed_sample(self):
        seen = set()
        for path, syntax, data in data_sets():
            if syntax not in UNCOMPRESSED or path.name in MALFORMED:
                continue
            before, after = decode(data, syntax), decode(recode(data, syntax))
            for element in list(before):
                if element.tag.element == 0 and syntax in (IMPLICIT, BIG_ENDIAN):
                    del before[element.tag]
            if syntax == IMPLICIT:
                # Whose VR an element has that says none: ours leaves private ones unknown.
                assert [e.tag for e in before] == [e.tag for e in after], path.name
                if path.name != "nested_priv_SQ.dcm":  # has a value of odd length, padded since
                    assert encode(after, IMPLICIT) == encode(before, IMPLICIT), path.name
            else:
                assert (turned_round(before) if syntax == BIG_ENDIAN else before) == after, path.name
            seen.add(syntax)
        assert seen == set(UNCOMPRESSED)

    def test_large_values_come_in_pieces(self):
        data_set = instance(rows=1024, columns=1024)
        result = recode(encode(data_set, BIG_ENDIAN), BIG_ENDIAN)
        assert decode(result) == turned_round(data_set)

    def test_memory(self):
        head = encode(instance(PixelData=None), IMPLICIT) + struct.pack("<HHI", 0x7FE0, 0x0010, 1 << 30)
        end = len(head) + (1 << 30)

        def read(offset: int, length: int) -> bytes:
            return head[offset : offset + length] if offset < len(head) else bytes(min(length, end - offset))

        pieces = to_explicit_little_endian(read, 0, end, IMPLICIT)
        tracemalloc.start()
        try:
            total = sum(len(next(pieces)) for _ in range(20))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert total > 18 * CHUNK
        assert peak < 4 * CHUNK

    @pytest.mark.parametrize(
        "uid",
        [
            uid
            for uid, syntax in TRANSFER_SYNTAXES.items()
            if uid not in UNCOMPRESSED and (syntax.encapsulated or "JPIP" in syntax.keyword)
        ],
    )
    def test_what_it_cannot_do_it_says_at_once(self, uid):
        with pytest.raises(UnsupportedTransferSyntax):
            to_explicit_little_endian(lambda _offset, _length: b"", 0, 0, uid)

    @pytest.mark.parametrize("syntax", UNCOMPRESSED)
    def test_truncated(self, syntax):
        data = encode(instance(), syntax)
        end = len(data)
        with pytest.raises(TruncatedDataSet):
            list(to_explicit_little_endian(lambda at, n: data[: end - 10][at : at + n], 0, end, syntax))

    def test_odd_lengths_are_padded(self):
        data = struct.pack("<HHI", 0x0010, 0x0010, 3) + b"A^B" + struct.pack("<HHI", 0x0020, 0x000D, 3) + b"1.2"
        assert recode(data, IMPLICIT) == b"\x10\0\x10\0PN\x04\0A^B " + b"\x20\0\x0d\0UI\x04\x001.2\0"

    def test_longer_than_its_vr_can_say(self):
        """PS3.5 §6.2.2: UN where the length does not fit 16 bits."""
        value = b"1\\" * 40_000
        result = recode(struct.pack("<HHI", 0x3006, 0x0050, len(value)) + value, IMPLICIT)
        assert result == struct.pack("<HH2sHI", 0x3006, 0x0050, b"UN", 0, len(value)) + value

    def test_group_lengths_go(self):
        data = struct.pack("<HHII", 0x0008, 0, 4, 10) + struct.pack("<HHI", 0x0008, 0x0060, 2) + b"CT"
        assert recode(data, IMPLICIT) == b"\x08\0\x60\0CS\x02\0CT"

    def test_unknown_in_big_endian_is_little_endian_inside(self):
        data = struct.pack(">HH2sHI", 0x0028, 0x0010, b"UN", 0, 2) + b"\x01\x00"
        assert decode(recode(data, BIG_ENDIAN)).Rows == 1

    def test_fragments_where_there_may_be_none(self):
        data = struct.pack(">HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + b"\xff\xfe\xe0\xdd\0\0\0\0"
        with pytest.raises(DataSetError, match=r"\(7FE0,0010\).*fragments"):
            recode(data, BIG_ENDIAN)


class TestSwapped:
    def test_words(self):
        assert swapped(b"abcd", 2) == b"badc"
        assert swapped(b"abcd", 4) == b"dcba"
        assert swapped(b"abcdefgh", 8) == b"hgfedcba"

    def test_a_rest_stays(self):
        assert swapped(b"abc", 2) == b"bac"
        assert swapped(b"abc", 4) == b"abc"


class TestEvened:
    """PS3.5 §7.1.1, A.5: a data set of odd length, on its way to who takes none."""

    def evened(self, data: bytes, syntax: str) -> bytes:
        return b"".join(evened(lambda at, n: (b"HEADER" + data)[at : at + n], 6, 6 + len(data), syntax))

    @pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED, "1.2.840.10008.1.2.4.70", "1.2.3"])
    def test_what_is_even_is_not_looked_into(self, syntax: str) -> None:
        assert self.evened(b"no data set, yet even.", syntax) == b"no data set, yet even."

    @pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
    def test_the_value_that_is_odd_is_padded(self, syntax: str) -> None:
        nested = Dataset()
        nested.PatientComments = "mark"
        even = encode(instance(ReferencedImageSequence=[nested]), syntax, undefined_lengths=True)
        at = even.index(b"mark")
        length = {EXPLICIT: b"\x03\0", IMPLICIT: b"\x03\0\0\0", BIG_ENDIAN: b"\0\x03"}[syntax]
        odd = even[: at - len(length)] + length + b"mar" + even[at + 4 :]
        assert decode(self.evened(odd, syntax), syntax).ReferencedImageSequence[0].PatientComments == "mar"
        assert len(self.evened(odd, syntax)) % 2 == 0
