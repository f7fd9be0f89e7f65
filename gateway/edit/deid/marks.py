"""Statements of a de-identified object about itself (PS3.15 E.1.1 and E.2, PS3.3 C.7.1.1), and its sealed values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.dicom.encode import Attribute, DataSet
from gateway.dicom.uids import Syntax
from gateway.edit.deid import table
from gateway.edit.deid.profile import Profile
from gateway.edit.tree import Node, Tree, find, put

METHOD: Final = 0x00120063
_CODES: Final = 0x00120064
_MAX_METHODS: Final = 64


def mark(tree: Tree, profile: Profile, *, pixels_cleaned: bool, sealed: Sequence[tuple[int, str, bytes]]) -> None:
    """Write Patient Identity Removed, the methods, the treatment of dates, and `sealed` as Encrypted Attributes
    Sequence."""
    options = [option for option in table.OPTIONS if option in profile.options]
    codes = [table.BASIC, *(table.OPTIONS[option][1:] for option in options)]
    if pixels_cleaned:
        codes.append(table.CLEAN_PIXEL_DATA)
    dates = (
        "UNMODIFIED"
        if "retain-full-dates" in options
        else "MODIFIED"
        if "retain-modified-dates" in options
        else "REMOVED"
    )
    methods = [f"PS3.15 {table.EDITION} {meaning}"[:64] for _code, meaning in codes]
    _put(tree, 0x00120062, "CS", b"YES ")
    _put(tree, METHOD, "LO", _methods(tree, methods))
    _put_sequence(tree, _CODES, [_coded(code, meaning) for code, meaning in codes])
    _put(tree, 0x00280303, "CS", _even(dates))
    if pixels_cleaned:
        _put(tree, 0x00280301, "CS", b"NO")
    if sealed:
        item = {
            tag: Attribute(vr, [value if vr == "OB" else value.decode("ascii").rstrip("\0")])
            for tag, vr, value in sealed
        }
        _put_sequence(tree, 0x04000500, [item])


def _methods(tree: Tree, methods: list[str]) -> bytes:
    """The methods, appended to those of earlier de-identifications (PS3.3 C.7.1.1)."""
    before = find(tree.nodes, METHOD)
    known = tree.value(before).rstrip(b" \0").split(b"\\") if before is not None else []
    new = [method.encode("ascii") for method in methods]
    values = b"\\".join([*(value for value in known[:_MAX_METHODS] if value and value not in new), *new])
    return values + b" " * (len(values) & 1)


def _coded(code: str, meaning: str) -> DataSet:
    return {
        0x00080100: Attribute("SH", [code]),
        0x00080102: Attribute("SH", ["DCM"]),
        0x00080104: Attribute("LO", [meaning]),
    }


def _even(text: str) -> bytes:
    return text.encode("ascii") + b" " * (len(text) & 1)


def _put(tree: Tree, tag: int, vr: str, value: bytes) -> None:
    node = Node(tag, vr, -1, -1, len(value), tree.syntax)
    node.fresh = value
    put(tree.nodes, node)


def _put_sequence(tree: Tree, tag: int, items: list[DataSet]) -> None:
    node = Node(tag, "SQ", -1, -1, 0, tree.syntax)
    node.items = [_nodes(item, tree.syntax) for item in items]
    node.fresh = b""
    put(tree.nodes, node)


def _nodes(item: DataSet, syntax: Syntax) -> list[Node]:
    """Encode text and bytes, which are the same in either byte order."""
    found = []
    for tag in sorted(item):
        attribute = item[tag]
        value = attribute.values[0]
        data = value if isinstance(value, bytes) else value.encode("ascii")
        node = Node(tag, attribute.vr, -1, -1, len(data), syntax)
        node.fresh = data + (b"\0" if attribute.vr in ("UI", "OB") else b" ") * (len(data) & 1)
        found.append(node)
    return found
