"""Elements of one object that a request keeps by their paths: inside sequences, and private ones by their creators."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gateway.dicom.path import AttributePath, Step
from gateway.edit.tree import Node, Tree

_MAX_CREATOR_BYTES = 64


class KeptNodes:
    """The elements of a tree that some paths name, with what reserves their private blocks and the sequences around."""

    def __init__(self, tree: Tree, paths: Collection[AttributePath]) -> None:
        self._tree = tree
        # By identity: a tree holds these elements as long as it lives, for they are kept.
        self._kept: set[int] = set()
        self._around: set[int] = set()
        self._find(tree.nodes, [path.steps for path in paths])

    def has(self, node: Node) -> bool:
        """Whether an element is kept."""
        return id(node) in self._kept

    def leads_into(self, node: Node) -> bool:
        """Whether something inside a sequence may be kept."""
        return id(node) in self._around

    def _find(self, nodes: Sequence[Node], wanted: Sequence[tuple[Step, ...]]) -> None:
        """Find what is wanted in a data set or item: the steps that are left of each path."""
        blocks = reserved_blocks(self._tree, nodes) if any(steps[0].tag & 0x10000 for steps in wanted) else {}
        by_tag: dict[int, list[tuple[Step, ...]]] = {}
        for steps in wanted:
            for tag in _tags(steps[0], blocks):
                by_tag.setdefault(tag, []).append(steps)
        reserving: set[int] = set()
        for node in nodes:
            found = by_tag.get(node.tag)
            if found is None:
                continue
            if (block := blocks.get(node.tag & 0xFFFFFF00)) is not None:
                reserving.add(block[0])
            inner = [steps for steps in found if len(steps) > 1]
            if len(inner) < len(found):
                self._kept.add(id(node))
            if inner and node.items is not None:
                self._around.add(id(node))
                for number, item in enumerate(node.items):
                    if below := [steps[1:] for steps in inner if steps[0].item in (None, number)]:
                        self._find(item, below)
        self._kept |= {id(node) for node in nodes if node.tag in reserving}


def reserved_blocks(tree: Tree, nodes: Sequence[Node]) -> dict[int, tuple[int, str]]:
    """The private blocks of a data set or item: the tag that reserves each, and its creator (PS3.5 §7.8.1).

    By what the tags in a block have in common, 0xggggbb00.
    """
    return {
        node.tag & 0xFFFF0000 | (node.tag & 0xFF) << 8: (node.tag, tree.value(node).decode("latin-1").strip(" \0"))
        for node in nodes
        if node.tag & 0x10000
        and 0x10 <= node.tag & 0xFFFF <= 0xFF
        and node.items is None
        and node.length <= _MAX_CREATOR_BYTES
    }


def _tags(step: Step, blocks: dict[int, tuple[int, str]]) -> list[int]:
    """The tags that a step names: of an attribute with a creator, one in each block of that creator."""
    if not step.creator:
        return [step.tag]
    group = step.tag & 0xFFFF0000
    return [
        block | step.tag & 0xFF
        for block, (_tag, creator) in blocks.items()
        if creator == step.creator and block & 0xFFFF0000 == group
    ]
