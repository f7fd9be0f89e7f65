"""The application of a profile to one object: each element of its tree is retained, emptied, replaced or removed.

An attribute without a row in the table stays, unless nothing is known about it: tags outside the data dictionary, and
person names. `values.py` makes the new values, `marks.py` the statements about them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from gateway.dicom.charset import TEXT_VRS, decode
from gateway.dicom.dictionary import VRS, implicit_vr
from gateway.dicom.encode import BINARY, NUMBERS
from gateway.dicom.validity import fault_of
from gateway.dicom.walk import ITEM, UNDEFINED
from gateway.edit.deid import content
from gateway.edit.deid.kept import KeptNodes, reserved_blocks
from gateway.edit.deid.known import Known, gather
from gateway.edit.deid.profile import Profile
from gateway.edit.deid.table import Action
from gateway.edit.deid.text import DUMMIES, Cleaner
from gateway.edit.deid.values import (
    CHARSET,
    DATES,
    GRAPHIC_DATA,
    MAX_IDENTIFIER_BYTES,
    SCHEME,
    Level,
    Mode,
    Values,
    name_of,
    text_of,
)
from gateway.edit.tree import Node, Tree, find
from gateway.edit.utf_8 import UTF_8, to_utf_8

_CONCEPT_NAME: Final = 0x0040A043
_CONCEPT_CODE: Final = 0x0040A168
_MEASURED: Final = 0x0040A300
_CONTENT_SEQUENCE: Final = 0x0040A730
_CODE_VALUES: Final = (0x00080100, 0x00080119, 0x00080120)
_CODES: Final = frozenset((*_CODE_VALUES, SCHEME, 0x00080103))
"""Attributes of code sequences that are not free text."""
_BYTES: Final = frozenset(("OB", "UN"))
"""VRs whose values may hold anything."""
_REPLACED: Final = (frozenset(DUMMIES) - {"CS", "DS", "IS"}) | _BYTES
"""VRs whose values may identify a person in a sequence to be replaced; the others give structure to the object."""
_FREE_TEXT: Final = TEXT_VRS | {"UR"}
_NO_TEXT: Final = frozenset(NUMBERS) | BINARY | {"AT", "SQ"}
_FORMED: Final = frozenset(("AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI"))
"""VRs whose values have a form that free text has not."""
_ITEM_HEADER: Final = 8
"""Bytes of the tag and length of an item."""
_ITEMS: Final = frozenset((b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00"))
"""The tag of an item, in both byte orders."""
_SHOWN: Final = 64


class Change(NamedTuple):
    """The change of one attribute."""

    path: str
    """Keywords or tags, with the number of the item: `RequestAttributesSequence[0].ScheduledProcedureStepID`."""
    before: str
    after: str | None
    """The new value; None if the attribute was removed."""
    why: str


class Rules:
    """Applies a profile to one tree with `run`. Raises EditError, DataSetError, with the place."""

    def __init__(self, profile: Profile, tree: Tree) -> None:
        self._profile = profile
        self._tree = tree
        self._notes: list[tuple[Node, bytes | None, Level, str]] = []
        """The changes made, described when `changes` is called."""
        charset = find(tree.nodes, CHARSET)
        self._charset = tree.value(charset) if charset is not None else None
        cleans = Action.CLEAN in profile.actions.values()
        known = gather(tree, self._charset, profile.actions) if cleans else Known()
        self._values = Values(profile, tree, Cleaner(known))
        self._kept = KeptNodes(tree, profile.kept_paths) if profile.kept_paths else None

    def text(self, tag: int) -> str:
        """The text of an attribute of the data set itself; '' when absent."""
        return text_of(self._tree, tag)

    def run(self) -> None:
        top = Level(Mode.KEEP, self._charset, "")
        self._treat(self._tree.nodes, top)
        if self._values.in_utf_8:
            to_utf_8(self._tree, self._values.in_utf_8)
            why = "a new value has letters that the character set lacks"
            self._note(find(self._tree.nodes, CHARSET) or self._tree.nodes[0], UTF_8, top, why)

    # --- the walk

    def _treat(self, nodes: list[Node], level: Level) -> bool:
        """Treat the elements of one data set or item; returns whether any changed."""
        actions = self._profile.actions
        known_vr = VRS.get
        mode, changed = level.mode, False
        safe: frozenset[int] | None = None
        kept: list[Node] = []
        for node in nodes:
            tag = node.tag
            if tag == CHARSET:
                level = level._replace(charset=self._tree.value(node))
            action = actions.get(tag)
            if self._kept is not None and self._kept.leads_into(node):
                changed |= self._keep_inside(node, action, level)
                kept.append(node)
                continue
            if self._kept is not None and self._kept.has(node):
                action = Action.KEEP
            elif mode is Mode.STRIP and tag != CHARSET:
                action = Action.REMOVE
            if action is Action.KEEP and node.items is not None:
                action = Action.UID  # its items are treated as everywhere, also inside a replaced sequence
            elif action is None:
                group = tag >> 16
                if not tag & 0xFFFF:
                    changed = True  # a group length, which would be wrong
                    continue
                if group & 1 and self._profile.keep_private and not self._holds_items(node):
                    if node.items is not None:
                        changed |= self._sequence(node, Action.KEEP, level)
                    kept.append(node)
                    continue
                if group & 1 and (self._profile.keep_private or not self._profile.safe_private):
                    self._note(node, None, level, "PS3.15 E.1: removed")
                    changed = True
                    continue
                if group & 1:
                    if safe is None:
                        safe = self._safe_private(nodes)
                    action = self._private(node, safe)
                elif 0x5000 <= group <= 0x50FF or 0x6000 <= group <= 0x60FF:
                    action = self._graphics(tag)
                elif (vr := known_vr(tag)) != node.vr and (_is_unknown(node) or self._is_misplaced(node, vr)):
                    action = Action.REMOVE
                elif vr == "PN" or node.vr == "PN":
                    action = Action.EMPTY
                elif mode is Mode.KEEP:
                    if node.items is None:
                        kept.append(node)
                        continue
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
        """The action for an attribute without a row, inside a sequence that is replaced or cleaned."""
        if level.mode is Mode.REPLACE_CONTENT:
            if node.tag == _MEASURED:
                return Action.EMPTY
            if node.tag == _CONCEPT_NAME or (node.items is not None and node.tag != _CONCEPT_CODE):
                return Action.KEEP
            return Action.DUMMY if node.items is not None or node.vr in _REPLACED else Action.KEEP
        if node.items is not None:
            return Action.KEEP  # in the same mode, see _sequence
        if level.mode is Mode.CLEAN:
            if node.vr in _BYTES or node.vr == "UR":
                return Action.DUMMY
            return Action.CLEAN if node.vr in TEXT_VRS and node.tag not in _CODES else Action.KEEP
        if node.tag == GRAPHIC_DATA or node.vr in _REPLACED:
            return Action.DUMMY
        return Action.UID if node.vr == "UI" else Action.KEEP

    def _graphics(self, tag: int) -> Action:
        """The action for an element of curves and overlays; without their data the rest would be malformed."""
        vr = implicit_vr(tag)
        if "clean-graphics" not in self._profile.options or vr == "UN" or _is_sound(tag):
            return Action.REMOVE
        return Action.CLEAN if vr in TEXT_VRS else Action.KEEP

    def _safe_private(self, nodes: list[Node]) -> frozenset[int]:
        """Tags of the safe private attributes of a data set or item, and of the creators of their blocks."""
        safe = self._profile.safe_private
        if not safe:
            return frozenset()
        creators = reserved_blocks(self._tree, nodes)
        found = set()
        for node in nodes:
            tag = node.tag
            if tag & 0x10000 and (reserved := creators.get(tag & 0xFFFFFF00)) is not None:
                vr = safe.get((reserved[1], tag >> 16, tag & 0xFF))
                # A value that should be a sequence and is not cannot be examined.
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

    def _holds_items(self, node: Node) -> bool:
        """Whether a value that is not read as a sequence begins as one: what is in it cannot be examined."""
        if node.items is not None or not _ITEM_HEADER <= node.length < UNDEFINED:
            return False
        head = Node(node.tag, node.vr, node.start, node.value_start, _ITEM_HEADER, node.within)
        return self._tree.original(head)[:4] in _ITEMS

    def _is_misplaced(self, node: Node, vr: str | None) -> bool:
        """Whether an element is bytes where the data dictionary has text, or free text where it has codes, numbers or
        dates, and its value is none of these."""
        if node.vr in BINARY and node.vr != "UN" and (vr in TEXT_VRS or vr in _FORMED):
            return True
        if vr not in _FORMED or node.vr not in _FREE_TEXT or node.items is not None:
            return False
        if node.length > MAX_IDENTIFIER_BYTES:
            return True
        return bool(fault_of(vr, self._tree.value(node).decode("latin-1").rstrip(" \0")))

    # --- one element

    def _apply(self, node: Node, action: Action, level: Level) -> bool:
        """Apply an action; returns whether the element changed. A removed element counts as changed, with `fresh`
        None."""
        if action is Action.KEEP and node.items is None:
            return False
        if node.items is not None and action is not Action.REMOVE and action is not Action.EMPTY:
            return self._sequence(node, action, level)
        if action is Action.REMOVE:
            self._note(node, None, level, "PS3.15 E.1: removed")
            node.fresh = None
            return True
        if not node.length and not node.items:
            return False  # no content
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

    def _keep_inside(self, node: Node, action: Action | None, level: Level) -> bool:
        """Treat a sequence of which something inside is kept; what would have gone with it goes all the same."""
        goes = action in (Action.REMOVE, Action.EMPTY) or bool(node.tag & 0x10000) or level.mode is Mode.STRIP
        if node.items is None or not goes:
            return node.items is not None and self._sequence(node, action or self._by_mode(node, level), level)
        for number, item in enumerate(node.items):
            self._treat(item, Level(Mode.STRIP, level.charset, f"{level.path}{name_of(node.tag)}[{number}]."))
        node.fresh = b""
        return True

    def _content_item(self, item: list[Node]) -> Action | None:
        name = find(item, _CONCEPT_NAME)
        if name is None or not name.items:
            return None
        code = name.items[0]
        scheme = find(code, SCHEME)
        values = [found for tag in _CODE_VALUES if (found := find(code, tag)) is not None]
        if scheme is None or not values or max(scheme.length, values[0].length) > MAX_IDENTIFIER_BYTES:
            return None
        texts = [self._tree.value(node).decode("latin-1").strip(" \0") for node in (scheme, values[0])]
        return self._profile.items.get((texts[0], texts[1]))

    def _note(self, node: Node, new: bytes | None, level: Level, why: str) -> None:
        self._notes.append((node, new, level, why))

    def changes(self) -> tuple[Change, ...]:
        """Every change, in order. Reads the source again."""
        utf_8 = self._values.in_utf_8
        return tuple(
            Change(
                level.path + name_of(node.tag),
                self._before(node, level),
                None if new is None else _readable(new, node.vr, UTF_8 if node in utf_8 else level.charset),
                why,
            )
            for node, new, level, why in self._notes
        )

    def _before(self, node: Node, level: Level) -> str:
        if node.tag == ITEM or node.items is not None:
            return "(content item)" if node.tag == ITEM else "(sequence)"
        if (node.vr not in DUMMIES and node.vr != "UI") or node.length > MAX_IDENTIFIER_BYTES:
            return f"({node.vr})"
        return decode(self._tree.original(node), level.charset, node.vr)[:_SHOWN]


def _readable(value: bytes, vr: str, charset: bytes | None) -> str:
    return decode(value[:MAX_IDENTIFIER_BYTES], charset, vr)[:_SHOWN] if vr in DUMMIES or vr == "UI" else f"({vr})"


def _is_unknown(node: Node) -> bool:
    """Whether nothing is known about an attribute: a tag outside the data dictionary, or text where it has another
    VR."""
    vr = implicit_vr(node.tag)
    return vr == "UN" or (vr in _NO_TEXT and node.vr in _FREE_TEXT)


def _is_sound(tag: int) -> bool:
    """Whether a tag is the audio of a curve (retired, PS3.3-2004 C.10.3): a voice may identify a person."""
    return tag >> 24 == 0x50 and 0x2000 <= tag & 0xFFFF <= 0x200E
