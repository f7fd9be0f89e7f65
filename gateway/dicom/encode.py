"""Encoding small data sets: identifiers, responses, worklist items, reports.

A data set here is a dict of tag to `Attribute`, whole in memory. Large data sets, stored instances above all, are
copied instead (recode.py). Decoding identifiers is in decode.py, DICOM JSON in json_reader.py.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from struct import Struct
from typing import Any, Final, NamedTuple

from gateway.dicom.charset import SINGLE_VALUED, TEXT_VRS, character_set
from gateway.dicom.json import MAX_DS_LENGTH
from gateway.dicom.recode import WORD_SIZES, swapped
from gateway.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, Syntax, transfer_syntax
from gateway.dicom.walk import LONG_VRS, SHORT_VRS, UNDEFINED
from gateway.errors import DataSetError, UnsupportedTransferSyntax


class Attribute(NamedTuple):
    """One attribute of a small data set.

    `values` is empty for an empty attribute. By VR: SQ holds data sets, one for each item; the binary VRs (OB, OW, UN
    and their kin) one bytes object, in little endian; FL, FD, SL, SS, SV, UL, US, UV numbers; AT tags; PN one string
    with its groups separated by `=`; all others strings, where IS and DS accept numbers too. Numbers may also be one
    bytes object, their value field in little endian: only so every bit of a NaN is preserved.
    """

    vr: str
    values: Sequence[Any] = ()

    @property
    def text(self) -> str:
        """The values as in a value field, separated by backslashes; for string VRs."""
        return "\\".join(map(str, self.values))


DataSet = dict[int, Attribute]
"""Tag to attribute, in any order."""


class Fragments(bytes):
    """The items of encapsulated pixel data, with their delimiter: a value of undefined length (PS3.5 A.4)."""


NUMBERS: Final = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
BINARY: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
VRS: Final = frozenset(SHORT_VRS.values()) | frozenset(LONG_VRS.values())

_CHARSET: Final = 0x00080005
_SHORT: Final = frozenset(SHORT_VRS.values())
NUL_PADDED: Final = BINARY | {"UI"}
"""VRs whose values are padded to even length with NUL; all others with a space (PS3.5 §6.2)."""
_SINGLE_BYTE: Final = re.compile(r"ISO_IR (100|101|109|110|144|127|126|138|148|166|203)|GB18030|GBK")
"""Terms that a peer may prefer: their codec encodes all their letters without escape sequences."""


class _Writer(NamedTuple):
    """The encoding of elements in one transfer syntax and one character set."""

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
    """Encode a data set without preamble or group 0002, as an identifier is sent.

    Specific Character Set is chosen, whatever `data_set` has: none if all is ASCII, otherwise the first of `prefer`
    (the term named by the peer, if it has no code extensions), ISO_IR 100 and ISO_IR 192 that can encode
    every value. Group lengths are left out, values are padded to even length (PS3.5 §6.2).

    Raises: UnsupportedTransferSyntax for an encapsulated one; DataSetError for a value that its VR cannot hold.
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


def encode_around(
    data_set: Mapping[int, Attribute], holes: Mapping[int, tuple[str, int]], *, term: str = "", prefer: str = ""
) -> Iterator[bytes | int]:
    """Encode in Explicit VR Little Endian around attributes whose values the caller inserts: they may be large.

    `holes` maps their tags to VR and length, even or undefined. The element header of each is followed by its tag, in
    whose place the value goes, with its delimiter if the length is undefined. `term` is the Specific Character Set of
    the holes; without one it is chosen as by `encode_data_set`. Raises: DataSetError as there.
    """
    term = term or _fitting_term(data_set, prefer)
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
            value += b"\0" if attribute.vr in NUL_PADDED else b" "
        undefined = bool(attribute.values) and isinstance(attribute.values[0], Fragments)
        parts.append(_header(tag, attribute.vr, UNDEFINED if undefined else len(value), writer))
        parts.append(value)
    return b"".join(parts)


def _header(tag: int, vr: str, length: int, writer: _Writer) -> bytes:
    if writer.implicit:
        return writer.implicit_header.pack(tag >> 16, tag & 0xFFFF, length)
    if vr in _SHORT:
        if length <= 0xFFFE:
            return writer.short_header.pack(tag >> 16, tag & 0xFFFF, vr.encode("ascii"), length)
        vr = "UN"  # longer than the short form allows (PS3.5 §6.2.2)
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
    if vr in BINARY or isinstance(values[0], bytes):
        value = bytes(values[0])
        return swapped(value, WORD_SIZES[vr]) if writer.big_endian and vr in WORD_SIZES else value
    if vr in NUMBERS or vr == "AT":
        return packed(vr, values, big_endian=writer.big_endian)
    if vr == "DS":
        text = "\\".join([value if isinstance(value, str) else _decimal_string(value) for value in values])
    elif vr in SINGLE_VALUED:
        text = str(values[0])
    else:
        text = "\\".join([value if isinstance(value, str) else str(value) for value in values])
    return text.encode(writer.codec if vr in TEXT_VRS else "ascii", "replace")


def packed(vr: str, values: Sequence[int | float], *, big_endian: bool) -> bytes:
    """The value field of numbers or tags. Raises struct.error, OverflowError for a value that `vr` cannot hold."""
    order = ">" if big_endian else "<"
    if vr == "AT":
        words = [word for tag in values for word in (int(tag) >> 16, int(tag) & 0xFFFF)]
        return struct.pack(f"{order}{len(words)}H", *words)
    return struct.pack(f"{order}{len(values)}{NUMBERS[vr]}", *values)


def _decimal_string(number: float) -> str:
    """A DS of at most 16 characters (PS3.5 Table 6.2-1), as exact as they allow."""
    text = repr(number)
    for digits in range(MAX_DS_LENGTH, 0, -1):
        if len(text) <= MAX_DS_LENGTH:
            break
        text = f"{number:.{digits}g}"
    return text
