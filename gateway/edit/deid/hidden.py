"""Data hidden in and behind the pixels: cleared in place, without decoding (PS3.15 E.1).

`imaging/residue.py` finds it in a compressed frame, this module in the object. No length changes: the object is read as
before, through a `read` that overwrites the ranges.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from typing import Final

from gateway.dicom import recode
from gateway.dicom.source import Read
from gateway.dicom.uids import Syntax
from gateway.dicom.walk import UNDEFINED, Event, Kind, place
from gateway.edit.tree import Node, Tree
from gateway.errors import DataSetError, EditError
from gateway.imaging import icc
from gateway.imaging import image as attributes
from gateway.imaging.pixels import PixelData, PixelLevel
from gateway.imaging.residue import Blank, residue
from gateway.imaging.transcode import SOURCES

ICC_PROFILE: Final = 0x00282000
_MAX_ATTRIBUTE: Final = 64
_OFFSETS, _LENGTHS = 0x7FE00001, 0x7FE00002
MAX_BLANKS: Final = 1 << 20
"""Ranges of one object. Each costs some hundred bytes of memory until the object has been written."""


class Overwritten:
    """A `read` that overwrites some disjoint ranges of an object with as many other bytes."""

    def __init__(self, read: Read, blanks: list[Blank]) -> None:
        self._read = read
        self._blanks = sorted(blanks)
        self._starts = [blank.start for blank in self._blanks]

    def __call__(self, offset: int, length: int) -> bytes:
        data = self._read(offset, length)
        end = offset + len(data)
        at = max(bisect_right(self._starts, offset) - 1, 0)
        out: bytearray | None = None
        while at < len(self._blanks) and self._blanks[at].start < end:
            start, stop, value = self._blanks[at]
            first, last = max(start, offset), min(stop, end)
            if first < last:
                out = bytearray(data) if out is None else out
                new = value[first - start : last - start] if value else bytes(last - first)
                out[first - offset : last - offset] = new
            at += 1
        return data if out is None else bytes(out)


def clean(tree: Tree, read: Read, syntax: Syntax) -> None:
    """Clear texts in colour profiles, and everything beside the pixels, in what remains of a tree.

    `read` and `syntax` are those of the tree. Raises: EditError when pixels are too damaged to be examined.
    """
    cleaner = _Cleaner(tree, read, syntax)
    cleaner.clean(tree.nodes)
    if cleaner.blanks:
        tree.overwrite(Overwritten(read, cleaner.blanks))


class _Cleaner:
    """Scans one tree. `blanks` are the ranges in its pixel data, of the data set itself and of icons."""

    def __init__(self, tree: Tree, read: Read, syntax: Syntax) -> None:
        self.blanks: list[Blank] = []
        self._tree = tree
        self._read = read
        self._syntax = syntax

    def clean(self, nodes: list[Node]) -> bool:
        """Clear a data set or item; returns whether any node has another value."""
        changed = False
        pixels: PixelData | None = None
        for node in nodes:
            if node.items is not None:
                inner = [self.clean(item) for item in node.items]
                if any(inner) and node.fresh is None:
                    node.fresh = b""
                changed |= any(inner)
            elif node.tag == ICC_PROFILE and node.length:
                value = self._tree.value(node)
                new = icc.without_words(value) if icc.is_profile(value) else b""
                if new != value:
                    node.fresh, changed = new, True
            elif node.tag in attributes.PIXELS and node.fresh is None and node.length:
                pixels = self._pixels(node, nodes)
        if pixels is not None:
            changed |= _repair_tables(nodes, pixels)
        return changed

    def _pixels(self, node: Node, nodes: list[Node]) -> PixelData | None:
        """Examine the pixel data of a data set or item: the frames, where they are fragments that can be decoded here.

        A stream of another kind, such as video, is not examined. Raises EditError.
        """
        fragments = node.length == UNDEFINED
        if fragments and self._syntax.uid not in SOURCES:
            return None
        number = 0
        try:
            if (
                not fragments
                and self._syntax.encapsulated
                and nodes is self._tree.nodes
                and node.tag == attributes.PIXEL_DATA
            ):
                raise DataSetError(f"pixel data of defined length in {self._syntax.name} (PS3.5 A.4)")
            pixels = self._level(nodes).pixels(_event(node), self._read, node.end, self._syntax)
            if not fragments:
                word = recode.WORD_SIZES.get(node.vr, 1) if node.within.big_endian else 1
                self.blanks.append(Blank(pixels.end(word), node.end))
                return None
            self.blanks += _offset_table(self._read, node.value_start, pixels)
            for number in range(len(pixels)):
                found = residue(pixels.stored(self._read, number), pixels.syntax, pixels.image)
                self.blanks += _in_fragments(found, pixels.pieces(number))
                if len(self.blanks) > MAX_BLANKS:
                    raise DataSetError(f"more than {MAX_BLANKS} comments and similar segments")
        except DataSetError as error:
            raise EditError(
                f"{place(node.tag, node.start)}: frame {number + 1} cannot be separated from other data: {error}"
            ) from error
        return pixels

    def _level(self, nodes: list[Node]) -> PixelLevel:
        """The pixel attributes of a data set or item."""
        level = PixelLevel()
        for node in nodes:
            if node.tag in attributes.TAGS and node.items is None and 0 < node.length <= _MAX_ATTRIBUTE:
                value = self._tree.value(node)
                word = recode.WORD_SIZES.get(node.vr, 1) if node.within.big_endian else 1
                level.values[node.tag] = recode.swapped(value, word) if word > 1 else value
        return level


def _event(node: Node) -> Event:
    kind = Kind.FRAGMENTS if node.length == UNDEFINED else Kind.ELEMENT
    return Event(kind, node.tag, node.vr, node.start, node.value_start, node.length, node.within)


def _in_fragments(found: list[Blank], pieces: list[tuple[int, int]]) -> list[Blank]:
    """Map ranges in a frame to ranges in the object, where the frame may have several fragments."""
    made: list[Blank] = []
    before = 0
    for offset, length in pieces:
        for start, stop, value in found:
            first, last = max(start, before), min(stop, before + length)
            if first < last:
                new = value[first - start : last - start]
                made.append(Blank(offset + first - before, offset + last - before, new))
        before += length
    return made


def _offset_table(read: Read, value_start: int, pixels: PixelData) -> list[Blank]:
    """A range that overwrites the Basic Offset Table with the right one (PS3.5 A.4), if it differs."""
    length = int.from_bytes(read(value_start + 4, 4), "little")
    offsets = [pixels.pieces(number)[0][0] - (value_start + 8 + length) - 8 for number in range(len(pixels))]
    right = struct.pack(f"<{len(offsets)}I", *(offset & 0xFFFFFFFF for offset in offsets))
    right = right if len(right) == length else bytes(length)
    start = value_start + 8
    return [] if read(start, length) == right else [Blank(start, start + length, right)]


def _repair_tables(nodes: list[Node], pixels: PixelData) -> bool:
    """Correct the Extended Offset Table and its lengths (PS3.3 C.7.6.3.1.8), so that they hold nothing else.

    They are removed where a frame has several fragments, which they do not allow.
    """
    pieces = [pixels.pieces(number) for number in range(len(pixels))]
    alone = all(len(each) == 1 for each in pieces)
    first = pieces[0][0][0]
    right = {_OFFSETS: [each[0][0] - first for each in pieces], _LENGTHS: [each[0][1] for each in pieces]}
    changed = False
    for node in [each for each in nodes if each.tag in right]:
        changed = True
        if alone and node.length == 8 * len(pieces):
            node.fresh = struct.pack(f"<{len(pieces)}Q", *right[node.tag])
        else:
            nodes.remove(node)
    return changed
