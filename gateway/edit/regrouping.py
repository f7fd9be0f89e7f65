"""Steps that make an instance one of another study: with UIDs of its own, and that study's patient and study.

References follow the instances that move together; those to anything else stay as they are. What lists objects in a
tree of studies and series (PS3.3 C.17.2.1, C.8.8.5) follows too; a branch of which a part moves becomes two.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Final

from gateway.dicom.dictionary import KEYWORDS
from gateway.dicom.encode import BINARY, NUMBERS, DataSet, packed
from gateway.dicom.levels import UNIQUE_KEYS
from gateway.edit.draft import Draft, Level
from gateway.edit.steps import Apply
from gateway.edit.tree import Node

_STUDY: Final = UNIQUE_KEYS["study"]
_SERIES: Final = UNIQUE_KEYS["series"]
_INSTANCE: Final = UNIQUE_KEYS["instance"]
_REFERENCED: Final = KEYWORDS["ReferencedSOPInstanceUID"]
_OF_INSTANCES: Final = frozenset(
    {_REFERENCED, KEYWORDS["MultiFrameSourceSOPInstanceUID"], KEYWORDS["SOPInstanceUIDOfConcatenationSource"]}
)
"""Attributes that name instances."""
_ABOVE: Final = frozenset({_STUDY, _SERIES, _REFERENCED})
"""Attributes that name a study or series, below which instances are listed."""

_REMEMBERED: Final = 10_000
"""Instances of which it is remembered which move they belong to."""
MAX_PARTS: Final = 100
"""Parts that an item becomes at most: each has all of it that lists nothing."""


@dataclass(frozen=True, slots=True)
class StudyMove:
    """The instances that move out of one study."""

    study_instance_uid: str
    target_study_instance_uid: str
    uid: Callable[[str], str]
    """The new UID of a series or instance, made of its UID."""
    has_instance: Callable[[str], bool]
    """Whether the instance with a UID moves."""
    series: Mapping[str, bool]
    """UIDs of the series that have such instances, and whether all of a series move."""


@dataclass(slots=True)
class _Seen:
    """The instances that a branch of a tree of references names."""

    moves: set[int]
    """The moves that they belong to, by number."""
    others: bool = False
    """Whether some of them stay."""

    @property
    def is_mixed(self) -> bool:
        return len(self.moves) + self.others > 1


class StudyMoves:
    """The moves of one order, by the UIDs of what moves: there may be thousands, and as many references to follow."""

    def __init__(self, moves: Sequence[StudyMove]) -> None:
        self._moves = moves
        self._above: dict[str, list[int]] = {}
        for number, move in enumerate(moves):
            for uid in {move.study_instance_uid, *move.series}:
                self._above.setdefault(uid, []).append(number)
        self._first_with = functools.lru_cache(_REMEMBERED)(self._first_having)

    def __getitem__(self, number: int) -> StudyMove:
        return self._moves[number]

    def with_instance(self, uid: str, own: int) -> int | None:
        """The number of the move of an instance: `own` if it may be, since others may have instances of the same UIDs;
        None where it stays."""
        return own if self._moves[own].has_instance(uid) else self._first_with(uid)

    def _first_having(self, uid: str) -> int | None:
        return next((number for number, move in enumerate(self._moves) if move.has_instance(uid)), None)

    def out_of(self, uid: str, own: int) -> list[int]:
        """The numbers of the moves out of a study or series with this UID, `own` first."""
        return sorted(self._above.get(uid, ()), key=lambda number: number != own)

    def concern(self, uid: str) -> bool:
        """Whether something moves out of a study or series with this UID."""
        return uid in self._above


_Branches = dict[int, tuple[list[Node], _Seen]]
"""Items of an object by the identity of their lists, which stay alive as long, and what they name."""


def regrouping(own: int, moves: StudyMoves) -> list[Apply]:
    """Steps for an instance of one of the moves, `own`; what it refers to may be of any of them."""
    following = _Following(own, moves)
    return [following.name, following.follow]


def writing(attributes: DataSet, removed: Iterable[int]) -> list[Apply]:
    """Steps that remove attributes of the data set itself, then write others."""
    gone = frozenset(removed)

    def apply(draft: Draft) -> None:
        root = draft.root
        draft.remove(root, [node for node in root.nodes if node.tag in gone and node.tag not in attributes], "removed")
        _write(draft, root, attributes)

    return [apply]


class _Following:
    def __init__(self, own: int, moves: StudyMoves) -> None:
        self._own = own
        self._moves = moves

    def name(self, draft: Draft) -> None:
        """Give the instance its new UIDs."""
        move, root = self._moves[self._own], draft.root
        for tag, new in (
            (_STUDY, move.target_study_instance_uid),
            (_SERIES, move.uid(draft.top(_SERIES))),
            (_INSTANCE, move.uid(draft.top(_INSTANCE))),
        ):
            draft.set_text(root, tag, "UI", new, "new UID", unchecked=(new,))

    def follow(self, draft: Draft) -> None:
        """Let references inside sequences follow."""
        branches: _Branches = {}
        for node in list(draft.root.nodes):
            if node.items:
                self._items(draft, draft.root, node, branches)
            elif node.tag in _OF_INSTANCES and node.vr == "UI":
                self._instances(draft, draft.root, node.tag, _Seen(set()))

    def _items(self, draft: Draft, level: Level, sequence: Node, branches: _Branches) -> _Seen:
        """Let references in the items of a sequence follow; an item that lists what moves and what does not becomes
        several."""
        seen = _Seen(set())
        items: list[list[Node]] = []
        for below in level.below(sequence):
            found = self._branch(draft, below, branches)
            seen.moves |= found.moves
            seen.others |= found.others
            items += self._parted(draft, below, found, branches)
        if sequence.items is not None and len(items) > len(sequence.items):
            sequence.items = items
        return seen

    def _branch(self, draft: Draft, level: Level, branches: _Branches) -> _Seen:
        seen = _Seen(set())
        for node in list(level.nodes):
            if node.items:
                found = self._items(draft, level, node, branches)
                seen.moves |= found.moves
                seen.others |= found.others
            elif node.tag in _OF_INSTANCES and node.vr == "UI" and node.items is None:
                self._instances(draft, level, node.tag, seen)
        if not seen.is_mixed:
            self._rename_above(draft, level, seen)
        branches[id(level.nodes)] = level.nodes, seen
        return seen

    def _parted(self, draft: Draft, level: Level, seen: _Seen, branches: _Branches) -> list[list[Node]]:
        """An item as it is, or one for each study that what it lists belongs to from now on."""
        parts = [_Seen({number}) for number in sorted(seen.moves)] + [_Seen(set(), True)] * seen.others
        if not 1 < len(parts) <= MAX_PARTS or not any(self._lists(draft, level, node) for node in level.nodes):
            return [level.nodes]
        made = []
        more = -_count(level.nodes)
        for part in parts:
            nodes = _part(level.nodes, part, branches)
            more += _count(nodes)
            draft.spend(level, nodes[0].tag if nodes else 0, max(more, 0))
            more = min(more, 0)
            below = Level(nodes, level.syntax, level.above, level.sequence, level.path)
            self._rename_above(draft, below, part)
            branches[id(nodes)] = nodes, part
            made.append(nodes)
        return made

    def _lists(self, draft: Draft, level: Level, node: Node) -> bool:
        """Whether an attribute says whose the instances are that are listed below it."""
        if node.tag not in _ABOVE or node.vr != "UI" or node.items is not None:
            return False
        return any(map(self._moves.concern, draft.values(level, node)))

    def _rename_above(self, draft: Draft, level: Level, seen: _Seen) -> None:
        for node in list(level.nodes):
            if node.items is None and node.vr == "UI" and node.tag in _ABOVE:
                _rename(draft, level, node, functools.partial(self._above, tag=node.tag, seen=seen))

    def _instances(self, draft: Draft, level: Level, tag: int, seen: _Seen) -> None:
        """Let references to instances follow, and note in `seen` what they are."""

        def new(uid: str) -> str:
            number = self._moves.with_instance(uid, self._own)
            if number is not None:
                seen.moves.add(number)
                return self._moves[number].uid(uid)
            # Studies and series are referenced as if they were instances, too (PS3.3 C.8.8.5).
            if not self._moves.concern(uid):
                seen.others = True
            return uid

        for node in [node for node in level.nodes if node.tag == tag]:
            _rename(draft, level, node, new)

    def _above(self, uid: str, tag: int, seen: _Seen) -> str:
        """The UID of a study or series that lists what has been `seen`, or nothing by itself."""
        if seen.others:
            return uid
        for number in self._moves.out_of(uid, self._own):
            if seen.moves and number not in seen.moves:
                continue
            move = self._moves[number]
            if tag in (_STUDY, _REFERENCED) and uid == move.study_instance_uid and seen.moves:
                return move.target_study_instance_uid
            if tag in (_SERIES, _REFERENCED) and uid in move.series and (seen.moves or move.series[uid]):
                seen.moves.add(number)
                return move.uid(uid)
        seen.others |= tag == _SERIES and not seen.moves
        return uid


def _part(nodes: Sequence[Node], wanted: _Seen, branches: _Branches) -> list[Node]:
    """The elements of an item with what is `wanted` of the branches below it; what lists nothing is in every part."""
    part = []
    for node in nodes:
        node = copy(node)
        if node.items:
            items = []
            for item in node.items:
                seen = branches[id(item)][1]
                if (not seen.moves and not seen.others) or (seen.moves, seen.others) == (wanted.moves, wanted.others):
                    items.append(item)
                elif wanted.moves & seen.moves or (wanted.others and seen.others):
                    items.append(_part(item, wanted, branches))
            if not items:
                continue
            node.items, node.fresh = items, b""
        part.append(node)
    return part


def _count(nodes: Iterable[Node]) -> int:
    """The elements and items in an item."""
    return sum(1 + sum(1 + _count(item) for item in node.items or ()) for node in nodes)


def _rename(draft: Draft, level: Level, node: Node, new: Callable[[str], str]) -> None:
    """Replace UIDs. The target may have one that is none by the letter, such as one with leading zeros."""
    values = draft.values(level, node)
    changed = [new(value) if value else value for value in values]
    if changed != values:
        draft.set_text(level, node.tag, "UI", "\\".join(changed), "new UID", node, unchecked=(*values, *changed))


def _write(draft: Draft, level: Level, attributes: DataSet) -> None:
    for tag, (vr, values) in sorted(attributes.items()):
        if vr == "SQ":
            for below, item in zip(draft.set_items(level, tag, len(values), "set"), values, strict=True):
                _write(draft, below, item)
        elif vr in BINARY:
            draft.set_bytes(level, tag, vr, b"".join(values), "set", f"({vr})")
        elif vr in NUMBERS or vr == "AT":
            value = packed(vr, values, big_endian=level.syntax.big_endian)
            draft.set_bytes(level, tag, vr, value, "set", f"({vr})")
        else:
            texts = list(map(str, values))
            # They come of an instance that is stored, or have been checked.
            draft.set_text(level, tag, vr, "\\".join(texts), "set", unchecked=texts)
