"""A draft: one object while it is being changed. Finds attributes in its tree, reads and writes text, records changes.

`steps.py` decides which changes are made.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from gateway.dicom.charset import SINGLE_VALUED, TEXT_VRS, decode, decode_values, encode, presumed
from gateway.dicom.dictionary import keyword_of
from gateway.dicom.encode import BINARY, NUMBERS
from gateway.dicom.path import AttributePath, Step
from gateway.dicom.uids import Syntax
from gateway.dicom.validity import fault_of_value
from gateway.dicom.walk import place
from gateway.edit.deid.rules import Change
from gateway.edit.tree import Node, Tree, find, put
from gateway.edit.utf_8 import CHARSET, UTF_8, text_beyond_ascii
from gateway.errors import DataSetError, EditError

MAX_TEXT_BYTES: Final = 1 << 20
"""Bytes of a value that can be changed as text."""
MAX_CHANGES: Final = 10_000
"""Changes of one object that are recorded; further ones are made without a record."""
MAX_NEW_NODES: Final = 200_000
"""Elements and items that the changes of one object add."""
MAX_NEW_BYTES: Final = 64 << 20
"""Bytes of the values that the changes of one object write, beyond its own size."""
MAX_ITEMS_ENTERED: Final = 5_000_000
"""Items that the paths of the changes of one object lead through, again for each path: some 10 s."""
_SHOWN: Final = 120


@dataclass(frozen=True, slots=True)
class Target:
    """The target of a step: an attribute by its path, or at every place of the object."""

    path: AttributePath
    everywhere: bool = False

    @classmethod
    def parse(cls, text: str) -> Target:
        """Parse the setting of a step. Raises BadRequest like AttributePath.parse."""
        everywhere = text.startswith("*.")
        return cls(AttributePath.parse(text[2:] if everywhere else text), everywhere)


class Level:
    """A data set or item of the tree."""

    __slots__ = ("above", "nodes", "path", "sequence", "syntax")

    def __init__(
        self,
        nodes: list[Node],
        syntax: Syntax,
        above: Level | None = None,
        sequence: Node | None = None,
        path: str = "",
    ) -> None:
        self.nodes, self.syntax, self.above, self.sequence = nodes, syntax, above, sequence
        self.path = path
        """Prefix of the paths of its attributes, up to the dot."""

    @property
    def charset(self) -> bytes | None:
        """The Specific Character Set that applies here, as currently set (PS3.3 C.12.1.1.2)."""
        for node in self.nodes:
            if node.tag >= CHARSET:
                if node.tag == CHARSET and node.items is None and node.length <= MAX_TEXT_BYTES:
                    return self._charset_of(node)
                break
        return self.above.charset if self.above is not None else None

    def _charset_of(self, node: Node) -> bytes:
        level = self
        while level.above is not None:
            level = level.above
        assert isinstance(level, Root)
        return level.tree.value(node)

    def name(self, tag: int) -> str:
        return self.path + (keyword_of(tag) or f"({tag >> 16:04X},{tag & 0xFFFF:04X})")

    def below(self, node: Node) -> Iterator[Level]:
        for number, item in enumerate(node.items or ()):
            yield Level(item, node.within, self, node, f"{self.name(node.tag)}[{number}].")


class Root(Level):
    __slots__ = ("tree",)

    def __init__(self, tree: Tree) -> None:
        super().__init__(tree.nodes, tree.syntax)
        self.tree = tree


class Draft:
    """Changes one tree. After an EditError or DataSetError, which name the place, the draft is unusable."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.root = Root(tree)
        self.changes: list[Change] = []
        self.changed = False
        self.originals: dict[int, Node] = {}
        """The original elements of the data set itself that were changed or removed."""
        self._nodes_left = MAX_NEW_NODES
        self._bytes_left = MAX_NEW_BYTES + tree.length
        self._entries_left = MAX_ITEMS_ENTERED
        self._written = b""
        """The value written last, which equal ones share: a step may write it in thousands of items."""

    # --- finding

    def levels(self) -> Iterator[Level]:
        """Yield the data set and every item in it, outer ones first."""
        stack: list[Level] = [self.root]
        while stack:
            level = stack.pop()
            yield level
            for node in level.nodes:
                if node.items:
                    stack += level.below(node)

    def places(self, target: Target) -> Iterator[tuple[Level, Step]]:
        """Yield every place of the attribute, present or absent: each item that its path leads to."""
        starts = list(self.levels()) if target.everywhere else [self.root]
        for start in starts:
            yield from self._follow(start, target.path.steps)

    def found(self, target: Target) -> Iterator[tuple[Level, Node]]:
        for level, step in self.places(target):
            node = self.node(level, step)
            if node is not None:
                yield level, node

    def _follow(self, level: Level, steps: tuple[Step, ...]) -> Iterator[tuple[Level, Step]]:
        step, rest = steps[0], steps[1:]
        if not rest:
            yield level, step
            return
        sequence = self.node(level, step)
        if sequence is None or sequence.items is None:
            return
        self._entries_left -= len(sequence.items)
        if self._entries_left < 0:
            raise EditError(
                f"{level.name(sequence.tag)}: the paths of the changes lead through more than {MAX_ITEMS_ENTERED} items"
            )
        for number, below in enumerate(list(level.below(sequence))):
            if step.item is None or step.item == number:
                yield from self._follow(below, rest)

    def node(self, level: Level, step: Step) -> Node | None:
        tag = self.tag_of(level, step)
        return find(level.nodes, tag) if tag is not None else None

    def tag_of(self, level: Level, step: Step) -> int | None:
        """The tag of the attribute at a level; None when its creator has reserved no block."""
        if not step.creator:
            return step.tag
        group = step.tag & 0xFFFF0000
        for node in level.nodes:
            if not group | 0x10 <= node.tag <= group | 0xFF or node.vr not in TEXT_VRS or node.items is not None:
                continue
            if node.length <= MAX_TEXT_BYTES and self.text(level, node).strip() == step.creator:
                return group | (node.tag & 0xFF) << 8 | step.tag & 0xFF
        return None

    def reserved(self, level: Level, step: Step, first: int = 0x10) -> int:
        """The tag of the attribute at a level, with a block reserved for its creator if there is none (PS3.5 §7.8.1):
        `first` if that is free."""
        tag = self.tag_of(level, step)
        if tag is not None:
            return tag
        group = step.tag & 0xFFFF0000
        used = {node.tag >> 8 & 0xFF for node in level.nodes if node.tag & 0xFFFF0000 == group}
        used |= {node.tag & 0xFF for node in level.nodes if group | 0x10 <= node.tag <= group | 0xFF}
        for block in chain((first,), range(0x10, 0x100)):
            if block not in used:
                self.set_text(level, group | block, "LO", step.creator, "reserves a block")
                return group | block << 8 | step.tag & 0xFF
        raise EditError(f"{level.path}{step}: the group has no block left for another creator (PS3.5 §7.8.1)")

    # --- reading

    def text(self, level: Level, node: Node) -> str:
        """The text of an element. Raises: DataSetError when it is too long; EditError when its VR is no text."""
        self._check_text(level, node)
        value = self.tree.value(node)
        return decode(value, presumed(level.charset, value), node.vr)

    def values(self, level: Level, node: Node) -> list[str]:
        self._check_text(level, node)
        value = self.tree.value(node)
        return decode_values(value, presumed(level.charset, value), node.vr)

    def top(self, tag: int) -> str:
        """The text of an attribute of the data set itself; '' when absent."""
        node = find(self.tree.nodes, tag)
        return self.text(self.root, node).strip(" \0") if node is not None else ""

    def _check_text(self, level: Level, node: Node) -> None:
        if node.items is not None or node.vr in BINARY or node.vr in NUMBERS or node.vr == "AT":
            raise EditError(f"{level.name(node.tag)}: {node.vr} is not text, which this change is for")
        if node.length > MAX_TEXT_BYTES:
            raise DataSetError(f"{place(node.tag, node.start)}: a text of {node.length} bytes is too long to change")

    # --- writing

    def set_text(
        self,
        level: Level,
        tag: int,
        vr: str,
        text: str,
        why: str,
        old: Node | None = None,
        *,
        unchecked: Container[str] = (),
    ) -> None:
        """Set the values of an attribute, separated by backslashes.

        `old` is its element where the caller has it: finding it takes long in a large level. Values in `unchecked` were
        there before, valid or not. Raises: EditError when the VR cannot hold a value.
        """
        for value in [text] if vr in SINGLE_VALUED else text.split("\\"):
            if value not in unchecked and (fault := fault_of_value(vr, value)):
                raise EditError(f"{level.name(tag)}: {fault}")
        self.set_bytes(level, tag, vr, self._encoded(level, vr, text), why, text, old)

    def set_bytes(
        self, level: Level, tag: int, vr: str, value: bytes, why: str, shown: str, old: Node | None = None
    ) -> None:
        """Set the value field of an attribute, in the byte order of its level."""
        padded = value + (b"\0" if vr == "UI" or vr in BINARY else b" ") * (len(value) & 1)
        if padded == self._written:
            padded = self._written
        else:
            self._written = padded
        old = old or find(level.nodes, tag)
        if old is None:
            self.spend(level, tag, 1, len(padded))
            self._touch(level, None)
            new = Node(tag, vr, -1, -1, len(padded), level.syntax)
            new.fresh = padded
            put(level.nodes, new)
            self._note(level, tag, "", shown[:_SHOWN], why)
            return
        if old.items is None and old.vr == vr and old.length <= MAX_TEXT_BYTES and self.tree.value(old) == padded:
            return
        self.spend(level, tag, 0, len(padded))
        before = self.shown(level, old)
        self._touch(level, old)
        old.vr, old.items, old.fresh, old.length = vr, None, padded, len(padded)
        self._note(level, tag, before, shown[:_SHOWN], why)

    def set_items(self, level: Level, tag: int, count: int, why: str) -> list[Level]:
        """Make an attribute a sequence of `count` empty items, whatever it was; returns them, to be filled."""
        self.spend(level, tag, 1 + count)
        old = find(level.nodes, tag)
        before = self.shown(level, old) if old is not None else ""
        self._touch(level, old)
        sequence = Node(tag, "SQ", -1, -1, 0, level.syntax)
        sequence.items, sequence.fresh = [[] for _ in range(count)], b""
        put(level.nodes, sequence)
        self._note(level, tag, before, f"(sequence of {count})", why)
        return list(level.below(sequence))

    def spend(self, level: Level, tag: int, nodes: int, size: int = 0) -> None:
        """Account for elements and items about to be made, and for bytes of values.

        One step writes in every item that the steps before it have made, so that a short request could ask for any
        amount. Raises EditError where it is too much.
        """
        self._nodes_left -= nodes
        self._bytes_left -= size
        if self._nodes_left < 0:
            raise EditError(f"{level.name(tag)}: the changes add more than {MAX_NEW_NODES} elements and items")
        if self._bytes_left < 0:
            raise EditError(
                f"{level.name(tag)}: the changes write more than {MAX_NEW_BYTES} bytes beyond the size of the object"
            )

    def remove(self, level: Level, nodes: Sequence[Node], why: str) -> None:
        """Remove elements of one level."""
        for node in nodes:
            before = self.shown(level, node)
            self._touch(level, node)
            self._note(level, node.tag, before, None, why)
        gone = set(map(id, nodes))
        level.nodes[:] = [node for node in level.nodes if id(node) not in gone]

    def change_values(self, level: Level, node: Node, change: Callable[[str], str], why: str) -> None:
        """Replace each non-empty value with the result of `change`."""
        values = self.values(level, node)
        new = [change(value) if value.strip() else value for value in values]
        if new != values:
            self.set_text(level, node.tag, node.vr, "\\".join(new), why, node, unchecked=values)

    def to_utf_8(self, why: str) -> None:
        """Encode all text in ISO_IR 192, which can represent every character (PS3.3 C.12.1.1.2)."""
        if (self.root.charset or b"").strip() == UTF_8 and not any(
            find(level.nodes, CHARSET) for level in self.levels() if level.above is not None
        ):
            return
        for level in _depth_first(self.root):
            charset = level.charset
            for node in list(level.nodes):
                if node.vr not in TEXT_VRS or node.items is not None or not node.length:
                    continue
                self._check_text(level, node)
                text = text_beyond_ascii(self.tree.value(node), charset, node.vr)
                if text is None:
                    continue
                if "\ufffd" in text:
                    raise EditError(
                        f"{level.name(node.tag)}: has bytes that are no text in its character set, and all text would "
                        f"have to be in ISO_IR 192 ({why}); set or remove it first"
                    )
                self.set_bytes(level, node.tag, node.vr, text.encode(), why, text, node)
            own = find(level.nodes, CHARSET)
            if level.above is not None and own is not None:
                self.remove(level, [own], why)
        self.set_bytes(self.root, CHARSET, "CS", UTF_8, why, UTF_8.decode())

    def drop_group_lengths(self) -> None:
        """Remove group lengths, which would be wrong and are retired (PS3.5 §7.2)."""
        for level in _depth_first(self.root):
            if level.sequence is None or level.sequence.fresh is not None:
                level.nodes[:] = [node for node in level.nodes if node.tag & 0xFFFF]

    def _encoded(self, level: Level, vr: str, text: str) -> bytes:
        if text.isascii():
            return text.encode()
        if vr not in TEXT_VRS:
            raise EditError(f"{level.path or 'the data set'}: a new value of {vr} has letters outside ASCII")
        encoded = encode(text, level.charset, vr)
        if encoded is None:
            self.to_utf_8("a new value has letters that the character set lacks")
            encoded = text.encode()
        return encoded

    def _touch(self, level: Level, node: Node | None) -> None:
        """Mark every sequence around a changed level for writing; `node` is the changed element, None for a new one."""
        self.changed = True
        while level.above is not None:
            assert level.sequence is not None
            node = level.sequence
            node.fresh = b""
            level = level.above
        if node is not None:
            self._keep(node)

    def _keep(self, node: Node) -> None:
        if node.start >= 0 and node.tag not in self.originals and node.tag & 0xFFFF:
            kept = Node(node.tag, node.vr, node.start, node.value_start, node.length, node.within)
            kept.end, kept.items = node.end, node.items
            self.originals[node.tag] = kept

    def _note(self, level: Level, tag: int, before: str, after: str | None, why: str) -> None:
        if len(self.changes) < MAX_CHANGES:
            self.changes.append(Change(level.name(tag), before, after, why))

    def shown(self, level: Level, node: Node) -> str:
        """A value for display."""
        if node.items is not None:
            return f"(sequence of {len(node.items)})"
        if node.vr in BINARY or node.vr in NUMBERS or node.vr == "AT" or not 0 <= node.length <= MAX_TEXT_BYTES:
            return f"({node.vr})"
        value = self.tree.value(node)
        return decode(value, presumed(level.charset, value), node.vr)[:_SHOWN]


def _depth_first(level: Level) -> Iterator[Level]:
    """Yield items before their sequence: until then the outer character set applies to them."""
    for node in list(level.nodes):
        if node.items:
            for below in level.below(node):
                yield from _depth_first(below)
    yield level
