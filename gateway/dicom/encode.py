"""Small data sets as bytes: identifiers, their answers, worklist items, reports. From attributes or DICOM JSON.

A data set here is a dict of tag to `Attribute`, whole in memory. What is large, stored instances above all, is never
made from these; it is copied (recode.py). Reading identifiers into attributes is in decode.py.
"""

from __future__ import annotations

import binascii
import math
import re
import struct
import zlib
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from struct import Struct
from typing import Any, Final, NamedTuple

from gateway.dicom.charset import SINGLE_VALUED, TEXT_VRS, character_set
from gateway.dicom.dictionary import implicit_vr
from gateway.dicom.recode import WORD_SIZES, swapped
from gateway.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, Syntax, transfer_syntax
from gateway.dicom.walk import LONG_VRS, SHORT_VRS
from gateway.errors import DataSetError, UnsupportedTransferSyntax


class Attribute(NamedTuple):
    """One attribute of a small data set.

    `values` is empty where there is none. By VR: SQ holds data sets, one for each item; the binary VRs (OB, OW, UN
    and their kin) one bytes object, in little endian; FL, FD, SL, SS, SV, UL, US, UV numbers; AT tags; PN one string
    with its groups parted by `=`; all others strings, where IS and DS take numbers too.
    """

    vr: str
    values: Sequence[Any] = ()

    @property
    def text(self) -> str:
        """The values as they stand in a value field, a backslash between them; for string VRs."""
        return "\\".join(map(str, self.values))


DataSet = dict[int, Attribute]
"""Tag to attribute. The order does not matter."""

NUMBERS: Final = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
BINARY: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
VRS: Final = frozenset(SHORT_VRS.values()) | frozenset(LONG_VRS.values())
MAX_NESTING: Final = 64
"""Sequences inside one another that are taken from JSON."""

_CHARSET: Final = 0x00080005
_SHORT: Final = frozenset(SHORT_VRS.values())
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_NUL_PADDED: Final = BINARY | {"UI"}
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")
_SINGLE_BYTE: Final = re.compile(r"ISO_IR (100|101|109|110|144|127|126|138|148|166|203)|GB18030|GBK")
"""Terms that a peer may prefer: what they can say is what their codec can encode, without escape sequences."""


class _Writer(NamedTuple):
    """How elements are written in one transfer syntax and one character set."""

    implicit: bool
    big_endian: bool
    codec: str
    implicit_header: Struct
    short_header: Struct
    long_header: Struct


_STRUCTS: Final = {
    big: tuple(Struct((">" if big else "<") + form) for form in ("HHI", "HH2sH", "HH2sHI")) for big in (False, True)
}


