"""Conversion of all text in a tree to ISO_IR 192, which can represent every character (PS3.3 C.12.1.1.2)."""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from gateway.dicom.charset import TEXT_VRS, decode, presumed
from gateway.edit.tree import Node, Tree, put

CHARSET: Final = 0x00080005
UTF_8: Final = b"ISO_IR 192"


def text_beyond_ascii(value: bytes, charset: bytes | None, vr: str) -> str | None:
    """The text of a value whose bytes differ in UTF-8; None when they are equal, as ASCII without escapes is."""
    if vr not in TEXT_VRS or (value.isascii() and b"\x1b" not in value):
        return None
    return decode(value, presumed(charset, value), vr)


def to_utf_8(tree: Tree, written: Container[Node]) -> None:
    """Re-encode all text of `tree`, except the values of `written`, which are in UTF-8 already.

    Bytes that are no text in their character set become U+FFFD, as viewers show them.
    """
    _encode(tree, tree.nodes, None, written)
    tree.nodes[:] = [node for node in tree.nodes if node.tag != CHARSET]
    node = Node(CHARSET, "CS", -1, -1, len(UTF_8), tree.syntax)
    node.fresh = UTF_8
    put(tree.nodes, node)


def _encode(tree: Tree, nodes: list[Node], charset: bytes | None, written: Container[Node]) -> bool:
    """Re-encode a data set or item; returns whether it changed."""
    changed = False
    for node in nodes:
        if node.items is not None:
            inside = [_encode(tree, item, charset, written) for item in node.items]
            if any(inside):
                node.fresh, changed = b"", True
        elif node.tag == CHARSET:
            charset = tree.value(node)
        elif node.vr in TEXT_VRS and node.length and node not in written:
            text = text_beyond_ascii(tree.value(node), charset, node.vr)
            if text is not None:
                data = text.encode()
                node.fresh, changed = data + b" " * (len(data) & 1), True
    own = [node for node in nodes if node.tag == CHARSET]
    if own and nodes is not tree.nodes:
        nodes[:] = [node for node in nodes if node.tag != CHARSET]
        changed = True
    return changed
