"""Specific Character Set (0008,0005): text values to Unicode, and back (PS3.5 §6.1, PS3.3 §C.12.1.1.2).

Bad bytes never raise: they become U+FFFD, so that one wrong letter hides no study. What to do with a data
set whose character set cannot encode a new text is the writer's decision.
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
"""For the default repertoire: bytes outside ASCII are an error there, and most often meant as Latin-1."""

# Terms by registration number, as in PS3.3 Tables C.12-2 to C.12-5. Writers vary the rest of the term.
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
_NUMBER: Final = re.compile(r"ISO[ _-]?(2022[ _-])?(?:IR[ _-]?)?(\d{1,3})")
_BY_NAME: Final = {"GB18030": "gb18030", "GBK": "gbk", "ISO 2022 GBK": "gbk", "UTF8": "utf_8", "UTF-8": "utf_8"}
_STAND_ALONE: Final = frozenset({"utf_8", "gb18030", "gbk"})
"""Sets without code extensions (PS3.5 §6.1.2.5.4 d)."""

_WITHOUT_ESCAPES: Final = frozenset({"gb2312", "euc_kr"})
"""Sets of two bytes in G1 that are recognized even without designation."""

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
# Escape sequences that designate a two-byte G0, to a codec that decodes text with its escape sequence.
_G0: Final = {b"$B": "iso2022_jp", b"$@": "iso2022_jp", b"$(D": "iso2022_jp_2", b"$(B": "iso2022_jp"}
_ESCAPES: Final = re.compile(rb"\x1b(\$?[()\-,.]?[@-~])")
_HALVES: Final = re.compile(rb"[\x00-\x7f]+|[\x80-\xff]+")
"""Runs of bytes of G0, and of G1."""

# Characters that restore the initial designations (PS3.5 §6.1.2.5.3).
_RESETS: Final = {
    "PN": re.compile(rb"[\\\r\n\t\f^=]"),
    "": re.compile(rb"[\\\r\n\t\f]"),
}


@dataclass(frozen=True, slots=True)
class CharacterSet:
    """A parsed value of (0008,0005)."""

    codec: str
    """Python's name of the codec designated at the start of every value."""
    extensible: bool
    """Whether escape sequences may change the codec."""


@lru_cache(256)
def character_set(terms: bytes | str | None) -> CharacterSet:
    """Parse a value of Specific Character Set, whole or None where the element is absent.

    An unknown or misspelt term falls back to the default repertoire.
    """
    text = terms.decode("ascii", "replace") if isinstance(terms, bytes) else terms or ""
    first, *others = text.split("\\")
    codec = _codec(first)
    if others and codec == _DEFAULT and "100" not in first:
        # Some writers, pydicom among them, leave out the escape sequence that designates G1 (PS3.5 §6.1.2.5.3).
        codec = next((each for each in map(_codec, others) if each in _WITHOUT_ESCAPES), codec)
    return CharacterSet(codec, codec not in _STAND_ALONE)


def is_known(term: str) -> bool:
    """Whether a text is one defined term of Specific Character Set, in any of the spellings of writers."""
    term = term.strip(" \0").upper()
    number = _NUMBER.fullmatch(term)
    return term in _BY_NAME or (number is not None and int(number[2]) in _BY_NUMBER)


def _codec(term: str) -> str:
    term = term.strip(" \0").upper()
    if term in _BY_NAME:
        return _BY_NAME[term]
    number = _NUMBER.fullmatch(term)
    return _BY_NUMBER.get(int(number[2]), _DEFAULT) if number else _DEFAULT


def presumed(specific_character_set: bytes | None, value: bytes) -> bytes | None:
    """The character set in which to read `value`: UTF-8 if none is named and the bytes are valid."""
    if (specific_character_set and specific_character_set.strip(b" \0")) or value.isascii():
        return specific_character_set
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return specific_character_set
    return b"ISO_IR 192"


