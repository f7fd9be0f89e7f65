"""The removal of private attributes but for those that a request keeps."""

from __future__ import annotations

from collections.abc import Collection

from gateway.edit.draft import Draft, Level, Target
from gateway.edit.steps import CHARSET, Apply
from gateway.edit.tree import Node


def private_removal(kept: Collection[Target]) -> Apply:
    """A step that removes private attributes but for the `kept` ones, with all in them, and what reserves their blocks.

    A private sequence around a kept attribute stays for that alone.
    """

    def apply(draft: Draft) -> None:
        whole, around = _kept(draft, kept)
        stays = whole | around
        levels: list[tuple[Level, bool]] = [(draft.root, False)]
        while levels:
            level, inside = levels.pop()
            gone = [
                node
                for node in level.nodes
                if (node.tag & 0x10000 or (inside and node.tag != CHARSET)) and id(node) not in stays
            ]
            draft.remove(level, gone, "private")
            for node in level.nodes:
                if node.items and id(node) not in whole:
                    within = inside or bool(node.tag & 0x10000)
                    levels += ((below, within) for below in level.below(node))

    return apply


def _kept(draft: Draft, kept: Collection[Target]) -> tuple[set[int], set[int]]:
    """The identities of elements that stay, and of those that stay for what is in them or in their block."""
    whole: set[int] = set()
    around: set[int] = set()
    for target in kept:
        for level, node in draft.found(target):
            outer = _outwards(level, node)
            if any(each.tag & 0x10000 for _level, each in outer):
                whole.add(id(node))
            for each_level, each in outer:
                if id(each) in around:
                    break  # So is what is around it.
                around.add(id(each))
                around |= {id(other) for other in each_level.nodes if _reserves_block_of(other, each.tag)}
    return whole, around


def _outwards(level: Level, node: Node) -> list[tuple[Level, Node]]:
    """An element and the sequences around it, each with its level."""
    found = [(level, node)]
    while level.above is not None and level.sequence is not None:
        node = level.sequence
        level = level.above
        found.append((level, node))
    return found


def _reserves_block_of(node: Node, tag: int) -> bool:
    """Whether an element reserves the block that a private attribute is in (PS3.5 §7.8.1)."""
    return bool(tag & 0x10000) and tag & 0xFF00 != 0 and node.tag == tag & 0xFFFF0000 | tag >> 8 & 0xFF
