"""The Original Attributes Sequence (0400,0561): records former values in one more item."""

from __future__ import annotations

import time
from typing import Final

from gateway.dicom.dictionary import implicit_vr
from gateway.dicom.uids import Syntax
from gateway.edit.draft import Draft
from gateway.edit.tree import Node, find, put
from gateway.errors import EditError

ORIGINAL_ATTRIBUTES: Final = 0x04000561
SYSTEM: Final = "dicom-gateway"
MAX_VALUE_BYTES: Final = 64 << 10
"""Bytes of a value above which it is not recorded."""
MAX_ITEMS: Final = 1000
"""Items of the sequence at most, one for each time that the object was changed."""


def keep_originals(draft: Draft, source: str, at: float) -> None:
    """Record what steps changed or removed in the data set itself (PS3.3 C.12.1.1.9), in its original encoding.

    `source` is the source of the former values, `at` the time of the change in seconds since 1970.
    """
    kept = [
        node
        for tag, node in sorted(draft.originals.items())
        if tag != ORIGINAL_ATTRIBUTES and node.end - node.start <= MAX_VALUE_BYTES
    ]
    if not kept:
        return
    tree, root = draft.tree, draft.root
    syntax = tree.syntax
    sequence = find(tree.nodes, ORIGINAL_ATTRIBUTES)
    if sequence is None or sequence.items is None:
        sequence = _sequence(ORIGINAL_ATTRIBUTES, [], syntax)
        put(tree.nodes, sequence)
    elif sequence.within is not syntax or len(sequence.items) >= MAX_ITEMS:
        raise EditError(f"{root.name(ORIGINAL_ATTRIBUTES)}: no further item can be added")
    sequence.fresh = b""
    assert sequence.items is not None
    item = [
        _sequence(0x04000550, [kept], syntax),
        _text(0x04000562, time.strftime("%Y%m%d%H%M%S+0000", time.gmtime(at)), syntax),
        _text(0x04000563, SYSTEM, syntax),
        _text(0x04000564, source[:64], syntax),
        _text(0x04000565, "COERCE", syntax),
    ]
    sequence.items.append(item)


def _sequence(tag: int, items: list[list[Node]], syntax: Syntax) -> Node:
    node = Node(tag, "SQ", -1, -1, 0, syntax)
    node.items, node.fresh = items, b""
    return node


def _text(tag: int, text: str, syntax: Syntax) -> Node:
    value = text.encode("ascii", "replace")
    node = Node(tag, implicit_vr(tag), -1, -1, len(value), syntax)
    node.fresh = value + b" " * (len(value) & 1)
    return node
