"""The new value of an element for an action: UIDs, pseudonyms, dates, clean text, dummies."""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from gateway.dicom.charset import TEXT_VRS, decode, encode, presumed
from gateway.dicom.dictionary import keyword_of
from gateway.dicom.uids import is_registered, is_uid
from gateway.dicom.walk import ITEM
from gateway.edit.deid import dates
from gateway.edit.deid.profile import Profile
from gateway.edit.deid.table import Action
from gateway.edit.deid.text import DUMMIES, MAX_CLEANED, Cleaner
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
MAX_IDENTIFIER_BYTES: Final = 1 << 10
"""Bytes of a name or an identifier."""
_MIME_TYPE: Final = 0x00420012
_DOCUMENT: Final = 0x00420011
_BINARY_DUMMY: Final = {"FD": 8, "FL": 4, "SL": 4, "UL": 4, "SV": 8, "UV": 8, "AT": 4, "OD": 8, "OF": 4, "OL": 4}

# Replaces a PDF: one empty page.
_BLANK_PDF: Final = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n\n"
)


class Mode(Enum):
    """The treatment of elements without a row in the table."""

    KEEP = "keep"
    REPLACE = "replace"
    """All text becomes a dummy (D of a sequence)."""
    REPLACE_CONTENT = "replace content"
    """The values of content items become dummies, their names stay (D of a Content Sequence)."""
    CLEAN = "clean"
    """Text is cleaned (C of a sequence)."""
    STRIP = "strip"
    """Everything is removed: the sequence stays for what is kept in it alone."""


class Level(NamedTuple):
    """The data set or item being treated."""

    mode: Mode
    charset: bytes | None
    path: str


class Values:
    """Makes new values for the elements of one tree. Raises EditError, DataSetError, with the place."""

    def __init__(self, profile: Profile, tree: Tree, cleaner: Cleaner) -> None:
        self._profile = profile
        self._tree = tree
        self._cleaner = cleaner
        self._uids: dict[str, str] = {}
        self.in_utf_8: set[Node] = set()
        """Elements whose new text their character set cannot represent: the whole object must then be in UTF-8."""
        # Without a Patient ID the study stands for the patient: such objects share no patient with others.
        self._patient = text_of(tree, PATIENT_ID) or text_of(tree, STUDY_INSTANCE_UID)
        self._days = profile.keyed.days(self._patient, profile.shift_days)

    def value(self, node: Node, action: Action, level: Level) -> tuple[bytes | None, str]:
        """The new value of an element, None to remove it, and the reason."""
        vr = node.vr
        if action is Action.UID and vr == "UI":
            return self._uid_value(node), "PS3.15 E.1: another UID"
        if node.tag in (PATIENT_ID, PATIENT_NAME, ACCESSION_NUMBER) and action is not Action.KEEP:
            return self.encoded(self._pseudonym(node, level), node, level), "a pseudonym"
        listed = self._profile.pseudonyms.get(node.tag)
        if listed is not None and action is not Action.KEEP:
            return self.encoded(self._listed(node, level, listed), node, level), "a pseudonym of the file"
        if action is Action.SHIFT:
            if vr not in DATES and vr != "SH":  # SH: the offset from UTC, the one row that is not a date
                return self._otherwise(node, level)
            later = dates.moved(self._tree.value(node).decode("latin-1"), vr, self._days)
            return (_padded(later, vr), "PS3.15 E.3.6: moved") if later is not None else self._otherwise(node, level)
        if action is Action.CLEAN:
            return self._cleaned(node, level)
        if action is Action.EMPTY:
            return b"", "PS3.15 E.1: emptied"
        return self._dummy(node, level), "PS3.15 E.1: replaced"

    def _otherwise(self, node: Node, level: Level) -> tuple[bytes | None, str]:
        """The value of the Basic Profile, for one that cannot be parsed or of which nothing remains."""
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
        if node.vr not in TEXT_VRS or node.vr == "PN" or node.length > MAX_CLEANED:
            return self._otherwise(node, level)
        value = self._tree.value(node)
        text = decode(value, presumed(level.charset, value), node.vr)
        cleaned = self._cleaner.clean(text)
        if cleaned == text and "\ufffd" not in text:
            return value, ""
        if not cleaned or "\ufffd" in cleaned:  # unreadable text cannot be called clean
            return self._otherwise(node, level)
        return self.encoded(cleaned, node, level), "PS3.15 E.3.5: cleaned"

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
        """The replacement of `uid`; a UID assigned by PS3.6 or another part of the standard stays."""
        if not uid or is_registered(uid) or (uid.startswith("1.2.840.10008.") and is_uid(uid)):
            return uid
        found = self._uids.get(uid)
        if found is None:
            found = self._uids[uid] = self._profile.keyed.uid(uid)
        return found

    # --- pseudonyms

    def _pseudonym(self, node: Node, level: Level) -> str:
        listed = self._profile.pseudonyms.get(node.tag)
        if listed is not None:
            return self._listed(node, level, listed)
        original = decode(self._tree.value(node), level.charset, node.vr).strip(" \0")
        if node.tag == ACCESSION_NUMBER:
            return self._profile.keyed.pseudonym("AccessionNumber", original)
        # The pseudonym of the name is that of the identifier, since both are shown together.
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
        """Encode a text in the character set of the data set, or in UTF-8 where that is impossible, see `in_utf_8`.

        Raises: EditError for letters outside ASCII in a VR that does not allow them.
        """
        if text.isascii():
            return _padded(text, node.vr)
        if node.vr not in TEXT_VRS:
            raise EditError(f"{level.path}{name_of(node.tag)}: a new value of {node.vr} has letters outside ASCII")
        data = encode(text, level.charset, node.vr)
        if data is None:
            self.in_utf_8.add(node)
            data = text.encode()
        return data + b" " * (len(data) & 1)


def text_of(tree: Tree, tag: int) -> str:
    """The current text of an attribute of the data set itself; '' when absent."""
    node = find(tree.nodes, tag)
    if node is None or node.items is not None or node.length > MAX_IDENTIFIER_BYTES:
        return ""
    value = tree.value(node)
    if node.vr in ("US", "UL"):
        return str(int.from_bytes(value, "big" if node.within.big_endian else "little"))
    charset = find(tree.nodes, CHARSET)
    return decode(value, tree.value(charset) if charset is not None else None, node.vr).strip(" \0")


def name_of(tag: int) -> str:
    """The name of a tag in paths."""
    return keyword_of(tag) or ("Item" if tag == ITEM else f"({tag >> 16:04X},{tag & 0xFFFF:04X})")


def _padded(text: str, vr: str) -> bytes:
    data = text.encode("ascii")
    return data + (b"\0" if vr == "UI" else b" ") * (len(data) & 1)