def encode_data_set(data_set: Mapping[int, Attribute], transfer_syntax_uid: str, *, prefer: str = "") -> bytes:
    """The bytes of a data set, without preamble or group 0002: what goes over the wire as an identifier.

    Specific Character Set is made to fit, whatever `data_set` says: none where all is ASCII, otherwise `prefer` (the
    term the peer named, where it is one without code extensions), ISO_IR 100 or ISO_IR 192, the first that can say
    every value. Group lengths are left out, values are padded to even length (PS3.5 §6.2).

    Raises UnsupportedTransferSyntax for one that encapsulates, DataSetError for a value that its VR cannot hold.
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    if syntax.encapsulated:
        raise UnsupportedTransferSyntax(f"a data set without pixels is not encoded in {syntax.name}")
    term = _fitting_term(data_set, prefer)
    if term:
        data_set = {**data_set, _CHARSET: Attribute("CS", [term])}
    elif _CHARSET in data_set:
        data_set = {tag: attribute for tag, attribute in data_set.items() if tag != _CHARSET}
    data = _encode(data_set, _writer(syntax, term))
    if syntax.deflated:
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data = deflate.compress(data) + deflate.flush()
        data += b"\0" * (len(data) & 1)
    return data


def encode_around(data_set: Mapping[int, Attribute], holes: Mapping[int, tuple[str, int]]) -> Iterator[bytes | int]:
    """The same in Explicit VR Little Endian, with attributes whose values the caller puts in: they may be large.

    `holes` maps their tags to VR and length, even or undefined. The element header of each is followed by its tag, in
    whose place the value goes; after one of undefined length its delimiter too. DataSetError as in `encode_data_set`.
    """
    term = _fitting_term(data_set, "")
    rest = {tag: attribute for tag, attribute in data_set.items() if tag != _CHARSET and tag not in holes}
    if term:
        rest[_CHARSET] = Attribute("CS", [term])
    writer = _writer(EXPLICIT_VR_LITTLE_ENDIAN, term)
    after = -1
    for hole in sorted(holes):
        yield _encode({tag: attribute for tag, attribute in rest.items() if after < tag < hole}, writer)
        yield _header(hole, *holes[hole], writer)
        yield hole
        after = hole
    yield _encode({tag: attribute for tag, attribute in rest.items() if tag > after}, writer)


def from_json(model: Mapping[str, Any]) -> DataSet:
    """A data set of the DICOM JSON Model (PS3.18 Annex F), parsed, as attributes.

    A missing VR is looked up in the dictionary. Bulk data by URI comes out without a value. DataSetError, with the
    place, for what is no such model.
    """
    return _from_json(model, "", 0)


def _writer(syntax: Syntax, term: str) -> _Writer:
    codec = character_set(term).codec if term else "ascii"
    return _Writer(syntax.implicit, syntax.big_endian, codec, *_STRUCTS[syntax.big_endian])


def _fitting_term(data_set: Mapping[int, Attribute], prefer: str) -> str:
    texts = [text for text in _texts(data_set) if not text.isascii()]
    if not texts:
        return ""
    for term in (prefer, "ISO_IR 100"):
        if (term == "ISO_IR 100" or _SINGLE_BYTE.fullmatch(term)) and _fits(texts, character_set(term).codec):
            return term
    return "ISO_IR 192"


def _texts(data_set: Mapping[int, Attribute]) -> Iterator[str]:
    for attribute in data_set.values():
        if attribute.vr in TEXT_VRS:
            yield from map(str, attribute.values)
        elif attribute.vr == "SQ":
            for item in attribute.values:
                yield from _texts(item)


def _fits(texts: Iterable[str], codec: str) -> bool:
    try:
        for text in texts:
            text.encode(codec)
    except UnicodeEncodeError:
        return False
    return True


def _encode(data_set: Mapping[int, Attribute], writer: _Writer) -> bytes:
    parts = []
    for tag in sorted(data_set):
        if not tag & 0xFFFF:
            continue
        attribute = data_set[tag]
        try:
            value = _value(attribute, writer)
        except (struct.error, OverflowError, TypeError, ValueError) as error:
            place = f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
            raise DataSetError(f"{place}: {str(attribute.values)[:80]} cannot be {attribute.vr}: {error}") from None
        if len(value) & 1:
            value += b"\0" if attribute.vr in _NUL_PADDED else b" "
        parts.append(_header(tag, attribute.vr, len(value), writer))
        parts.append(value)
    return b"".join(parts)


def _header(tag: int, vr: str, length: int, writer: _Writer) -> bytes:
    if writer.implicit:
        return writer.implicit_header.pack(tag >> 16, tag & 0xFFFF, length)
    if vr in _SHORT:
        if length <= 0xFFFE:
            return writer.short_header.pack(tag >> 16, tag & 0xFFFF, vr.encode("ascii"), length)
        vr = "UN"  # longer than the short form can say (PS3.5 §6.2.2)
    return writer.long_header.pack(tag >> 16, tag & 0xFFFF, vr.encode("ascii"), 0, length)


def _value(attribute: Attribute, writer: _Writer) -> bytes:
    vr, values = attribute
    if not values:
        return b""
    if vr == "SQ":
        parts = []
        for item in values:
            # Items inherit the character set (PS3.3 §C.12.1.1.2): one of their own is dropped.
            inner = {tag: each for tag, each in item.items() if tag != _CHARSET}
            data = _encode(inner, writer)
            parts += [writer.implicit_header.pack(0xFFFE, 0xE000, len(data)), data]
        return b"".join(parts)
    order = ">" if writer.big_endian else "<"
    if vr in NUMBERS:
        return struct.pack(f"{order}{len(values)}{NUMBERS[vr]}", *values)
    if vr == "AT":
        words = [word for tag in values for word in (tag >> 16, tag & 0xFFFF)]
        return struct.pack(f"{order}{len(words)}H", *words)
    if vr in BINARY:
        value = bytes(values[0])
        return swapped(value, WORD_SIZES[vr]) if writer.big_endian and vr in WORD_SIZES else value
    if vr == "DS":
        text = "\\".join([one if isinstance(one, str) else _decimal_string(one) for one in values])
    elif vr in SINGLE_VALUED:
        text = str(values[0])
    else:
        text = "\\".join([one if isinstance(one, str) else str(one) for one in values])
    return text.encode(writer.codec if vr in TEXT_VRS else "ascii", "replace")


def _decimal_string(number: float) -> str:
    """At most 16 characters (PS3.5 Table 6.2-1), as exact as they allow."""
    text = repr(number)
    for digits in range(16, 0, -1):
        if len(text) <= 16:
            break
        text = f"{number:.{digits}g}"
    return text


def _from_json(model: Mapping[str, Any], where: str, depth: int) -> DataSet:
    if not isinstance(model, Mapping):
        raise DataSetError(f"{where or 'the data set'} is not a JSON object (PS3.18 F.2.2)")
    if depth > MAX_NESTING:
        raise DataSetError(f"more than {MAX_NESTING} sequences inside one another")
    found = {}
    for key, member in model.items():
        place = f"{where}/{key}" if where else str(key)
        if not isinstance(key, str) or not _TAG.fullmatch(key):
            raise DataSetError(f"{place[:80]} is not a tag of eight hexadecimal digits (PS3.18 F.2.2)")
        if not isinstance(member, Mapping):
            raise DataSetError(f"{place} is not an attribute object (PS3.18 F.2.2)")
        tag = int(key, 16)
        vr = member.get("vr") or implicit_vr(tag)
        if vr not in VRS:
            raise DataSetError(f"{place}: there is no VR {str(vr)[:8]!r}")
        found[tag] = Attribute(vr, _json_values(vr, member, place, depth))
    return found


def _json_values(vr: str, member: Mapping[str, Any], place: str, depth: int) -> list[Any]:
    if "InlineBinary" in member:
        try:
            return [b64decode(member["InlineBinary"], validate=True)]
        except (binascii.Error, TypeError, ValueError):
            raise DataSetError(f"{place}: InlineBinary is not base64") from None
    values = member.get("Value", ())
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise DataSetError(f"{place}: Value is not an array")
    if vr == "SQ":
        return [_from_json(item or {}, f"{place}/{at}", depth + 1) for at, item in enumerate(values)]
    return [_json_value(vr, value, place) for value in values]


def _json_value(vr: str, value: Any, place: str) -> Any:
    if vr == "PN" and isinstance(value, Mapping):
        return "=".join([str(value.get(group) or "") for group in _GROUPS]).rstrip("=")
    try:
        if vr == "AT":
            return int(value, 16)
        if vr in ("FL", "FD"):
            return math.nan if value is None else float(value)  # JSON has no number for it
        if vr in NUMBERS:
            return int(value)
    except (TypeError, ValueError):
        raise DataSetError(f"{place}: {str(value)[:40]!r} is no value of {vr}") from None
    if value is None:
        return ""
    if not isinstance(value, (str, int, float)) or vr in BINARY:
        raise DataSetError(f"{place}: {str(value)[:40]!r} is no value of {vr}")
    if isinstance(value, str):
        return value
    return value if vr in ("IS", "DS") else str(value)
