"""Specific Character Set (0008,0005): text values to Unicode (PS3.5 §6.1, PS3.3 §C.12.1.1.2). Decoding only.

Nothing here raises on bad bytes: they become U+FFFD, so that one wrong letter hides no study.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

TEXT_VRS: Final = frozenset({"SH", "LO", "ST", "PN", "LT", "UC", "UT"})
"""VRs that Specific Character Set affects (PS3.5 §6.1.2.3); all others are in the default repertoire."""
SINGLE_VALUED: Final = frozenset({"ST", "LT", "UT", "UR"})
"""VRs in which a backslash is a letter like any other (PS3.5 Table 6.2-1)."""

_NO_LEADING_SPACES: Final = frozenset({"AE", "CS", "DS", "IS", "UI"})
_ESC: Final = 0x1B
_DEFAULT: Final = "latin_1"
"""For the default repertoire: what is outside ASCII is an error there, and most often Latin-1 by intent."""

# Terms by their registration number, as PS3.3 Tables C.12-2 to C.12-5 have them. Writers vary the rest of the term.
_BY_NUMBER: Final = {
    6: "latin_1",
    13: "shift_jis",  # a superset of JIS X 0201
    58: "gb2312",
    87: "iso2022_jp",
    100: "latin_1",
    101: "iso8859_2",
    109: "iso8859_3",
    110: "iso8859_4",
    126: "iso8859_7",
    127: "iso8859_6",
    138: "iso8859_8",
    144: "iso8859_5",
    148: "iso8859_9",
    149: "euc_kr",
    159: "iso2022_jp_2",
    166: "iso8859_11",
    192: "utf_8",
    203: "iso8859_15",
}
_BY_NAME: Final = {"GB18030": "gb18030", "GBK": "gbk", "ISO 2022 GBK": "gbk", "UTF8": "utf_8", "UTF-8": "utf_8"}
_STAND_ALONE: Final = frozenset({"utf_8", "gb18030", "gbk"})
"""Sets without code extensions (PS3.5 §6.1.2.5.4 d)."""

_WITHOUT_ESCAPES: Final = frozenset({"gb2312", "euc_kr"})
"""Sets of two bytes in G1, which are known for what they are even where they are not designated."""

# Escape sequences that designate G1, to a codec for its bytes beside ASCII in G0 (PS3.3 Tables C.12-3, C.12-4).
_G1: Final = {
    b"-A": "latin_1",
    b"-B": "iso8859_2",
    b"-C": "iso8859_3",
    b"-D": "iso8859_4",
    b"-F": "iso8859_7",
    b"-G": "iso8859_6",
    b"-H": "iso8859_8",
    b"-L": "iso8859_5",
    b"-M": "iso8859_9",
    b"-T": "iso8859_11",
    b"-b": "iso8859_15",
    b")I": "shift_jis",
    b"$)C": "euc_kr",
    b"$)A": "gb2312",
}
# Those that designate a two-byte G0, to a codec that takes them with their escape sequence.
_G0: Final = {b"$B": "iso2022_jp", b"$@": "iso2022_jp", b"$(D": "iso2022_jp_2", b"$(B": "iso2022_jp"}
_ESCAPES: Final = re.compile(rb"\x1b(\$?[()\-,.]?[@-~])")
_HALVES: Final = re.compile(rb"[\x00-\x7f]+|[\x80-\xff]+")
"""Bytes that G0 means, and bytes that G1 means."""

# What brings the initial designations back (PS3.5 §6.1.2.5.3).
_RESETS: Final = {
    "PN": re.compile(rb"[\\\r\n\t\f^=]"),
    "": re.compile(rb"[\\\r\n\t\f]"),
}


@dataclass(frozen=True, slots=True)
class CharacterSet:
    """A value of (0008,0005), understood."""

    codec: str
    """Python's name of what is designated at the start of every value."""
    extensible: bool
    """Whether escape sequences may change it."""


