"""What is put in the place of a value, by what is to be done to it: UIDs, pseudonyms, dates, clean text, dummies."""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from gateway.dicom.charset import TEXT_VRS, character_set, decode
from gateway.dicom.dictionary import keyword_of
from gateway.dicom.uids import is_registered, is_uid
from gateway.dicom.walk import ITEM
from gateway.edit.deid import dates
from gateway.edit.deid.profile import Profile
from gateway.edit.deid.table import Action
from gateway.edit.deid.text import DUMMIES, Cleaner
from gateway.edit.tree import Node, Tree, find
from gateway.errors import EditError

CHARSET: Final = 0x00080005
ACCESSION_NUMBER: Final = 0x00080050
PATIENT_NAME: Final = 0x00100010
PATIENT_ID: Final = 0x00100020
STUDY_INSTANCE_UID: Final = 0x0020000D
SCHEME: Final = 0x00080102
"""Coding Scheme Designator."""
GRAPHIC_DATA: Final = 0x00700022
DATES: Final = frozenset(("DA", "DT", "TM"))
LONGEST: Final = 1 << 10
"""Bytes of a value that is a name or an identifier."""
_MIME_TYPE: Final = 0x00420012
_DOCUMENT: Final = 0x00420011
_BINARY_DUMMY: Final = {"FD": 8, "FL": 4, "SL": 4, "UL": 4, "SV": 8, "UV": 8, "AT": 4, "OD": 8, "OF": 4, "OL": 4}

# What is there instead of a PDF: a page with nothing on it.
_BLANK_PDF: Final = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n\n"
)


class Mode(Enum):
    """How elements are treated for which the table has no row."""

    KEEP = "keep"
    REPLACE = "replace"
    """All text becomes a dummy (D of a sequence)."""
    REPLACE_CONTENT = "replace content"
    """The values of content items become dummies, their names stay (D of a Content Sequence)."""
    CLEAN = "clean"
    """Text is cleaned (C of a sequence)."""


class Level(NamedTuple):
    """The data set or item that is treated."""

    mode: Mode
    charset: bytes | None
    path: str


