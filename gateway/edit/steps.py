"""The steps of a change set, compiled: each changes a draft. `draft.py` finds and writes attributes."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import re2

from gateway.config import edits
from gateway.dicom.dictionary import implicit_vr
from gateway.dicom.encode import BINARY, NUMBERS, VRS
from gateway.dicom.validity import fault_of
from gateway.edit.deid import table
from gateway.edit.deid.dates import moved
from gateway.edit.deid.keyed import Keyed
from gateway.edit.draft import Draft, Level, Target
from gateway.edit.tree import Node
from gateway.errors import BadRequest, ConfigurationError, EditError

Apply = Callable[[Draft], None]

_DIGITS: Final = frozenset("0123456789")
_BACKSLASH: Final = re.compile(r"\\(.?)", re.DOTALL)

PATIENT_ID: Final = 0x00100020
STUDY: Final = 0x0020000D
CHARSET: Final = 0x00080005
KEYED: Final = (edits.HashStep, edits.NewUidsStep, edits.ShiftDatesStep)
"""Steps that need a key, and hide the former values."""
_IDENTITY: Final = frozenset((0x00080016, 0x00080018, STUDY, 0x0020000E))
_PIXELS: Final = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010, 0x7FE00001, 0x7FE00002))


def compile_step(step: edits.Step, keyed: Keyed | None, at: str) -> Apply:
    """Compile a step. `keyed` is needed for the steps in KEYED. Raises ConfigurationError with the setting below
    `at`."""
    match step:
        case edits.SetStep():
            return _set(step, at)
        case edits.RemoveStep():
            return _remove(step, at)
        case edits.RemovePrivateStep():
            return _remove_private
        case edits.CopyStep():
            return _copy(step, at)
        case edits.ReplaceStep():
            expression = _compiled(step.pattern, f"{at}.pattern")
            fill = _template(step.replacement, expression.groups, f"{at}.replacement")
            return _of_values(step, at, lambda value: str(expression.sub(fill, value)), "replaced")
        case edits.MapStep():
            _check_table(step, at)
            return _of_values(step, at, _mapped(step), "mapped")
        case edits.PrefixStep():
            prefix = step.text
            return _of_values(
                step, at, lambda value: value if value.startswith(prefix) else prefix + value, "has a prefix"
            )
        case edits.HashStep():
            assert keyed is not None
            return _hash(step, keyed, at)
        case edits.NewUidsStep():
            assert keyed is not None
            return _new_uids(keyed)
        case edits.ShiftDatesStep():
            assert keyed is not None
            if not 0 < step.days <= 36500:
                raise ConfigurationError(f"{at}.days: {step.days} is out of range: 1 to 36500")
            return _shift_dates(keyed, step.days)
        case edits.CharacterSetStep():
            return lambda draft: draft.to_utf_8("character set")


def _target(text: str, at: str) -> Target:
    try:
        target = Target.parse(text)
    except BadRequest as error:
        raise ConfigurationError(f"{at}: {error}") from None
    tag = target.path.steps[-1].tag
    if tag in _PIXELS or not tag & 0xFFFF or tag >> 16 in (0x0000, 0x0002, 0xFFFE):
        raise ConfigurationError(f"{at}: {text} cannot be changed by a step")
    if tag == CHARSET:
        raise ConfigurationError(f'{at}: {text} is the encoding of the text; do = "to-utf-8" changes both')
    return target


def _set(step: edits.SetStep, at: str) -> Apply:
    target = _target(step.attribute, f"{at}.attribute")
    last = target.path.steps[-1]
    known = implicit_vr(last.tag) if not last.creator else "UN"
    vr = step.vr or (known if known != "UN" else "LO")
    if vr not in VRS or vr in BINARY or vr in ("SQ", "AT"):
        raise ConfigurationError(f"{at}.attribute: {step.attribute} has VR {vr}, whose values cannot be written here")
    if not step.value and last.tag in _IDENTITY:
        raise ConfigurationError(f"{at}.value: {step.attribute} must not be empty")
    if vr in NUMBERS:
        _number(step.value, vr, False, f"{at}.value")
    else:
        _check(step.value, vr, f"{at}.value")

    def apply(draft: Draft) -> None:
        for level, where in draft.places(target):
            if target.everywhere and draft.node(level, where) is None:
                continue
            tag = draft.reserved(level, where)
            if vr in NUMBERS:
                value = _number(step.value, vr, level.syntax.big_endian, level.name(tag))
                draft.set_bytes(level, tag, vr, value, "set", step.value)
            else:
                draft.set_text(level, tag, vr, step.value, "set")

    return apply


def _check(text: str, vr: str, at: str) -> None:
    if fault := fault_of(vr, text):
        raise ConfigurationError(f"{at}: {fault}")


def _number(text: str, vr: str, big_endian: bool, at: str) -> bytes:
    try:
        kind = float if vr in ("FL", "FD") else int
        numbers = [kind(part) for part in text.split("\\")] if text else []
        return struct.pack(f"{'>' if big_endian else '<'}{len(numbers)}{NUMBERS[vr]}", *numbers)
    except (ValueError, OverflowError, struct.error):
        raise ConfigurationError(f"{at}: {text[:80]!r} is not a value of {vr}") from None


def _remove(step: edits.RemoveStep, at: str) -> Apply:
    target = _target(step.attribute, f"{at}.attribute")
    if len(target.path.steps) == 1 and target.path.steps[0].tag in _IDENTITY:
        raise ConfigurationError(f"{at}.attribute: an object without {step.attribute} is not an instance")

    def apply(draft: Draft) -> None:
        for level, node in list(draft.found(target)):
            draft.remove(level, [node], "removed")

    return apply


def _remove_private(draft: Draft) -> None:
    for level in draft.levels():
        draft.remove(level, [node for node in level.nodes if node.tag & 0x10000], "private")


def _copy(step: edits.CopyStep, at: str) -> Apply:
    target, source = _target(step.attribute, f"{at}.attribute"), _target(step.source, f"{at}.source")
    last = target.path.steps[-1]
    if len(source.path.steps) != 1 or source.everywhere:
        raise ConfigurationError(f"{at}.source: {step.source} is not an attribute of the data set itself")

    def apply(draft: Draft) -> None:
        node = draft.node(draft.root, source.path.steps[0])
        if node is None:
            return
        text = draft.text(draft.root, node)
        for level, where in draft.places(target):
            if target.everywhere and draft.node(level, where) is None:
                continue
            vr = implicit_vr(last.tag) if not last.creator else node.vr
            if vr in BINARY or vr in NUMBERS or vr in ("SQ", "AT"):
                raise EditError(f"{level.path}{where}: {vr} cannot hold a copy of {step.source}")
            draft.set_text(level, draft.reserved(level, where), vr, text, f"copy of {step.source}")

    return apply


def _of_values(step: edits.OfAttribute, at: str, change: Callable[[str], str], why: str) -> Apply:
    target = _target(step.attribute, f"{at}.attribute")

    def apply(draft: Draft) -> None:
        for level, node in list(draft.found(target)):
            try:
                draft.change_values(level, node, change, why)
            except KeyError:
                raise EditError(f"{level.name(node.tag)}: the table does not list its value") from None

    return apply


def _hash(step: edits.HashStep, keyed: Keyed, at: str) -> Apply:
    last = _target(step.attribute, f"{at}.attribute").path.steps[-1]
    if not last.creator and implicit_vr(last.tag) == "UI":
        return _of_values(step, at, keyed.uid, "new UID")
    vr = implicit_vr(last.tag)
    if not last.creator and fault_of(vr, keyed.pseudonym("", "")):
        raise ConfigurationError(
            f"{at}.attribute: {step.attribute} has VR {vr}, which cannot hold the letters of a hash; remove it, or "
            "shift its dates"
        )
    kind = str(last)
    return _of_values(step, at, lambda value: keyed.pseudonym(kind, value), "hashed")


def _check_table(step: edits.MapStep, at: str) -> None:
    last = _target(step.attribute, f"{at}.attribute").path.steps[-1]
    for new in step.table.values() if not last.creator else ():
        _check(new, implicit_vr(last.tag), f"{at}.table")


def _mapped(step: edits.MapStep) -> Callable[[str], str]:
    match step.unlisted:
        case "keep":
            return lambda value: step.table.get(value, value)
        case "empty":
            return lambda value: step.table.get(value, "")
        case "refuse":
            return step.table.__getitem__


def _compiled(pattern: str, at: str) -> Any:
    try:
        return re2.compile(pattern)
    except re2.error as error:
        raise ConfigurationError(f"{at}: {pattern!r} is not a regular expression of RE2: {error}") from None


def _template(text: str, groups: int, at: str) -> Callable[[Any], str]:
    r"""Parse a replacement: `\1` is a group, `\0` the match, `\\` a backslash. RE2 alone would take more escapes."""
    parts = _BACKSLASH.split(text)
    for part in parts[1::2]:
        if part != "\\" and (part not in _DIGITS or int(part) > groups):
            raise ConfigurationError(f"{at}: \\{part} is none of the {groups} groups of the pattern")

    def fill(match: Any) -> str:
        found = list(parts)
        for index in range(1, len(parts), 2):
            found[index] = "\\" if parts[index] == "\\" else match.group(int(parts[index])) or ""
        return "".join(found)

    return fill


@cache
def _uid_tags() -> frozenset[int]:
    """The tags whose UIDs PS3.15 Table E.1-1 replaces."""
    return frozenset(tag for tag, (basic, _columns) in table.rows().items() if "U" in basic)


def _new_uids(keyed: Keyed) -> Apply:
    def apply(draft: Draft) -> None:
        tags = _uid_tags()
        for level in draft.levels():
            for node in list(level.nodes):
                if node.tag in tags and node.vr == "UI" and node.items is None:
                    draft.change_values(level, node, keyed.uid, "new UID")

    return apply


def _shift_dates(keyed: Keyed, most: int) -> Apply:
    def apply(draft: Draft) -> None:
        days = keyed.days(draft.top(PATIENT_ID) or draft.top(STUDY), most)
        for level in draft.levels():
            for node in list(level.nodes):
                if node.vr in ("DA", "DT") and node.items is None:
                    _shift(draft, level, node, days)

    return apply


def _shift(draft: Draft, level: Level, node: Node, days: int) -> None:
    text = draft.text(level, node)
    shifted = moved(text, node.vr, days)
    why = "shifted" if shifted is not None else "not a date, so removed"
    parts = (shifted or "").split("\\")  # unchecked, since the values may be in an old form
    draft.set_text(level, node.tag, node.vr, shifted or "", why, node, unchecked=parts)