@lru_cache(256)
def character_set(terms: bytes | str | None) -> CharacterSet:
    """Understand a value of Specific Character Set, whole or None where the element is absent.

    An unknown or misspelt term falls back to the default repertoire.
    """
    text = terms.decode("ascii", "replace") if isinstance(terms, bytes) else terms or ""
    first, *others = text.split("\\")
    codec = _codec(first)
    if others and codec == _DEFAULT and "100" not in first:
        # Some writers, pydicom among them, leave out the escape sequence that designates G1 (PS3.5 §6.1.2.5.3).
        codec = next((each for each in map(_codec, others) if each in _WITHOUT_ESCAPES), codec)
    return CharacterSet(codec, codec not in _STAND_ALONE)


def _codec(term: str) -> str:
    term = term.strip(" \0").upper()
    if term in _BY_NAME:
        return _BY_NAME[term]
    number = re.fullmatch(r"ISO[ _-]?(?:2022[ _-])?(?:IR[ _-]?)?(\d{1,3})", term)
    return _BY_NUMBER.get(int(number[1]), _DEFAULT) if number else _DEFAULT


def decode(value: bytes | memoryview, specific_character_set: bytes | str | None, vr: str) -> str:
    """The text of a value field: all its values, without the padding at the end.

    `specific_character_set` is the value field of (0008,0005) of the data set or item, None where it has none.
    """
    if type(value) is not bytes:
        value = bytes(value)
    if value.isascii() and _ESC not in value:
        return value.decode("ascii").rstrip(" \0")
    if vr not in TEXT_VRS:
        return value.decode(_DEFAULT).rstrip(" \0")
    charset = character_set(specific_character_set)
    if charset.extensible and _ESC in value:
        text = _decode_extended(value, charset.codec, _RESETS.get(vr, _RESETS[""]))
    else:
        text = value.decode(charset.codec, "replace")
    return text.rstrip(" \0")


def decode_values(value: bytes | memoryview, specific_character_set: bytes | str | None, vr: str) -> list[str]:
    """The values of a value field, each without the padding that PS3.5 Table 6.2-1 calls insignificant.

    Text is decoded before it is split: in GB 18030 and JIS X 0208 the byte of a backslash is half of other letters.
    """
    text = decode(value, specific_character_set, vr)
    if vr in _NO_LEADING_SPACES:
        if "\\" not in text:
            return [text.lstrip(" ")]
        return [part.strip(" \0") for part in text.split("\\")]
    if "\\" not in text or vr in SINGLE_VALUED:
        return [text]
    return [part.rstrip(" \0") for part in text.split("\\")]


def _decode_extended(value: bytes, initial: str, resets: re.Pattern[bytes]) -> str:
    """ISO 2022 with the designations that DICOM allows: G0 is ASCII or a two-byte set, G1 anything."""
    pieces = []
    g0: tuple[bytes, str] | None = None
    g1 = initial
    position = 0
    while position < len(value):
        escape = value.find(_ESC, position)
        part = value[position:] if escape < 0 else value[position:escape]
        if g0 is not None:
            for run in _HALVES.findall(part):
                half = (b"\x1b" + g0[0] + run, g0[1]) if run[0] < 0x80 else (run, g1)
                pieces.append(half[0].decode(half[1], "replace"))
        elif part:
            reset = resets.search(part)
            cut = reset.end() if reset else len(part)
            pieces.append(part[:cut].decode(g1, "replace"))
            if reset:
                g1 = initial
                pieces.append(part[cut:].decode(g1, "replace"))
        if escape < 0:
            break
        match = _ESCAPES.match(value, escape)
        if match is None:
            pieces.append("\ufffd")
            position = escape + 1
            continue
        code = match[1]
        position = match.end()
        if code in _G1:
            g1 = _G1[code]
        elif code in _G0:
            g0 = (code, _G0[code])
        else:
            g0 = None  # ESC ( B and ESC ( J: ASCII, or JIS Romaji, which differs in two signs only
    return "".join(pieces)