class Values:
    """For the elements of one tree, whose free text `cleaner` cleans. EditError and DataSetError name the place."""

    def __init__(self, profile: Profile, tree: Tree, cleaner: Cleaner) -> None:
        self._profile = profile
        self._tree = tree
        self._cleaner = cleaner
        self._uids: dict[str, str] = {}
        # An object without Patient ID belongs to nobody else's: its study stands for the patient.
        self._patient = text_of(tree, PATIENT_ID) or text_of(tree, STUDY_INSTANCE_UID)
        self._days = profile.keyed.days(self._patient, profile.shift_days)

    def value(self, node: Node, action: Action, level: Level) -> tuple[bytes | None, str]:
        """The new value, None for none, and why."""
        vr = node.vr
        if action is Action.UID and vr == "UI":
            return self._uid_value(node), "PS3.15 E.1: another UID"
        if node.tag in (PATIENT_ID, PATIENT_NAME, ACCESSION_NUMBER) and action is not Action.KEEP:
            return self.encoded(self._pseudonym(node, level), node, level), "a pseudonym"
        listed = self._profile.pseudonyms.get(node.tag)
        if listed is not None and action is not Action.KEEP:
            return self.encoded(self._listed(node, level, listed), node, level), "a pseudonym of the file"
        if action is Action.SHIFT:
            if vr not in DATES and vr != "SH":  # of the rows that are no dates the offset from UTC belongs to them
                return self._otherwise(node, level)
            later = dates.moved(self._tree.value(node).decode("latin-1"), vr, self._days)
            return (_padded(later, vr), "PS3.15 E.3.6: moved") if later is not None else self._otherwise(node, level)
        if action is Action.CLEAN:
            return self._cleaned(node, level)
        if action is Action.EMPTY:
            return b"", "PS3.15 E.1: emptied"
        return self._dummy(node, level), "PS3.15 E.1: replaced"

    def _otherwise(self, node: Node, level: Level) -> tuple[bytes | None, str]:
        """What the Basic Profile says: nothing is left of the value, or it is not understood."""
        basic = self._profile.basic.get(node.tag, Action.REMOVE if level.mode is Mode.KEEP else Action.DUMMY)
        if basic is Action.REMOVE:
            return None, "PS3.15 E.1: removed"
        if basic is Action.EMPTY:
            return b"", "PS3.15 E.1: emptied"
        return self._dummy(node, level), "PS3.15 E.1: replaced"

    def _cleaned(self, node: Node, level: Level) -> tuple[bytes | None, str]:
        if node.vr == "AE":
            text = self._profile.keyed.pseudonym("AE", decode(self._tree.value(node), None, "AE").strip())
            return _padded(text, "AE"), "PS3.15 E.3.8: another name"
        if node.vr not in TEXT_VRS or node.vr == "PN":
            return self._otherwise(node, level)
        text = decode(self._tree.value(node), level.charset, node.vr)
        left = self._cleaner.clean(text)
        if left == text:
            return self._tree.value(node), ""
        if not left:
            return self._otherwise(node, level)
        return self.encoded(left, node, level), "PS3.15 E.3.5: cleaned"

    def _dummy(self, node: Node, level: Level) -> bytes:
        vr, tag = node.vr, node.tag
        if vr == "UI":
            return self._uid_value(node)
        if tag == _DOCUMENT:
            is_pdf = text_of(self._tree, _MIME_TYPE) == "application/pdf"
            return _BLANK_PDF + b"\n" * (len(_BLANK_PDF) & 1) if is_pdf else b"\0\0"
        if tag == GRAPHIC_DATA:
            return bytes(node.length)
        if tag == SCHEME:
            return b"99REMOVED "
        if vr in DUMMIES:
            return _padded(DUMMIES[vr], vr)
        return bytes(_BINARY_DUMMY.get(vr, 2))

    def _uid_value(self, node: Node) -> bytes:
        uids = self._tree.value(node).decode("latin-1").split("\\")
        return _padded("\\".join([self._uid(uid.strip(" \0")) for uid in uids]), "UI")

    def _uid(self, uid: str) -> str:
        """The one that stands for `uid`; those that PS3.6 or another part of the standard assigns stay."""
        if not uid or is_registered(uid) or (uid.startswith("1.2.840.10008.") and is_uid(uid)):
            return uid
        found = self._uids.get(uid)
        if found is None:
            found = self._uids[uid] = self._profile.keyed.uid(uid)
        return found

    # Pseudonyms.

    def _pseudonym(self, node: Node, level: Level) -> str:
        listed = self._profile.pseudonyms.get(node.tag)
        if listed is not None:
            return self._listed(node, level, listed)
        original = decode(self._tree.value(node), level.charset, node.vr).strip(" \0")
        if node.tag == ACCESSION_NUMBER:
            return self._profile.keyed.pseudonym("AccessionNumber", original)
        # A name goes with the identifier: who looks at the objects sees both.
        patient = original if node.tag == PATIENT_ID else self._patient
        by_id = self._profile.pseudonyms.get(PATIENT_ID)
        if node.tag == PATIENT_NAME and by_id is not None:
            return by_id.get(patient) or self._by_key(PATIENT_ID, "", patient)
        return self._profile.keyed.pseudonym("PatientID", patient)

    def _listed(self, node: Node, level: Level, listed: dict[str, str]) -> str:
        original = decode(self._tree.value(node), level.charset, node.vr).strip(" \0")
        return listed.get(original) or self._by_key(node.tag, level.path, original)

    def _by_key(self, tag: int, path: str, original: str) -> str:
        if not self._profile.unlisted_by_key:
            raise EditError(
                f"{path}{name_of(tag)}: its value is not among the pseudonyms of the file; add it, or set "
                'unlisted = "key"'
            )
        return self._profile.keyed.pseudonym(keyword_of(tag), original)

    def encoded(self, text: str, node: Node, level: Level) -> bytes:
        """In the character set of the data set. EditError where that cannot say it."""
        if text.isascii():
            return _padded(text, node.vr)
        try:
            data = text.encode(character_set(level.charset).codec)
        except UnicodeEncodeError:
            raise EditError(
                f"{level.path}{name_of(node.tag)}: the new value has letters that the object's Specific Character Set "
                f"{(level.charset or b'').decode('ascii', 'replace')!r} does not have"
            ) from None
        return data + b" " * (len(data) & 1)


def text_of(tree: Tree, tag: int) -> str:
    """Of an attribute of the data set itself, as it stands now; '' where it is not there."""
    node = find(tree.nodes, tag)
    if node is None or node.items is not None or node.length > LONGEST:
        return ""
    value = tree.value(node)
    if node.vr in ("US", "UL"):
        return str(int.from_bytes(value, "big" if node.within.big_endian else "little"))
    charset = find(tree.nodes, CHARSET)
    return decode(value, tree.value(charset) if charset is not None else None, node.vr).strip(" \0")


def name_of(tag: int) -> str:
    """As paths have it."""
    return keyword_of(tag) or ("Item" if tag == ITEM else f"({tag >> 16:04X},{tag & 0xFFFF:04X})")


def _padded(text: str, vr: str) -> bytes:
    data = text.encode("ascii")
    return data + (b"\0" if vr == "UI" else b" ") * (len(data) & 1)
