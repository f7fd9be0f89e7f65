"""What attributes were before they were changed: one more item of the Original Attributes Sequence (0400,0561)."""

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
LARGEST: Final = 64 << 10
"""Bytes of a value, past which it is not kept."""
MOST: Final = 1000
"""Items that there may be: so often it was changed before."""


def keep_originals(draft: Draft, source: str, at: float) -> None:
    """For what steps changed or took away of the data set itself (PS3.3 C.12.1.1.9), in its encoding as it was.

    `source` says where the values came from, `at` is when they were changed, in seconds since 1970.
    """
    kept = [
        node
        for tag, node in sorted(draft.originals.items())
        if tag != ORIGINAL_ATTRIBUTES and node.end - node.start <= LARGEST
    ]
    if not kept:
        return
    tree, root = draft.tree, draft.root
    syntax = tree.syntax
    sequence = find(tree.nodes, ORIGINAL_ATTRIBUTES)
    if sequence is None or sequence.items is None:
        sequence = _sequence(ORIGINAL_ATTRIBUTES, [], syntax)
        put(tree.nodes, sequence)
    elif sequence.within is not syntax or len(sequence.items) >= MOST:
        raise EditError(f"{root.name(ORIGINAL_ATTRIBUTES)}: no item can be added to what is there")
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
