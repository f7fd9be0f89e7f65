"""One object under a profile: each element of its tree kept, emptied, replaced or taken out, at every depth.

Where the table has no row for an attribute it stays, but for what nobody can judge: tags that the data dictionary does
not know, and names of persons. What its values become is values.py's, what is written about it afterwards marks.py's.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from gateway.dicom.charset import TEXT_VRS, decode
from gateway.dicom.dictionary import implicit_vr
from gateway.dicom.walk import ITEM
from gateway.edit.deid import content
from gateway.edit.deid.profile import Profile
from gateway.edit.deid.table import Action
from gateway.edit.deid.text import DUMMIES, Cleaner
from gateway.edit.deid.values import (
    CHARSET,
    DATES,
    GRAPHIC_DATA,
    LONGEST,
    SCHEME,
    Level,
    Mode,
    Values,
    name_of,
    text_of,
)
from gateway.edit.tree import Node, Tree, find, put

_CONCEPT_NAME: Final = 0x0040A043
_CONCEPT_CODE: Final = 0x0040A168
_MEASURED: Final = 0x0040A300
_CONTENT_SEQUENCE: Final = 0x0040A730
_CODE_VALUES: Final = (0x00080100, 0x00080119, 0x00080120)
_CODES: Final = frozenset((*_CODE_VALUES, SCHEME, 0x00080103))
"""Of code sequences what is no free text."""
_TEXTS: Final = frozenset(DUMMIES) - {"CS", "DS", "IS"}
"""VRs of values that identify somebody where everything is replaced; the others say how an object hangs together."""
_NAMES: Final = frozenset((0x00080080, 0x00080081, 0x00081040))
"""Beside names of persons what is taken out of text word by word: institutions."""
_IDENTIFIERS: Final = frozenset(("LO", "SH", "AE"))
_SHOWN: Final = 64


class Change(NamedTuple):
    """What became of one attribute."""

    path: str
    """Keywords or tags, with the number of the item: `RequestAttributesSequence[0].ScheduledProcedureStepID`."""
    before: str
    after: str | None
    """None: it is not there any more."""
    why: str


class Rules:
    """For one tree. `run` changes it; EditError and DataSetError name the place."""

    def __init__(self, profile: Profile, tree: Tree) -> None:
        self._profile = profile
        self._tree = tree
        self._notes: list[tuple[Node, bytes | None, Level, str]] = []
        """What was done, to be told when somebody asks."""
        charset = find(tree.nodes, CHARSET)
        self._charset = tree.value(charset) if charset is not None else None
        names: list[str] = []
        identifiers: list[str] = []
        if Action.CLEAN in profile.actions.values():
            self._gather(tree.nodes, self._charset, names, identifiers)
        self._values = Values(profile, tree, Cleaner(names, identifiers))

    def text(self, tag: int) -> str:
        """Of an attribute of the data set itself; '' where it is not there."""
        return text_of(self._tree, tag)

    def run(self) -> None:
        top = Level(Mode.KEEP, self._charset, "")
        self._treat(self._tree.nodes, top)
        for tag, text in self._profile.replaced.items():
            node = Node(tag, implicit_vr(tag), -1, -1, 0, self._tree.syntax)
            node.fresh = self._values.encoded(text, node, top)
            put(self._tree.nodes, node)

    # What of the object must not be in its text.

    def _gather(self, nodes: list[Node], charset: bytes | None, names: list[str], identifiers: list[str]) -> None:
        actions = self._profile.actions
        for node in nodes:
            if node.items is not None:
                for item in node.items:
                    self._gather(item, charset, names, identifiers)
                continue
            if node.tag == CHARSET:
                charset = self._tree.value(node)
            if node.length > LONGEST or node.tag & 0x10000:
                continue
            action = actions.get(node.tag)
            if node.vr == "PN" or (node.tag in _NAMES and action is not Action.KEEP):
                names.append(decode(self._tree.value(node), charset, node.vr))
            elif node.vr in _IDENTIFIERS and action in (Action.REMOVE, Action.EMPTY, Action.DUMMY):
                identifiers += decode(self._tree.value(node), charset, node.vr).split("\\")

    # The walk.

    def _treat(self, nodes: list[Node], level: Level) -> bool:
        """Treat the elements of one data set or item; whether anything changed."""
        actions = self._profile.actions
        mode, changed = level.mode, False
        safe: frozenset[int] | None = None
        kept: list[Node] = []
        for node in nodes:
            tag = node.tag
            if tag == CHARSET:
                level = level._replace(charset=self._tree.value(node))
            action = actions.get(tag)
            if action is Action.KEEP and node.items is not None:
                action = Action.UID  # what is in it is treated as everywhere, also in a sequence that is replaced
            elif action is None:
                group = tag >> 16
                if not tag & 0xFFFF:
                    changed = True  # a group length, which would be wrong
                    continue
                if group & 1 and self._profile.keep_private:
                    kept.append(node)
                    continue
                if group & 1 and not self._profile.safe_private:
                    self._note(node, None, level, "PS3.15 E.1: removed")
                    changed = True
                    continue
                if group & 1:
                    if safe is None:
                        safe = self._safe_private(nodes)
                    action = self._private(node, safe)
                elif 0x5000 <= group <= 0x50FF or 0x6000 <= group <= 0x60FF:
                    action = self._graphics(tag)
                elif node.vr == "PN":
                    action = Action.EMPTY
                elif mode is Mode.KEEP:
                    if node.items is None:
                        if node.vr == "UN" and implicit_vr(tag) == "UN":
                            action = Action.REMOVE
                        else:
                            kept.append(node)
                            continue
                    else:
                        action = Action.KEEP
                else:
                    action = self._by_mode(node, level)
            if self._apply(node, action, level):
                changed = True
                if node.fresh is None:
                    continue
            kept.append(node)
        if changed:
            nodes[:] = kept
        return changed

    def _by_mode(self, node: Node, level: Level) -> Action:
        """For what the table does not name, inside a sequence that is replaced or cleaned."""
        if level.mode is Mode.REPLACE_CONTENT:
            if node.tag == _MEASURED:
                return Action.EMPTY
            if node.tag == _CONCEPT_NAME or (node.items is not None and node.tag != _CONCEPT_CODE):
                return Action.KEEP
            return Action.DUMMY if node.items is not None or node.vr in _TEXTS else Action.KEEP
        if node.items is not None:
            return Action.KEEP  # in the same mode, see _sequence
        if level.mode is Mode.CLEAN:
            return Action.CLEAN if node.vr in TEXT_VRS and node.tag not in _CODES else Action.KEEP
        if node.tag == GRAPHIC_DATA or node.vr in _TEXTS:
            return Action.DUMMY
        return Action.UID if node.vr == "UI" else Action.KEEP

    def _graphics(self, tag: int) -> Action:
        """Curves and overlays as a whole: what remains of them without their data would be malformed."""
        if "clean-graphics" not in self._profile.options:
            return Action.REMOVE
        return Action.CLEAN if implicit_vr(tag) in TEXT_VRS else Action.KEEP

    def _safe_private(self, nodes: list[Node]) -> frozenset[int]:
        """Tags of private attributes of this data set or item that are safe, and of the creators of their blocks."""
        safe = self._profile.safe_private
        if not safe:
            return frozenset()
        creators = {
            node.tag & 0xFFFF0000 | (node.tag & 0xFF) << 8: (
                node.tag,
                self._tree.value(node).decode("latin-1").strip(" \0"),
            )
            for node in nodes
            if node.tag & 0x10000 and 0x10 <= node.tag & 0xFFFF <= 0xFF and node.items is None and node.length <= 64
        }
        found = set()
        for node in nodes:
            tag = node.tag
            if tag & 0x10000 and (reserved := creators.get(tag & 0xFFFFFF00)) is not None:
                vr = safe.get((reserved[1], tag >> 16, tag & 0xFF))
                # What is no sequence here cannot be looked into.
                if vr is not None and not (vr == "SQ" and node.items is None):
                    found |= {tag, reserved[0]}
                    if vr == "UI" and "retain-uids" not in self._profile.options:
                        found.add(-tag)
        return frozenset(found)

    def _private(self, node: Node, safe: frozenset[int]) -> Action:
        if node.tag not in safe:
            return Action.REMOVE
        if -node.tag in safe:
            return Action.UID
        if node.vr in DATES:
            return self._profile.actions[0x00080022]  # as an Acquisition Date
        return Action.REMOVE if node.vr == "PN" else Action.KEEP

    # One element.

    def _apply(self, node: Node, action: Action, level: Level) -> bool:
        """Whether it changed. One that is to be taken out has changed and has no `fresh` value."""
        if action is Action.KEEP and node.items is None:
            return False
        if node.items is not None and action is not Action.REMOVE and action is not Action.EMPTY:
            return self._sequence(node, action, level)
        if action is Action.REMOVE:
            self._note(node, None, level, "PS3.15 E.1: removed")
            node.fresh = None
            return True
        if not node.length and not node.items:
            return False  # it says nothing
        if node.items is not None:
            self._note(node, b"", level, "PS3.15 E.1: emptied")
            node.items, node.fresh = [], b""
            return True
        new, why = self._values.value(node, action, level)
        if new is None:
            self._note(node, None, level, why)
            return True
        if len(new) == node.length and new == self._tree.value(node):
            return False
        self._note(node, new, level, why)
        node.fresh = new
        return True

    def _sequence(self, node: Node, action: Action, level: Level) -> bool:
        inner = level.mode
        if action is Action.DUMMY:
            inner = Mode.REPLACE_CONTENT if node.tag == _CONTENT_SEQUENCE else Mode.REPLACE
        elif action is Action.CLEAN:
            inner = Mode.CLEAN
        elif action is Action.UID or (node.tag == _CONCEPT_NAME and inner is not Mode.REPLACE):
            inner = Mode.KEEP
        name = name_of(node.tag)
        changed = False
        assert node.items is not None
        structured = node.tag in content.SEQUENCES and inner is Mode.CLEAN
        remaining = []
        for number, item in enumerate(node.items):
            path = f"{level.path}{name}[{number}]."
            here = Level(inner, level.charset, path)
            wanted = self._content_item(item) if structured else None
            if wanted is Action.REMOVE:
                self._note(Node(ITEM, "", -1, -1, 0, node.within), None, here, "PS3.15 E.3.4: removed")
                changed = True
                continue
            if wanted is Action.DUMMY:
                here = here._replace(mode=Mode.REPLACE_CONTENT)
            changed |= self._treat(item, here)
            remaining.append(item)
        if changed:
            node.items, node.fresh = remaining, b""
        return changed

    def _content_item(self, item: list[Node]) -> Action | None:
        name = find(item, _CONCEPT_NAME)
        if name is None or not name.items:
            return None
        code = name.items[0]
        scheme = find(code, SCHEME)
        values = [found for tag in _CODE_VALUES if (found := find(code, tag)) is not None]
        if scheme is None or not values or max(scheme.length, values[0].length) > LONGEST:
            return None
        texts = [self._tree.value(node).decode("latin-1").strip(" \0") for node in (scheme, values[0])]
        return self._profile.items.get((texts[0], texts[1]))

    def _note(self, node: Node, new: bytes | None, level: Level, why: str) -> None:
        self._notes.append((node, new, level, why))

    def changes(self) -> tuple[Change, ...]:
        """What became of what, in order. Reads the object again."""
        return tuple(
            Change(
                level.path + name_of(node.tag),
                self._before(node, level),
                None if new is None else _readable(new, node.vr),
                why,
            )
            for node, new, level, why in self._notes
        )

    def _before(self, node: Node, level: Level) -> str:
        if node.tag == ITEM or node.items is not None:
            return "(content item)" if node.tag == ITEM else "(sequence)"
        if (node.vr not in DUMMIES and node.vr != "UI") or node.length > LONGEST:
            return f"({node.vr})"
        return decode(self._tree.original(node), level.charset, node.vr)[:_SHOWN]


def _readable(value: bytes, vr: str) -> str:
    text = vr in DUMMIES or vr == "UI"
    return value[:_SHOWN].decode("utf-8", "replace").rstrip(" \0") if text else f"({vr})"
