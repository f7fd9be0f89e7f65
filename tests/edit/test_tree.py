"""A data set as a tree: where its elements stand, what stays byte for byte, and where what is new goes."""

from __future__ import annotations

import struct

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from gateway.dicom.uids import transfer_syntax
from gateway.dicom.walk import UNDEFINED
from gateway.edit import tree as module
from gateway.edit.tree import Node, Segments, Tree, find, put
from gateway.errors import DataSetError, TruncatedDataSet
from tests.support.datasets import BIG_ENDIAN, EXPLICIT, IMPLICIT, data_sets, decode, encode, instance

PATIENT_ID, PIXELS, REFERENCES = 0x00100020, 0x7FE00010, 0x00081140


def tree_of(data: bytes, syntax: str = EXPLICIT, *, start: int = 0) -> Tree:
    return Tree(lambda offset, length: data[offset : offset + length], start, len(data), transfer_syntax(syntax))


def whole(tree: Tree) -> bytes:
    segments = tree.segments()
    data = segments.read(0, segments.length)
    assert len(data) == segments.length
    return data


def value_of(tag: int, vr: str, value: bytes, tree: Tree) -> Node:
    node = Node(tag, vr, -1, -1, len(value), tree.syntax)
    node.fresh = value
    return node


def nested() -> Dataset:
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2.3"
    inner = Dataset()
    inner.PatientID = "inside"
    item.ReferencedSeriesSequence = Sequence([inner])
    return instance(PatientID="outside", ReferencedImageSequence=Sequence([item, Dataset()]))


def element(tag: int, vr: str, value: bytes) -> bytes:
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value


class TestUntouched:
    @pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
    @pytest.mark.parametrize("undefined_lengths", [False, True])
    def test_stays_as_it_is(self, syntax: str, undefined_lengths: bool) -> None:
        data = encode(nested(), syntax, undefined_lengths=undefined_lengths)
        assert whole(tree_of(data, syntax)) == data

    def test_so_do_samples_of_every_kind(self) -> None:
        for path, syntax, data in data_sets():
            if transfer_syntax(syntax).deflated:
                continue
            try:
                tree = tree_of(data, syntax)
            except DataSetError:
                continue
            assert whole(tree) == data, path

    def test_is_no_copy(self) -> None:
        data = encode(instance(rows=512, columns=512))
        asked: list[tuple[int, int]] = []

        def read(offset: int, length: int) -> bytes:
            asked.append((offset, length))
            return data[offset : offset + length]

        tree = Tree(read, 0, len(data), transfer_syntax(EXPLICIT))
        put(tree.nodes, value_of(PATIENT_ID, "LO", b"new ", tree))
        segments = tree.segments()
        assert sum(length for _, length in asked) < 200_000
        asked.clear()
        segments.read(segments.length - 10, 10)
        assert asked == [(len(data) - 10, 10)]

    def test_stands_behind_other_bytes(self) -> None:
        data = encode(nested())
        tree = tree_of(b"preamble" + data, start=8)
        node = find(tree.nodes, PATIENT_ID)
        assert node is not None
        assert tree.value(node) == b"outside "
        assert whole(tree) == data


