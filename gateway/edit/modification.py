"""A modification as Orthanc's REST asks for it, compiled to the steps of a change set.

UIDs from the level of the modification down become new ones, which are derived from a key: a repetition makes the same.
References to what is modified together follow, all others stay.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, Protocol

import msgspec

from gateway.dicom.dictionary import KEYWORDS
from gateway.dicom.levels import LEVELS, Level
from gateway.dicom.path import AttributePath, Step
from gateway.edit import json_values
from gateway.edit.deid.keyed import Keyed
from gateway.edit.draft import Draft, Target
from gateway.edit.json_values import NamedAttribute, NewValue
from gateway.edit.private_attributes import private_removal
from gateway.edit.steps import Apply
from gateway.errors import BadRequest

IDENTIFIERS: Final[dict[int, Level]] = {
    0x00100020: "patient",
    0x0020000D: "study",
    0x0020000E: "series",
    0x00080018: "instance",
}
"""The attribute that identifies a resource of each level."""
_NAMES: Final = dict(zip(LEVELS, ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"), strict=True))
_UID_TAGS: Final[dict[Level, int]] = {level: tag for tag, level in IDENTIFIERS.items() if level != "patient"}
_CHARSET: Final = 0x00080005
_REFERENCED: Final[dict[int, tuple[Level, ...]]] = {
    0x00081155: ("instance", "study", "series"),
    KEYWORDS["MultiFrameSourceSOPInstanceUID"]: ("instance",),
    KEYWORDS["SOPInstanceUIDOfConcatenationSource"]: ("instance",),
}
"""Attributes that name other objects at any place, with the levels of what they may name."""
MAX_NAMES: Final = 1000
"""Attributes that one request names."""


class Members(Protocol):
    """The UIDs of all that is modified together."""

    def has(self, level: Level, uid: str) -> bool: ...


class Modification(msgspec.Struct, frozen=True):
    """The changes that a request asks for, apart from the resources."""

    level: Level
    """The highest level that becomes another resource."""
    replace: dict[str, Any] = {}
    remove: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    private_creator: str = ""
    remove_private: bool = False
    keep_private: bool = False
    force: bool = False
    """Whether identifiers may be replaced, kept and removed."""


class Compiled:
    """A modification with its names and values parsed. Raises BadRequest with what cannot be done."""

    def __init__(self, wanted: Modification) -> None:
        if len(wanted.replace) + len(wanted.remove) + len(wanted.keep) > MAX_NAMES:
            raise BadRequest(f"more than {MAX_NAMES} attributes in one request")
        self.level = wanted.level
        self._remove_private = wanted.remove_private
        self.to_utf_8, replace = _character_set(wanted.replace)
        self.replaced = json_values.parse_replacements(replace, wanted.private_creator)
        self.kept = [NamedAttribute.parse(name) for name in wanted.keep]
        self.removed = [NamedAttribute.parse(name, wanted.private_creator) for name in wanted.remove]
        for what, places in (
            ("kept", self.kept),
            ("removed", self.removed),
            ("replaced", [place for place, _ in self.replaced]),
        ):
            for place in places:
                level = identified_level(place)
                if level is not None and not wanted.force:
                    raise needs_force(_NAMES[level], what)
        for place in self.removed:
            json_values.check_writable(place, str(place.path))
            if identified_level(place) is not None or place.path.steps == (Step(0x00080016),):
                raise BadRequest(f"{place.path}: an object without it is not an instance")
        for place, value in self.replaced:
            if (identified_level(place) or "patient") != "patient" and not value.text:
                raise BadRequest(f"{place.path} must not be empty")
        own = {str(place.path) for place in self.kept}
        self.removed = [place for place in self.removed if str(place.path) not in own]
        self.replaced_identifiers = {
            level: value.text for place, value in self.replaced if (level := identified_level(place)) is not None
        }
        self.kept_identifiers = {level for place in self.kept if (level := identified_level(place)) is not None}

    def renamed(self) -> list[Level]:
        """The levels whose UIDs become new ones."""
        return [
            level
            for level in LEVELS[max(LEVELS.index(self.level), 1) :]
            if level not in self.replaced_identifiers and level not in self.kept_identifiers
        ]

    def identity_steps(self, keyed: Keyed, members: Members | None) -> list[Apply]:
        """Steps that make the objects others; before all other steps, so that values of the request are not changed.

        Without `members`, no references follow.
        """
        new: dict[Level, Callable[[str], str]] = dict.fromkeys(self.renamed(), keyed.uid)
        changed: dict[Level, Callable[[str], str]] = dict(new)
        for level, text in self.replaced_identifiers.items():
            if level != "patient":
                changed[level] = lambda _uid, text=text: text  # type: ignore[misc]
        steps = [_top(_UID_TAGS[level], change) for level, change in new.items()]
        return [*steps, _references(changed, members)] if members is not None and changed else steps

    def value_steps(self) -> list[Apply]:
        """Steps that remove and replace."""
        steps: list[Apply] = [lambda draft: draft.to_utf_8("character set")] if self.to_utf_8 else []
        if self._remove_private:
            steps.append(private_removal([Target(place.path) for place in self.kept]))
        steps += [_remove(place) for place in self.removed]
        # Creators first, as they are in an object: the attributes of their blocks are then known by them.
        ordered = sorted(self.replaced, key=lambda each: not _reserves(each[0]))
        return steps + [_replace(place, value) for place, value in ordered]


def compiled(wanted: Modification) -> Compiled:
    """Check a modification of what is stored. Raises BadRequest as Orthanc does."""
    made = Compiled(wanted)
    if made.level == "patient" and "patient" not in made.replaced_identifiers:
        raise BadRequest("When modifying a patient, her PatientID is required to be modified")
    above = LEVELS[: LEVELS.index(made.level)]
    highest = next((level for level in above if level in made.replaced_identifiers), made.level)
    for level in above[above.index(highest) + 1 :] if highest in above else ():
        if level not in made.replaced_identifiers and level not in made.kept_identifiers:
            article = "an" if made.level == "instance" else "a"
            raise BadRequest(
                f"When modifying {article} {made.level}, a new {_NAMES[highest]} requires the {_NAMES[level]} to be "
                "replaced or kept, too"
            )
    return made


def detected_level(replace: Iterable[str], creator: str = "") -> Level:
    """The highest level that is identified by one of the attributes: what Orthanc modifies where nothing is said.

    Raises BadRequest."""
    found = {identified_level(NamedAttribute.parse(name, creator)) for name in replace}
    return next((level for level in LEVELS if level in found), "instance")


def identified_level(place: NamedAttribute) -> Level | None:
    """The level whose resources an attribute identifies."""
    return IDENTIFIERS.get(place.tag) if len(place.path.steps) == 1 else None


def keeps_instances(wanted: Modification) -> bool:
    """Whether the results keep the SOP Instance UIDs of what they are made of. Raises BadRequest."""
    return any(identified_level(NamedAttribute.parse(name)) == "instance" for name in wanted.keep)


def needs_force(keyword: str, what: str) -> BadRequest:
    """The error that Orthanc has where an identifier is concerned."""
    return BadRequest(f'Marking tag "{keyword}" as to be {what} requires the "Force" option to be set to true')


def _character_set(replace: Mapping[str, Any]) -> tuple[bool, Mapping[str, Any]]:
    """Whether all text becomes UTF-8; and what else is replaced."""
    rest = dict(replace)
    for name, value in replace.items():
        if NamedAttribute.parse(name).path.steps == (Step(_CHARSET),):
            if value != "ISO_IR 192":
                raise BadRequest("SpecificCharacterSet: ISO_IR 192 is possible, which can represent every character")
            del rest[name]
    return len(rest) < len(replace), rest


def _top(tag: int, change: Callable[[str], str]) -> Apply:
    def apply(draft: Draft) -> None:
        node = draft.node(draft.root, Step(tag))
        if node is not None:
            draft.change_values(draft.root, node, change, "new UID")

    return apply


def _references(changed: Mapping[Level, Callable[[str], str]], members: Members) -> Apply:
    """Follow objects that are modified together: in what references them, and in what lists them by their UIDs."""
    named = {tag: tuple(level for level in levels if level in changed) for tag, levels in _REFERENCED.items()}
    nested = named | {tag: (level,) for level, tag in _UID_TAGS.items() if level in changed}

    def apply(draft: Draft) -> None:
        for level in draft.levels():
            tags = named if level.above is None else nested
            for node in list(level.nodes):
                kinds = tags.get(node.tag)
                if kinds and node.vr == "UI" and node.items is None:
                    draft.change_values(level, node, lambda uid, kinds=kinds: new(uid, kinds), "new UID")  # type: ignore[misc]

    def new(uid: str, kinds: tuple[Level, ...]) -> str:
        for kind in kinds:
            if members.has(kind, uid):
                return changed[kind](uid)
        return uid

    return apply


def _remove(place: NamedAttribute) -> Apply:
    target = Target(place.path)

    def apply(draft: Draft) -> None:
        for level, node in list(draft.found(target)):
            draft.remove(level, [node], "removed")

    return apply


def _replace(place: NamedAttribute, value: NewValue) -> Apply:
    target = Target(place.path)

    def apply(draft: Draft) -> None:
        for level, _step in list(draft.places(target)):
            json_values.write(draft, level, place, value)

    return apply


def _reserves(place: NamedAttribute) -> bool:
    return bool(place.tag & 0x10000) and 0x10 <= place.tag & 0xFFFF <= 0xFF


def with_creators(places: Collection[NamedAttribute]) -> set[int]:
    """The tags of those places that are in the data set itself, with what reserves the blocks of private ones; without
    those that are named by their creators, whose tags each object has its own."""
    tags = {place.tag for place in places if len(place.path.steps) == 1 and not place.path.steps[0].creator}
    private = {place.path.steps[0].tag for place in places if not place.path.steps[0].creator}
    return tags | {tag & 0xFFFF0000 | tag >> 8 & 0xFF for tag in private if tag & 0x10000 and tag & 0xFF00}


def kept_paths(places: Iterable[NamedAttribute]) -> list[AttributePath]:
    """The paths of those places that are inside sequences, or named by their creators."""
    return [place.path for place in places if len(place.path.steps) > 1 or place.path.steps[0].creator]
