"""Encoding the DICOM JSON Model (PS3.18 Annex F) from the bytes of a data set. Decoding JSON is not here.

Where Annex F leaves a choice: IS and DS are numbers if that loses nothing, else strings (F.2.3),
and DS have the digits as stored;
SV and UV past 2^53 are strings, for the sake of JavaScript; FL and FD with NaN or an infinity, for which JSON has
no number, are bulk data. Specific Character Set is always ISO_IR 192, since all text is UTF-8. A value that does
not fit its VR (3 bytes of US) becomes UN, unchanged.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterable
from decimal import Decimal
from math import isfinite
from struct import unpack
from typing import Any, Final

import msgspec

from gateway.dicom.charset import decode_values
from gateway.dicom.elements import Element
from gateway.dicom.recode import WORD_SIZES, swapped
from gateway.dicom.source import Inflater, Read, Window
from gateway.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, Syntax, transfer_syntax
from gateway.dicom.walk import PIXEL_DATA, Event, Kind, walk, walk_items
from gateway.errors import TruncatedDataSet

BULK_THRESHOLD: Final = 1024
"""Bytes past which a binary value becomes bulk data."""
NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Errors of `msgspec.json.decode` for bytes that are no JSON of the requested type: invalid UTF-8 and unbounded
nesting have errors of their own."""
MAX_INLINE_BYTES: Final = 64 << 10
"""Bytes past which text and numbers too become bulk data."""
INFLATE_LIMIT: Final = 4 << 30
"""Bytes to which a deflated data set may inflate. Memory is flat, so this bounds time."""

