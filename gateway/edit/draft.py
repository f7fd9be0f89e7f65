"""One object while it is being changed: finding attributes in its tree, reading and writing their text, and what was
changed. Which changes are made is decided in steps.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.dicom.charset import SINGLE_VALUED, TEXT_VRS, character_set, decode, decode_values
from gateway.dicom.dictionary import keyword_of
from gateway.dicom.encode import BINARY, NUMBERS
from gateway.dicom.path import AttributePath, Step
from gateway.dicom.uids import Syntax
from gateway.dicom.walk import place
from gateway.edit.deid.rules import Change
from gateway.edit.tree import Node, Tree, find, put
from gateway.errors import DataSetError, EditError

CHARSET: Final = 0x00080005
UTF_8: Final = b"ISO_IR 192"
LARGEST_TEXT: Final = 1 << 20
"""Bytes of a value that is changed as text."""
MOST_CHANGES: Final = 10_000
"""Changes of one object that are told; further ones are made all the same."""
_SHOWN: Final = 120
_LONGEST: Final = {
    "AE": 16,
    "AS": 4,
    "CS": 16,
    "DA": 18,
    "DS": 16,
    "DT": 54,
    "IS": 12,
    "LO": 64,
    "LT": 10240,
    "SH": 16,
    "ST": 1024,
    "TM": 28,
    "UI": 64,
}
"""Characters of one value (PS3.5 Table 6.2-1). Dates and times may be ranges nowhere but in queries."""
_PN_GROUP: Final = 64
_SIMPLE: Final = frozenset(("utf_8", "gb18030", "gbk", "latin_1"))


@dataclass(frozen=True, slots=True)
class Target:
    """What a step is about: an attribute by its path, or wherever it stands."""

    path: AttributePath
    everywhere: bool = False

    @classmethod
    def parse(cls, text: str) -> Target:
        """BadRequest as AttributePath.parse."""
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
        """Of its attributes, up to the dot."""

    @property
    def charset(self) -> bytes | None:
        """The value of Specific Character Set that holds here, as it is set now (PS3.3 C.12.1.1.2)."""
        for node in self.nodes:
            if node.tag >= CHARSET:
                if node.tag == CHARSET and node.items is None and node.length <= LARGEST_TEXT:
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
    """Changes one tree. EditError and DataSetError name the place; a draft that raised is of no more use."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.root = Root(tree)
        self.changes: list[Change] = []
        self.changed = False
        self.originals: dict[int, Node] = {}
        """Elements of the data set itself as they were, of those that are not any more."""

    # Finding.

    def levels(self) -> Iterator[Level]:
        """The data set and every item in it, outer ones first."""
        stack: list[Level] = [self.root]
        while stack:
            level = stack.pop()
            yield level
            for node in level.nodes:
                if node.items:
                    stack += level.below(node)

    def places(self, target: Target) -> Iterator[tuple[Level, Step]]:
        """Where the attribute stands, or would stand: every item that its path leads to."""
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
        for number, below in enumerate(list(level.below(sequence))):
            if step.item is None or step.item == number:
                yield from self._follow(below, rest)

    def node(self, level: Level, step: Step) -> Node | None:
        tag = self.tag_of(level, step)
        return find(level.nodes, tag) if tag is not None else None

    def tag_of(self, level: Level, step: Step) -> int | None:
        """The tag of the attribute there; None where its creator has reserved no block."""
        if not step.creator:
            return step.tag
        group = step.tag & 0xFFFF0000
        for node in level.nodes:
            if not group | 0x10 <= node.tag <= group | 0xFF or node.vr not in TEXT_VRS or node.items is not None:
                continue
            if node.length <= LARGEST_TEXT and self.text(level, node).strip() == step.creator:
                return group | (node.tag & 0xFF) << 8 | step.tag & 0xFF
        return None

    def reserved(self, level: Level, step: Step) -> int:
        """The same, with a block that is reserved where there was none (PS3.5 §7.8.1)."""
        tag = self.tag_of(level, step)
        if tag is not None:
            return tag
        group = step.tag & 0xFFFF0000
        used = {node.tag >> 8 & 0xFF for node in level.nodes if node.tag & 0xFFFF0000 == group}
        used |= {node.tag & 0xFF for node in level.nodes if group | 0x10 <= node.tag <= group | 0xFF}
        for block in range(0x10, 0x100):
            if block not in used:
                self.set_text(level, group | block, "LO", step.creator, "reserves a block")
                return group | block << 8 | step.tag & 0xFF
        raise EditError(f"{level.path}{step}: the group has no block left for another creator (PS3.5 §7.8.1)")

    # Reading.

    def text(self, level: Level, node: Node) -> str:
        """Of a text; DataSetError for one that is too long, EditError for what is no text."""
        self._check_text(level, node)
        return decode(self.tree.value(node), level.charset, node.vr)

    def values(self, level: Level, node: Node) -> list[str]:
        self._check_text(level, node)
        return decode_values(self.tree.value(node), level.charset, node.vr)

    def top(self, tag: int) -> str:
        """Text of an attribute of the data set itself; '' where it is not there."""
        node = find(self.tree.nodes, tag)
        return self.text(self.root, node).strip(" \0") if node is not None else ""

    def _check_text(self, level: Level, node: Node) -> None:
        if node.items is not None or node.vr in BINARY or node.vr in NUMBERS or node.vr == "AT":
            raise EditError(f"{level.name(node.tag)}: {node.vr} is no text, which this change is for")
        if node.length > LARGEST_TEXT:
            raise DataSetError(f"{place(node.tag, node.start)}: a text of {node.length} bytes is too long to change")

    # Writing.

    def set_text(self, level: Level, tag: int, vr: str, text: str, why: str, old: Node | None = None) -> None:
        """Have the attribute with these values, parted by backslashes; EditError where its VR cannot hold them.

        `old` is its element, where the caller has it: looking for it takes long in a large level.
        """
        for value in [text] if vr in SINGLE_VALUED else text.split("\\"):
            _check_value(level.name(tag), vr, value)
        self.set_bytes(level, tag, vr, self._encoded(level, vr, text), why, text, old)

    def set_bytes(
        self, level: Level, tag: int, vr: str, value: bytes, why: str, shown: str, old: Node | None = None
    ) -> None:
        """Have the attribute with this value field, in the byte order of its level."""
        padded = value + (b"\0" if vr == "UI" or vr in BINARY else b" ") * (len(value) & 1)
        old = old or find(level.nodes, tag)
        if old is None:
            self._touch(level, None)
            new = Node(tag, vr, -1, -1, len(padded), level.syntax)
            new.fresh = padded
            put(level.nodes, new)
            self._note(level, tag, "", shown[:_SHOWN], why)
            return
        if old.items is None and old.vr == vr and old.length <= LARGEST_TEXT and self.tree.value(old) == padded:
            return
        before = self.shown(level, old)
        self._touch(level, old)
        old.vr, old.items, old.fresh, old.length = vr, None, padded, len(padded)
        self._note(level, tag, before, shown[:_SHOWN], why)

    def remove(self, level: Level, nodes: Sequence[Node], why: str) -> None:
        """Elements of one level."""
        for node in nodes:
            before = self.shown(level, node)
            self._touch(level, node)
            self._note(level, node.tag, before, None, why)
        gone = set(map(id, nodes))
        level.nodes[:] = [node for node in level.nodes if id(node) not in gone]

    def change_values(self, level: Level, node: Node, change: Callable[[str], str], why: str) -> None:
        """Have `change` of each value that is not empty."""
        values = self.values(level, node)
        new = [change(value) if value.strip() else value for value in values]
        if new != values:
            self.set_text(level, node.tag, node.vr, "\\".join(new), why, node)

    def to_utf_8(self, why: str) -> None:
        """All text in ISO_IR 192, by which no letter is lost (PS3.3 C.12.1.1.2)."""
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
                value = self.tree.value(node)
                if value.isascii() and 0x1B not in value:
                    continue
                text = decode(value, charset, node.vr)
                if "\ufffd" in text:
                    raise EditError(f"{level.name(node.tag)}: bytes that are no text in its character set")
                self.set_bytes(level, node.tag, node.vr, text.encode(), why, text, node)
            own = find(level.nodes, CHARSET)
            if level.above is not None and own is not None:
                self.remove(level, [own], why)
        self.set_bytes(self.root, CHARSET, "CS", UTF_8, why, UTF_8.decode())

    def drop_group_lengths(self) -> None:
        """They would be wrong, and are retired (PS3.5 §7.2)."""
        for level in _depth_first(self.root):
            if level.sequence is None or level.sequence.fresh is not None:
                level.nodes[:] = [node for node in level.nodes if node.tag & 0xFFFF]

    def _encoded(self, level: Level, vr: str, text: str) -> bytes:
        if text.isascii():
            return text.encode()
        if vr not in TEXT_VRS:
            raise EditError(f"{level.path or 'the data set'}: a new value of {vr} has letters outside ASCII")
        terms = (level.charset or b"").strip(b" \0")
        if terms and b"\\" not in terms:
            codec = character_set(terms).codec
            if codec in _SIMPLE or codec.startswith("iso8859"):
                try:
                    return text.encode(codec)
                except UnicodeEncodeError:
                    pass
        self.to_utf_8("a new value has letters that the character set has not")
        return text.encode()

    def _touch(self, level: Level, node: Node | None) -> None:
        """`node` of that level changes, or an element is added to it: what holds it is written anew."""
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
        if len(self.changes) < MOST_CHANGES:
            self.changes.append(Change(level.name(tag), before, after, why))

    def shown(self, level: Level, node: Node) -> str:
        """A value for a person."""
        if node.items is not None:
            return f"(sequence of {len(node.items)})"
        if node.vr in BINARY or node.vr in NUMBERS or node.vr == "AT" or not 0 <= node.length <= LARGEST_TEXT:
            return f"({node.vr})"
        return decode(self.tree.value(node), level.charset, node.vr)[:_SHOWN]


def _depth_first(level: Level) -> Iterator[Level]:
    """Items before what holds them: their character set is that of the outside until it has changed."""
    for node in list(level.nodes):
        if node.items:
            for below in level.below(node):
                yield from _depth_first(below)
    yield level


def _check_value(name: str, vr: str, value: str) -> None:
    longest = _LONGEST.get(vr)
    if longest is not None and len(value) > longest:
        raise EditError(f"{name}: the new value has {len(value)} characters, {vr} holds {longest} (PS3.5 §6.2)")
    if vr == "PN" and any(len(group) > _PN_GROUP for group in value.split("=")):
        raise EditError(f"{name}: the new value has a group of more than {_PN_GROUP} characters (PS3.5 §6.2)")
    if vr == "UI" and value and not value.replace(".", "0").isdigit():
        raise EditError(f"{name}: the new value is no UID (PS3.5 §9)")
