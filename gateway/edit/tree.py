"""A data set as a tree of elements with their offsets, and its encoding: unchanged parts are never copied.

Values stay in the source until they are requested. Other modules decide what changes.
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

MAX_NODES: Final = 1 << 20
"""Elements and items of one data set."""
MAX_VALUE_BYTES: Final = 16 << 20
"""Bytes of one requested value."""
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
        """Offset of the element; -1 for a new one."""
        self.value_start = value_start
        self.length = length
        """Length of the value; UNDEFINED for undefined length."""
        self.end = value_start + length
        """Offset after the element."""
        self.items: list[list[Node]] | None = None
        """The items of a sequence, None for any other VR."""
        self.fresh: bytes | None = None
        """A new value, of even length; None for an unchanged one. In a sequence, b'' stands for its `items`."""
        self.within = within
        """The encoding of the value or of the items."""


class Tree:
    """The data set that `read` returns from `start` to `end`. Raises DataSetError, TruncatedDataSet."""

    def __init__(self, read: Read, start: int, end: int, syntax: Syntax) -> None:
        self._read = read
        self._base = start
        self.length = end - start
        """Bytes of the encoded data set, as it was read."""
        self._head = read(start, min(_HEAD, end - start))
        self.syntax = syntax
        self.nodes = self._parse(start, end)
        first = self.nodes[0] if self.nodes else None
        if first is not None and first.within.implicit and first.value_start - first.start == 8:
            self.syntax = first.within  # Encoded without VRs, whatever its transfer syntax: new elements follow it.

    def _parse(self, start: int, end: int) -> list[Node]:
        top: list[Node] = []
        current = top
        outer: list[list[Node]] = []
        sequences: list[Node] = []
        count = 0
        head, base = self._head, self._base
        whole = len(head) == end - start
        window = Window.over(head) if whole and base == 0 else Window(self._from_head, start, end)
        fragments: Node | None = None  # ends at the next element
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
            if count > MAX_NODES:
                raise DataSetError(f"{place(tag, at)}: more than {MAX_NODES} elements")
        return top

    def _from_head(self, offset: int, length: int) -> bytes:
        at = offset - self._base
        if at >= 0 and at + length <= len(self._head):
            return self._head[at : at + length]
        return self._read(offset, length)

    def value(self, node: Node) -> bytes:
        """The current value field, in its own byte order. Raises DataSetError when it is too large."""
        return self.original(node) if node.fresh is None else node.fresh

    def original(self, node: Node) -> bytes:
        """The original value field. Raises like `value`."""
        if node.length > MAX_VALUE_BYTES:
            raise DataSetError(
                f"{place(node.tag, node.start)}: a value of {node.length} bytes, more than {MAX_VALUE_BYTES}"
            )
        return self._from_head(node.value_start, node.length)

    def overwrite(self, read: Read) -> None:
        """Read unchanged parts from another `read` of the same object, with other bytes at the same offsets."""
        self._read = read

    def segments(self) -> Segments:
        """The encoded data set, with all changes."""
        out = Segments(self._read)
        _write(self.nodes, self.syntax, out)
        return out


def find(nodes: list[Node], tag: int) -> Node | None:
    """The element with a tag; None when there is none."""
    for node in nodes:
        if node.tag == tag:
            return node
    return None


def put(nodes: list[Node], node: Node) -> None:
    """Insert `node` in the order of tags, in place of every element with its tag: an invalid data set has several."""
    nodes[:] = [other for other in nodes if other.tag != node.tag]
    at = next((at for at, other in enumerate(nodes) if other.tag > node.tag), len(nodes))
    nodes.insert(at, node)


class Segments:
    """Bytes combined from ranges of a source and new bytes, read like a stored object."""

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
        """Read up to `length` bytes; fewer at the end, like any object."""
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
            # A sequence received as UN has items in Implicit VR (PS3.5 §6.2.2), and stays so.
            within = node.within
            vr = "UN" if within.implicit and not syntax.implicit else "SQ"
            out.add(recode.header(node.tag, vr, UNDEFINED, syntax))
            for item in node.items:
                out.add(recode.bare(_ITEM, UNDEFINED, within))
                _write(item, within, out)
                out.add(recode.bare(_ITEM_END, 0, within))
            out.add(recode.bare(_SEQUENCE_END, 0, within))
