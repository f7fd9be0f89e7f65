"""Steps that make an instance one of another study: with UIDs of its own, and that study's patient and study.

References follow the instances that move together; those to anything else stay as they are. What lists objects in a
tree of studies and series (PS3.3 C.17.2.1, C.8.8.5) follows where all that a branch lists moves.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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


def regrouping(own: int, moves: Sequence[StudyMove]) -> list[Apply]:
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
    def __init__(self, own: int, moves: Sequence[StudyMove]) -> None:
        self._own = own
        self._moves = moves

    def _order(self) -> Iterator[int]:
        """The numbers of all moves, the instance's own study first: others may have instances of the same UIDs."""
        yield self._own
        yield from (number for number in range(len(self._moves)) if number != self._own)

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
        for node in list(draft.root.nodes):
            if node.items:
                for below in draft.root.below(node):
                    self._branch(draft, below)
            elif node.tag in _OF_INSTANCES and node.vr == "UI":
                self._instances(draft, draft.root, node.tag, _Seen(set()))

    def _branch(self, draft: Draft, level: Level) -> _Seen:
        seen = _Seen(set())
        for node in list(level.nodes):
            if node.items:
                for below in level.below(node):
                    found = self._branch(draft, below)
                    seen.moves |= found.moves
                    seen.others |= found.others
            elif node.tag in _OF_INSTANCES and node.vr == "UI" and node.items is None:
                self._instances(draft, level, node.tag, seen)
        for node in list(level.nodes):
            if node.items is None and node.vr == "UI" and node.tag in (_STUDY, _SERIES, _REFERENCED):
                _rename(draft, level, node, functools.partial(self._above, tag=node.tag, seen=seen))
        return seen

    def _instances(self, draft: Draft, level: Level, tag: int, seen: _Seen) -> None:
        """Let references to instances follow, and note in `seen` what they are."""

        def new(uid: str) -> str:
            for number in self._order():
                if self._moves[number].has_instance(uid):
                    seen.moves.add(number)
                    return self._moves[number].uid(uid)
            # Studies and series are referenced as if they were instances, too (PS3.3 C.8.8.5).
            if not any(uid == each.study_instance_uid or uid in each.series for each in self._moves):
                seen.others = True
            return uid

        for node in [node for node in level.nodes if node.tag == tag]:
            _rename(draft, level, node, new)

    def _above(self, uid: str, tag: int, seen: _Seen) -> str:
        """The UID of a study or series that lists what has been `seen`."""
        if seen.others or len(seen.moves) > 1:
            return uid
        for number in seen.moves or self._order():
            move = self._moves[number]
            if tag in (_STUDY, _REFERENCED) and uid == move.study_instance_uid and seen.moves:
                return move.target_study_instance_uid
            if tag in (_SERIES, _REFERENCED) and uid in move.series and (seen.moves or move.series[uid]):
                return move.uid(uid)
        return uid


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