class TestElements:
    def test_of_items_stand_in_them(self) -> None:
        tree = tree_of(encode(nested(), undefined_lengths=True))
        sequence = find(tree.nodes, REFERENCES)
        assert sequence is not None
        assert sequence.items is not None
        first, second = sequence.items
        assert second == []
        inner = find(first, 0x00081115)
        assert inner is not None
        assert inner.items is not None
        (level,) = inner.items
        assert [tree.value(node) for node in level] == [b"inside"]

    def test_behind_fragments_are_found(self) -> None:
        fragments = (
            struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, UNDEFINED)
            + struct.pack("<HHI", 0xFFFE, 0xE000, 0)
            + struct.pack("<HHI", 0xFFFE, 0xE000, 4)
            + b"\xff\xd8\xff\xd9"
            + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
        )
        last = struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, 2) + b"\0\0"
        data = element(PATIENT_ID, "LO", b"ab") + fragments + last
        tree = tree_of(data, "1.2.840.10008.1.2.4.50")
        pixels = find(tree.nodes, PIXELS)
        assert pixels is not None
        assert data[pixels.start : pixels.end] == fragments
        tree.nodes.remove(pixels)
        assert whole(tree) == element(PATIENT_ID, "LO", b"ab") + last

    def test_without_vrs_whatever_the_transfer_syntax_says(self) -> None:
        tree = tree_of(encode(nested(), IMPLICIT), EXPLICIT)
        assert tree.syntax.implicit
        put(tree.nodes, value_of(PATIENT_ID, "LO", b"new ", tree))
        assert decode(whole(tree), IMPLICIT).PatientID == "new"

    @pytest.mark.parametrize("end", [3, 9, -1])
    def test_that_are_cut_off(self, end: int) -> None:
        data = element(PATIENT_ID, "LO", b"ab")
        with pytest.raises(TruncatedDataSet):
            tree_of(data[:end])

    def test_no_more_than_there_may_be(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_NODES", 5)
        few = b"".join(element(0x00100000 | n, "LO", b"") for n in range(0x20, 0x25))
        assert len(tree_of(few).nodes) == 5
        with pytest.raises(DataSetError, match="more than 5 elements"):
            tree_of(few + element(0x00104000, "LO", b""))

    def test_a_value_that_is_too_large(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_VALUE_BYTES", 4)
        tree = tree_of(element(PATIENT_ID, "LO", b"abcd") + element(0x00104000, "LT", b"abcdef"))
        assert tree.value(tree.nodes[0]) == b"abcd"
        with pytest.raises(DataSetError, match="a value of 6 bytes, more than 4"):
            tree.value(tree.nodes[1])


class TestChanges:
    def test_a_new_one_goes_in_the_order_of_tags(self) -> None:
        tree = tree_of(encode(nested()))
        for tag in (0x00100010, 0x00040000 | 0x1, 0xFFFCFFFC):
            put(tree.nodes, value_of(tag, "LO", b"ab", tree))
        tags = [node.tag for node in tree.nodes]
        assert tags == sorted(tags)
        assert tags.count(0x00100010) == 1

    def test_the_old_value_is_still_there(self) -> None:
        tree = tree_of(encode(nested()))
        node = find(tree.nodes, PATIENT_ID)
        assert node is not None
        node.fresh = b"new "
        assert tree.value(node) == b"new "
        assert tree.original(node) == b"outside "

    @pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
    def test_in_an_item_leave_the_rest_of_it(self, syntax: str) -> None:
        tree = tree_of(encode(nested(), syntax), syntax)
        sequence = find(tree.nodes, REFERENCES)
        assert sequence is not None
        assert sequence.items is not None
        inner = find(sequence.items[0], 0x00081115)
        assert inner is not None
        assert inner.items is not None
        inner.items[0][0].fresh = b"other "
        inner.fresh = sequence.fresh = b""
        found = decode(whole(tree), syntax)
        assert found.PatientID == "outside"
        first, second = found.ReferencedImageSequence
        assert first.ReferencedSOPInstanceUID == "1.2.3"
        assert first.ReferencedSeriesSequence[0].PatientID == "other"
        assert len(second) == 0

    def test_a_sequence_that_has_no_items_left(self) -> None:
        tree = tree_of(encode(nested()))
        sequence = find(tree.nodes, REFERENCES)
        assert sequence is not None
        sequence.items, sequence.fresh = [], b""
        assert len(decode(whole(tree)).ReferencedImageSequence) == 0

    def test_a_sequence_that_came_as_un_stays_one(self) -> None:
        """Its items are in Implicit VR (PS3.5 §6.2.2), and so is what is written into them."""
        item = struct.pack("<HHI", 0x0010, 0x0020, 4) + b"abcd"
        data = (
            struct.pack("<HH2sHI", 0x0008, 0x1140, b"UN", 0, UNDEFINED)
            + struct.pack("<HHI", 0xFFFE, 0xE000, len(item))
            + item
            + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
        )
        tree = tree_of(data)
        (sequence,) = tree.nodes
        assert sequence.items is not None
        sequence.items[0][0].fresh = b"xy"
        sequence.items[0][0].length = 2
        sequence.fresh = b""
        written = whole(tree)
        assert written[4:6] == b"UN"
        again = tree_of(written).nodes[0]
        assert again.items is not None
        assert [node.length for node in again.items[0]] == [2]
        assert again.within.implicit


class TestSegments:
    def test_read_anywhere_in_any_size(self) -> None:
        source = bytes(range(200))
        segments = Segments(lambda offset, length: source[offset : offset + length])
        segments.add(b"head")
        segments.add(b"er")
        segments.keep(10, 20)
        segments.keep(20, 30)
        segments.add(b"middle")
        segments.keep(100, 110)
        wanted = b"header" + source[10:30] + b"middle" + source[100:110]
        assert segments.length == len(wanted)
        for at in range(len(wanted) + 2):
            for length in range(len(wanted) + 2):
                assert segments.read(at, length) == wanted[at : at + length]
        assert segments.read(-1, 5) == b""

    def test_neighbours_are_read_at_once(self) -> None:
        asked: list[tuple[int, int]] = []

        def read(offset: int, length: int) -> bytes:
            asked.append((offset, length))
            return bytes(length)

        segments = Segments(read)
        segments.keep(0, 10)
        segments.keep(10, 20)
        segments.keep(30, 40)
        segments.read(0, 30)
        assert asked == [(0, 20), (30, 10)]

    def test_end_where_the_source_does(self) -> None:
        segments = Segments(lambda offset, length: b"abc"[offset : offset + length])
        segments.keep(0, 10)
        segments.add(b"tail")
        assert segments.read(0, 14) == b"abc"