def decode(value: bytes | memoryview, specific_character_set: bytes | str | None, vr: str) -> str:
    """The text of a value field: all its values, without the padding at the end.

    `specific_character_set` is the value field of (0008,0005) of the data set or item, None where it is absent.
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

    Text is decoded before it is split: in GB 18030 and JIS X 0208 the byte of a backslash may be half of a letter.
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
    """Decode ISO 2022 with the designations that DICOM allows: G0 is ASCII or a two-byte set, G1 any set."""
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


# Encoding. Escape sequences by the registration number of their set (PS3.3 Tables C.12-3, C.12-4).
_DESIGNATIONS: Final = {
    13: b"\x1b)I",
    58: b"\x1b$)A",
    87: b"\x1b$B",
    100: b"\x1b-A",
    101: b"\x1b-B",
    109: b"\x1b-C",
    110: b"\x1b-D",
    126: b"\x1b-F",
    127: b"\x1b-G",
    138: b"\x1b-H",
    144: b"\x1b-L",
    148: b"\x1b-M",
    149: b"\x1b$)C",
    159: b"\x1b$(D",
    166: b"\x1b-T",
    203: b"\x1b-b",
}
_TWO_BYTE_G0: Final = frozenset({87, 159})
_TWO_BYTE: Final = _TWO_BYTE_G0 | {58, 149}
_ASCII, _ROMAJI = b"\x1b(B", b"\x1b(J"
_DELIMITERS: Final = {"PN": "\\^="}
"""Letters before which the set of value 1 must be active, as before all control characters (PS3.5 §6.1.2.5.3)."""


def encode(text: str, specific_character_set: bytes | str | None, vr: str) -> bytes | None:
    """Encode `text`, all its values, without padding; None where the character set cannot encode it.

    With code extensions the bytes contain escape sequences, and the set of value 1 is active again before
    each delimiter and at the end (PS3.5 §6.1.2.5.3). Letters outside ASCII cannot be encoded without a character set,
    nor in VRs that it does not affect, nor in the first group of a name if they need escape sequences, which are
    allowed in its other groups only (§6.2.1; DCMTK warns). `decode` returns `text` again.
    """
    if text.isascii() and "\x1b" not in text:
        return text.encode("ascii")
    if vr not in TEXT_VRS:
        return None
    initial, others = _designated(specific_character_set)
    if isinstance(initial, str):
        encoded = _strictly(text, initial)
    elif (initial is None and not others) or (vr == "PN" and not _is_spelled(text, initial)):
        return None
    else:
        encoded = _encode_extended(text, initial, others, _DELIMITERS.get(vr, "\\"))
    if encoded is None or decode(encoded, specific_character_set, vr) != text.rstrip(" \0"):
        return None
    return encoded


@lru_cache(256)
def _designated(terms: bytes | str | None) -> tuple[str | int | None, tuple[int, ...]]:
    """A codec for a set without code extensions; else the registration number of the initial G1 or None, and those of
    the sets that can be designated."""
    text = terms.decode("ascii", "replace") if isinstance(terms, bytes) else terms or ""
    names = [term.strip(" \0").upper() for term in text.split("\\")]
    if names[0] in _BY_NAME:
        return _BY_NAME[names[0]], ()
    parsed = [_NUMBER.fullmatch(name) for name in names]
    numbers = [int(match[2]) if match else 0 for match in parsed]
    first = numbers[0]
    if first == 192:
        return "utf_8", ()
    if len(names) == 1 and parsed[0] and not parsed[0][1] and first in _DESIGNATIONS and first not in _TWO_BYTE | {13}:
        return _BY_NUMBER[first], ()
    others = tuple(number for number in numbers[first not in _TWO_BYTE :] if number in _DESIGNATIONS)
    return first if first in _DESIGNATIONS and first not in _TWO_BYTE else None, others


def _is_spelled(names: str, initial: int | None) -> bool:
    """Whether the first group of each name is in ASCII or the set of value 1."""
    firsts = "".join(name.partition("=")[0] for name in names.split("\\"))
    return firsts.isascii() or (
        initial is not None and all(letter.isascii() or _code(letter, initial) is not None for letter in firsts)
    )


def _strictly(text: str, codec: str) -> bytes | None:
    try:
        return text.encode(codec)
    except UnicodeEncodeError:
        return None


def _encode_extended(text: str, initial: int | None, others: tuple[int, ...], delimiters: str) -> bytes | None:
    to_ascii = _ROMAJI if initial == 13 else _ASCII
    out = bytearray()
    g0: int | None = None
    g1 = initial
    for letter in (*text, ""):
        if not letter or letter < " " or letter in delimiters:
            if letter == "\x1b":
                return None
            if g0 is not None:
                out += to_ascii
            if initial is not None and g1 != initial:
                out += _DESIGNATIONS[initial]
            g0, g1 = None, initial
            out += letter.encode("ascii")
            continue
        if letter < "\x7f":
            if g0 is not None:
                out += to_ascii
                g0 = None
            out += letter.encode("ascii")
            continue
        for number in (g0, g1, initial, *others):
            code = _code(letter, number) if number is not None else None
            if code is not None:
                break
        else:
            return None
        assert number is not None
        assert code is not None
        if number in _TWO_BYTE_G0:
            if g0 != number:
                out += _DESIGNATIONS[number]
                g0 = number
        else:
            if g0 is not None:
                out += to_ascii
                g0 = None
            if g1 != number:
                out += _DESIGNATIONS[number]
                g1 = number
        out += code
    return bytes(out)


@lru_cache(4096)
def _code(letter: str, number: int) -> bytes | None:
    """The code of one letter in the set with a registration number, without escape sequences."""
    try:
        code = letter.encode(_BY_NUMBER[number])
    except UnicodeEncodeError:
        return None
    if number in _TWO_BYTE_G0:  # The codec knows other sets too, and its escape sequence names the one it chose.
        designation = _DESIGNATIONS[number]
        return code[len(designation) : len(designation) + 2] if code.startswith(designation) else None
    fits = len(code) == (2 if number in _TWO_BYTE else 1) and code[0] >= 0xA0
    return code if fits else None
