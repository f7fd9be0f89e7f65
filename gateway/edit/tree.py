"""A data set as a tree of elements that say where they stand, and back: what nobody changed is not copied.

Values stay where they are until somebody asks. What becomes of them is decided elsewhere.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Final

from gateway.dicom import recode
from gateway.dicom.source import Read, Window
from gateway.dicom.uids import Syntax
from gateway.dicom.walk import UNDEFINED, Kind, place, walk
from gateway.errors import DataSetError

MOST: Final = 1 << 20
"""Elements and items of one data set."""
LARGEST: Final = 16 << 20
"""Bytes of a value that is asked for."""
_HEAD: Final = 64 << 10

_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD


class Node:
    """An element of a data set or of an item."""

    __slots__ = ("end", "fresh", "items", "length", "start", "tag", "value_start", "vr", "within")

    def __init__(self, tag: int, vr: str, start: int, value_start: int, length: int, within: Syntax) -> None:
        self.tag = tag
        self.vr = vr
        self.start = start
        """Offset of the element; -1 for one that was not there."""
        self.value_start = value_start
        self.length = length
        """Of the value; UNDEFINED for undefined length."""
        self.end = value_start + length
        """Offset behind it."""
        self.items: list[list[Node]] | None = None
        """Of a sequence."""
        self.fresh: bytes | None = None
        """Another value, of even length. Of a sequence: b'' for its items as they stand in `items`."""
        self.within = within
        """How the value, or the items, are encoded."""


class Tree:
    """The data set that `read` gives from `start` to `end`. DataSetError, TruncatedDataSet where it is none."""

    def __init__(self, read: Read, start: int, end: int, syntax: Syntax) -> None:
        self._read = read
        self._base = start
        self._head = read(start, min(_HEAD, end - start))
        self.syntax = syntax
        self.nodes = self._parse(start, end)
        first = self.nodes[0] if self.nodes else None
        if first is not None and first.within.implicit and first.value_start - first.start == 8:
            self.syntax = first.within  # without VRs, whatever its transfer syntax says; what is added goes along

    def _parse(self, start: int, end: int) -> list[Node]:
        top: list[Node] = []
        current = top
        outer: list[list[Node]] = []
        sequences: list[Node] = []
        count = 0
        head, base = self._head, self._base
        whole = len(head) == end - start
        window = Window.over(head) if whole and base == 0 else Window(self._from_head, start, end)
        fragments: Node | None = None  # they end where what follows begins
        for kind, tag, vr, at, value_start, length, coding in walk(window, start, self.syntax):
            if fragments is not None:
                fragments.end = at
                fragments = None
            if kind is Kind.ELEMENT:
                current.append(Node(tag, vr, at, value_start, length, coding))
            elif kind is Kind.SEQUENCE:
                node = Node(tag, vr, at, value_start, length, coding)
                node.items = []
                current.append(node)
                sequences.append(node)
            elif kind is Kind.ITEM:
                outer.append(current)
                current = []
                items = sequences[-1].items
                assert items is not None
                items.append(current)
            elif kind is Kind.ITEM_END:
                current = outer.pop()
                continue
            elif kind is Kind.SEQUENCE_END:
                sequences.pop().end = value_start
                continue
            else:
                fragments = Node(tag, vr, at, value_start, UNDEFINED, coding)
                fragments.end = end
                current.append(fragments)
            count += 1
            if count > MOST:
                raise DataSetError(f"{place(tag, at)}: more than {MOST} elements")
        return top

    def _from_head(self, offset: int, length: int) -> bytes:
        at = offset - self._base
        if at >= 0 and at + length <= len(self._head):
            return self._head[at : at + length]
        return self._read(offset, length)

    def value(self, node: Node) -> bytes:
        """The value field as it stands now, in its own byte order. DataSetError for one that is too large."""
        return self.original(node) if node.fresh is None else node.fresh

    def original(self, node: Node) -> bytes:
        """The value field as it was. Errors as `value`."""
        if node.length > LARGEST:
            raise DataSetError(f"{place(node.tag, node.start)}: a value of {node.length} bytes, more than {LARGEST}")
        return self._from_head(node.value_start, node.length)

    def segments(self) -> Segments:
        """What the data set is now."""
        out = Segments(self._read)
        _write(self.nodes, self.syntax, out)
        return out


def find(nodes: list[Node], tag: int) -> Node | None:
    """The element with that tag."""
    for node in nodes:
        if node.tag == tag:
            return node
    return None


def put(nodes: list[Node], node: Node) -> None:
    """Have `node`, in the place of one with its tag or anew, in the order of tags."""
    for at, other in enumerate(nodes):
        if other.tag >= node.tag:
            nodes[at : at + (other.tag == node.tag)] = [node]
            return
    nodes.append(node)


class Segments:
    """Bytes made of pieces of a source and of new ones. `read` them as a stored object."""

    def __init__(self, read: Read) -> None:
        self._source = read
        self._pieces: list[bytearray | tuple[int, int]] = []
        self._starts: list[int] = []
        self.length = 0

    def add(self, piece: bytes) -> None:
        if self._pieces and isinstance(last := self._pieces[-1], bytearray):
            last += piece
        else:
            self._pieces.append(bytearray(piece))
            self._starts.append(self.length)
        self.length += len(piece)

    def keep(self, start: int, end: int) -> None:
        if self._pieces and isinstance(last := self._pieces[-1], tuple) and last[1] == start:
            self._pieces[-1] = last[0], end
        else:
            self._pieces.append((start, end))
            self._starts.append(self.length)
        self.length += end - start

    def read(self, offset: int, length: int) -> bytes:
        """Fewer bytes at the end, as of any object."""
        if offset < 0 or length <= 0:
            return b""
        return b"".join(self._parts(offset, min(length, self.length - offset)))

    def _parts(self, offset: int, length: int) -> Iterator[bytes | bytearray]:
        at = bisect_right(self._starts, offset) - 1
        while length > 0:
            piece, skipped = self._pieces[at], offset - self._starts[at]
            if isinstance(piece, bytearray):
                part: bytes | bytearray = piece[skipped : skipped + length]
            else:
                part = self._source(piece[0] + skipped, min(length, piece[1] - piece[0] - skipped))
                if not part:
                    return
            yield part
            offset, length = offset + len(part), length - len(part)
            if offset >= self._starts[at] + (len(piece) if isinstance(piece, bytearray) else piece[1] - piece[0]):
                at += 1


def _write(nodes: list[Node], syntax: Syntax, out: Segments) -> None:
    for node in nodes:
        if node.fresh is None and node.start >= 0:
            out.keep(node.start, node.end)
        elif node.items is None:
            value = node.fresh or b""
            out.add(recode.header(node.tag, node.vr, len(value), syntax) + value)
        elif not node.items:
            out.add(recode.header(node.tag, "SQ", 0, syntax))
        else:
            # A sequence that came as UN has its items in Implicit VR (PS3.5 §6.2.2), and keeps both.
            within = node.within
            vr = "UN" if within.implicit and not syntax.implicit else "SQ"
            out.add(recode.header(node.tag, vr, UNDEFINED, syntax))
            for item in node.items:
                out.add(recode.bare(_ITEM, UNDEFINED, within))
                _write(item, within, out)
                out.add(recode.bare(_ITEM_END, 0, within))
            out.add(recode.bare(_SEQUENCE_END, 0, within))