_BINARY: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_BULK_VRS: Final = _BINARY | {"DS", "FL", "FD", "IS", "LT", "SL", "SS", "ST", "SV", "UC", "UL", "US", "UT", "UV"}
"""VRs for which PS3.18 F.2.2 allows BulkDataURI."""
_PIXELS: Final = frozenset({PIXEL_DATA, 0x7FE00008, 0x7FE00009})
CHARSET: Final = 0x00080005
_STRINGS: Final = frozenset({"AE", "AS", "CS", "DA", "DT", "LO", "LT", "SH", "ST", "TM", "UC", "UI", "UR", "UT"})
"""VRs whose values are JSON strings unchanged; IS, DS and PN are text too, but are converted."""
_NUMBERS: Final = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
MAX_DS_LENGTH: Final = 16
"""Characters of a DS (PS3.5 Table 6.2-1)."""
LITERAL: Final = re.compile(r"(?!-0\Z)-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
"""Numbers of JSON (RFC 8259 §6); many readers take -0 for an integer, whose sign is lost."""
_MAX_SAFE_INTEGER: Final = (1 << 53) - 1
PERSON_NAME_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")

# Looking up a member of the Enum takes longer than all else that is done with it.
_ELEMENT, _FRAGMENTS, _SEQUENCE, _ITEM, _ITEM_END, _ = Kind

_encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode
Json = dict[str, Any]


class DecimalText(float):
    """A number of JSON with its text: in a DS, which is text, 1.000 is not 1.0."""

    __slots__ = ("text",)

    def __new__(cls, text: str) -> DecimalText:
        number = super().__new__(cls, text)
        number.text = text
        return number

    text: str


def _as_written(value: Any) -> msgspec.Raw:
    if not isinstance(value, DecimalText):
        raise TypeError(f"{type(value).__name__} cannot be encoded as JSON")
    return msgspec.Raw(value.text)


decode_model: Final = msgspec.json.Decoder(float_hook=DecimalText).decode
"""Parses JSON to numbers with their text. Raises: msgspec.DecodeError."""
encode_model: Final = msgspec.json.Encoder(enc_hook=_as_written).encode
"""Encodes JSON, with numbers by their text."""


class _NotFinite(ValueError):
    """A number that JSON cannot express."""


def encode_element(element: Element, charset: bytes | str | None) -> bytes:
    """The attribute object of one picked element: `{"vr":"PN","Value":[...]}`.

    `charset` is the value of (0008,0005) in its data set, None where absent. Binary values are inline at any
    size; a number that is not finite becomes null. Raises: DataSetError if the items of a sequence are malformed.
    """
    return _encode(_element(element, charset))


def encode_elements(elements: dict[int, Element], charset: bytes | str | None) -> bytes:
    """The object of picked elements, in tag order, without group lengths (PS3.18 F.2.2)."""
    return _encode({f"{tag:08X}": _element(elements[tag], charset) for tag in sorted(elements) if tag & 0xFFFF})


def encode_data_set(
    read: Read,
    start: int,
    end: int,
    transfer_syntax_uid: str,
    *,
    bulk_data_uri: Callable[[str], str],
    bulk_threshold: int = BULK_THRESHOLD,
    inflate_limit: int = INFLATE_LIMIT,
) -> bytes:
    """The object of the whole data set that `read` reads from `start` to `end`.

    Binary values of more than `bulk_threshold` bytes, text and numbers of more than MAX_INLINE_BYTES and pixel data of
    any size become a BulkDataURI and are never read; `bulk_data_uri` is called with the path of the element:
    `7FE00010`, or `00880200/0/7FE00010` in the first item of a sequence. Deflated data sets are inflated while reading.

    Raises: DataSetError and TruncatedDataSet as `walk`, the latter not if only pixel data is truncated.
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    if syntax.deflated:
        window = Window(Inflater(read, start, end, inflate_limit), 0, None)
        events = walk(window, 0, EXPLICIT_VR_LITTLE_ENDIAN)
    else:
        window = Window(read, start, end)
        events = walk(window, start, syntax)
    return _encode(_Writer(window, bulk_data_uri, bulk_threshold).object(events, None))


def is_bulk(kind: Kind, tag: int, vr: str, length: int, threshold: int = BULK_THRESHOLD) -> bool:
    """Whether a value becomes a BulkDataURI for its kind and length; numbers that are not finite become one too."""
    return kind is _FRAGMENTS or tag in _PIXELS or length > (threshold if vr in _BINARY else MAX_INLINE_BYTES)


class _Writer:
    """Turns the events of one data set into its object; finished items are stored as JSON text, which is compact."""

    def __init__(self, window: Window, uri: Callable[[str], str] | None, threshold: int) -> None:
        self._window = window
        self._uri = uri
        self._threshold = threshold

    def object(self, events: Iterable[Event], charset: bytes | str | None) -> Json:
        """The object of a data set. `charset` is inherited if the data set has none."""
        return self._build(events, charset)[0]

    def items(self, events: Iterable[Event], charset: bytes | str | None) -> list[Any]:
        """The items of a sequence from its events."""
        return self._build(events, charset)[1]

    def _build(self, events: Iterable[Event], charset: bytes | str | None) -> tuple[Json, list[Any]]:
        members: Json = {}
        items: list[Any] = []
        last = -1
        # The enclosing containers: each sequence with its items, and the data set around it.
        sequences: list[tuple[str, list[Any]]] = []
        outer: list[tuple[Json, int, bytes | str | None]] = []
        path: list[str] = []
        try:
            for event in events:
                kind, tag, _vr, _start, value_start, length, _syntax = event
                if kind is _ELEMENT or kind is _FRAGMENTS:
                    if tag & 0xFFFF == 0:
                        continue  # Group Length shall not be included (F.2.2)
                    key = f"{tag:08X}"
                    if tag <= last:
                        members.pop(key, None)
                        last = 1 << 32  # out of order: sort when done
                    else:
                        last = tag
                    if tag == CHARSET and length <= MAX_INLINE_BYTES:
                        charset = self._window.read(value_start, length)
                    members[key] = self._attribute(event, charset, path, key)
                elif kind is _SEQUENCE:
                    key = f"{tag:08X}"
                    if tag <= last:
                        members.pop(key, None)
                        last = 1 << 32
                    else:
                        last = tag
                    sequences.append((key, items))
                    items = []
                    path.append(key)
                elif kind is _ITEM:
                    outer.append((members, last, charset))
                    path.append(str(len(items)))
                    members, last = {}, -1
                elif kind is _ITEM_END:
                    items.append(msgspec.Raw(_encode(_in_order(members, last))))
                    members, last, charset = outer.pop()
                    path.pop()
                else:
                    value: Json = {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
                    key, items = sequences.pop()
                    members[key] = value
                    path.pop()
        except TruncatedDataSet:
            if outer or sequences or "7FE00010" not in members:
                raise
        return _in_order(members, last), items

    def _attribute(self, event: Event, charset: bytes | str | None, path: list[str], key: str) -> Json:
        kind, tag, vr, _start, value_start, length, syntax = event
        if length == 0:
            return {"vr": vr}
        if self._uri is not None and is_bulk(kind, tag, vr, length, self._threshold):
            if vr not in _BULK_VRS:
                vr = "UN"  # longer than any value of its VR may be (PS3.5 §6.2.2)
            return {"vr": vr, "BulkDataURI": self._uri("/".join([*path, key]))}
        value = self._window.read(value_start, length)
        try:
            return _value(tag, vr, value, charset, syntax)
        except _NotFinite:
            if self._uri is not None:
                return {"vr": vr, "BulkDataURI": self._uri("/".join([*path, key]))}
            return {"vr": vr, "Value": _finite_numbers(vr, value, syntax)}


def _in_order(members: Json, last: int) -> Json:
    """Sort members if needed (F.2.2: 'shall be ordered by their property name')."""
    return dict(sorted(members.items())) if last > 0xFFFFFFFF else members


def _element(element: Element, charset: bytes | str | None) -> Json:
    tag, vr, value, _start, _value_start, length, _undefined, syntax = element
    if length == 0:
        return {"vr": vr}
    if vr == "SQ":
        items = _Writer(Window.over(value), None, 0).items(walk_items(value, syntax), charset)
        return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
    try:
        return _value(tag, vr, value, charset, syntax)
    except _NotFinite:
        return {"vr": vr, "Value": _finite_numbers(vr, value, syntax)}


def _value(tag: int, vr: str, value: bytes, charset: bytes | str | None, syntax: Syntax) -> Json:
    """The attribute object of a value that is neither empty nor a sequence."""
    if vr in _STRINGS:
        if tag == CHARSET:
            return {"vr": "CS", "Value": ["ISO_IR 192"]}
        texts = decode_values(value, charset, vr)
        if len(texts) == 1:
            return {"vr": vr, "Value": texts} if texts[0] else {"vr": vr}  # padding alone
        return {"vr": vr, "Value": [text or None for text in texts]}
    if vr in _BINARY:
        if syntax.big_endian and vr in WORD_SIZES:
            value = swapped(value, WORD_SIZES[vr])
        return {"vr": vr, "InlineBinary": b64encode(value).decode("ascii")}
    if vr in _NUMBERS:
        code = _NUMBERS[vr]
        size = WORD_SIZES[vr]
        if len(value) % size:
            return {"vr": "UN", "InlineBinary": b64encode(value).decode("ascii")}
        numbers: list[Any] = list(unpack(f"{'>' if syntax.big_endian else '<'}{len(value) // size}{code}", value))
        if size == 8 and code in "Qq":
            numbers = [safe_integer(number) for number in numbers]
        elif code in "fd" and not all(map(isfinite, numbers)):
            raise _NotFinite(vr)
        return {"vr": vr, "Value": numbers}
    if vr == "AT":
        if len(value) % 4:
            return {"vr": "UN", "InlineBinary": b64encode(value).decode("ascii")}
        words = unpack(f"{'>' if syntax.big_endian else '<'}{len(value) // 2}H", value)
        return {"vr": vr, "Value": [f"{words[i]:04X}{words[i + 1]:04X}" for i in range(0, len(words), 2)]}
    texts = decode_values(value, charset, vr)
    if len(texts) == 1 and not texts[0]:
        return {"vr": vr}  # padding alone
    convert = integer_number if vr == "IS" else _decimal_literal if vr == "DS" else _person_name
    return {"vr": vr, "Value": [convert(text) for text in texts]}


def _finite_numbers(vr: str, value: bytes, syntax: Syntax) -> list[float | None]:
    order = ">" if syntax.big_endian else "<"
    numbers = unpack(f"{order}{len(value) // WORD_SIZES[vr]}{_NUMBERS[vr]}", value)
    return [number if isfinite(number) else None for number in numbers]


def _person_name(text: str) -> dict[str, str] | None:
    """The non-empty component groups of a Person Name by their names (PS3.5 §6.2.1, PS3.18 F.2.2)."""
    if "=" not in text:
        return {"Alphabetic": text} if text else None
    groups = zip(PERSON_NAME_GROUPS, text.split("="), strict=False)
    return {name: group.rstrip(" ") for name, group in groups if group.rstrip(" ")} or None


def safe_integer(number: int) -> int | str:
    """An integer if JavaScript can hold it, else its text (F.2.3)."""
    return number if -_MAX_SAFE_INTEGER <= number <= _MAX_SAFE_INTEGER else str(number)


def integer_number(text: str) -> int | str | None:
    """A value of IS: a number if its text is one."""
    if not text:
        return None
    try:
        return int(text) if len(text) <= 15 and "_" not in text and text.isascii() else text
    except ValueError:
        return text


def _decimal_literal(text: str) -> msgspec.Raw | float | str | None:
    """A value of DS as in `decimal_number`, with its stored digits if JSON allows: 1.000 stays 1.000."""
    number = decimal_number(text)
    return msgspec.Raw(text) if type(number) is float and LITERAL.fullmatch(text) else number


def decimal_number(text: str) -> float | str | None:
    """A value of DS: a number if that loses nothing."""
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        return text
    if not isfinite(number) or "_" in text or not text.isascii():
        return text
    if len(text) > 15 and (len(text) > MAX_DS_LENGTH or Decimal(repr(number)) != Decimal(text)):
        return text
    return number
