"""Decoding the DICOM JSON Model (PS3.18 Annex F) to attributes: from clients, and from the index.

JSON is parsed already; encoding is in json.py. Where the values of bulk data are is known to the caller.
"""

from __future__ import annotations

import binascii
import math
import re
import struct
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from gateway.dicom.charset import TEXT_VRS, character_set, decode
from gateway.dicom.dictionary import implicit_vr
from gateway.dicom.encode import BINARY, NUMBERS, VRS, Attribute, DataSet
from gateway.dicom.json import MAX_DS_LENGTH, PERSON_NAME_GROUPS, DecimalText
from gateway.dicom.recode import WORD_SIZES
from gateway.dicom.walk import MAX_DEPTH
from gateway.errors import DataSetError

_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")
_INTEGER: Final = re.compile(r"\s*[+-]?[0-9]{1,20}\s*")
_WHOLE: Final = frozenset(NUMBERS) - {"FL", "FD"} | {"IS"}


class BulkData(NamedTuple):
    """A value to which DICOM JSON refers."""

    place: str
    """The path of the element: `7FE00010`, or `00880200/0/7FE00010` in the first item of a sequence."""
    uri: str
    vr: str
    terms: str
    """Specific Character Set of its data set, own or inherited; empty for none."""


FindValue = Callable[[BulkData], list[Any]]
"""Returns the values of bulk data, in the form of `Attribute`. Raises: DataSetError."""


def from_json(model: Mapping[str, Any], bulk: FindValue = lambda found: []) -> DataSet:
    """Decode a parsed data set of the DICOM JSON Model (PS3.18 Annex F) to attributes.

    A missing VR is looked up in the dictionary. `bulk` returns the values of a BulkDataURI; without it such attributes
    are empty. Numbers that do not fit their VR (1.5 or true in a US or IS) are refused, and 3.0 is 3: JSON does not
    distinguish the two (RFC 8259 §6). Raises: DataSetError, with the place, for an invalid model.
    """
    return _from_json(model, _Reading("", 0, "", bulk))


class _Reading(NamedTuple):
    """The place of a data set in a JSON model, and what it inherits from the enclosing one."""

    place: str
    depth: int
    terms: str
    bulk: FindValue


def _from_json(model: Mapping[str, Any], reading: _Reading) -> DataSet:
    where = reading.place
    if not isinstance(model, Mapping):
        raise DataSetError(f"{where or 'the data set'} is not a JSON object (PS3.18 F.2.2)")
    if reading.depth > MAX_DEPTH:
        raise DataSetError(f"more than {MAX_DEPTH} sequences inside one another")
    terms = _stated_terms(model)
    if terms is not None:
        reading = reading._replace(terms=terms)
    data_set = {}
    for key, member in model.items():
        place = f"{where}/{key}" if where else str(key)
        if not isinstance(key, str) or not _TAG.fullmatch(key):
            raise DataSetError(f"{place[:80]} is not a tag of eight hexadecimal digits (PS3.18 F.2.2)")
        if not isinstance(member, Mapping):
            raise DataSetError(f"{place} is not an attribute object (PS3.18 F.2.2)")
        tag = int(key, 16)
        vr = member.get("vr") or implicit_vr(tag)
        if not isinstance(vr, str) or vr not in VRS:
            raise DataSetError(f"{place}: there is no VR {str(vr)[:8]!r}")
        data_set[tag] = Attribute(vr, _json_values(vr, member, place, reading))
    return data_set


def _stated_terms(model: Mapping[str, Any]) -> str | None:
    member = model.get("00080005")
    values = member.get("Value") if isinstance(member, Mapping) else None
    return "\\".join([str(value or "") for value in values]) if isinstance(values, list) else None


def _json_values(vr: str, member: Mapping[str, Any], place: str, around: _Reading) -> list[Any]:
    if "InlineBinary" in member:
        try:
            value = b64decode(member["InlineBinary"], validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise DataSetError(f"{place}: InlineBinary is not base64") from None
        return field_values(vr, value, place, around.terms)
    uri = member.get("BulkDataURI")
    if isinstance(uri, str):
        return around.bulk(BulkData(place, uri, vr, around.terms))
    values = member.get("Value", ())
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise DataSetError(f"{place}: Value is not an array")
    if vr in BINARY and values:  # F.2.7. A number here would become that many zeros.
        raise DataSetError(f"{place}: bytes of {vr} come as InlineBinary or BulkDataURI, and not as Value")
    if vr == "SQ":
        depth, terms, bulk = around.depth + 1, around.terms, around.bulk
        return [_from_json(item or {}, _Reading(f"{place}/{at}", depth, terms, bulk)) for at, item in enumerate(values)]
    return [_json_value(vr, value, place) for value in values]


def field_values(vr: str, value: bytes, place: str, terms: str = "") -> list[Any]:
    """The values of `Attribute` for a value field of bytes in little endian, with text in the character set of `terms`.

    `terms` is a value of Specific Character Set; empty means UTF-8, as the JSON around it. Raises: DataSetError
    for bytes that do not fit the VR.
    """
    if vr == "SQ":
        raise DataSetError(f"{place}: a sequence cannot be bulk data or InlineBinary")
    if not value:
        return []
    size = 4 if vr == "AT" else WORD_SIZES.get(vr, 1)  # a tag is two words
    if len(value) % size and vr not in BINARY:
        raise DataSetError(f"{place}: {len(value)} bytes are no values of {vr}, which takes {size} for each")
    if vr in ("FL", "FD") or vr in BINARY:
        return [value]
    if vr in NUMBERS:
        return list(struct.unpack(f"<{len(value) // WORD_SIZES[vr]}{NUMBERS[vr]}", value))
    if vr == "AT":
        words = struct.unpack(f"<{len(value) // 2}H", value)
        return [group << 16 | element for group, element in zip(words[::2], words[1::2], strict=True)]
    if vr in TEXT_VRS and terms and not is_utf_8(terms):
        return [decode(value, terms, vr)]
    try:
        return [value.decode().rstrip(" \0")]
    except UnicodeDecodeError:
        raise DataSetError(
            f"{place}: the bytes are not UTF-8, but Specific Character Set says so or is absent"
        ) from None


def is_utf_8(terms: str) -> bool:
    """Whether a value of Specific Character Set names UTF-8."""
    return character_set(terms).codec == "utf_8"


def _json_value(vr: str, value: Any, place: str) -> Any:
    if vr == "PN" and isinstance(value, Mapping):
        return "=".join([str(value.get(group) or "") for group in PERSON_NAME_GROUPS]).rstrip("=")
    try:
        if vr == "AT":
            if not _TAG.fullmatch(value):
                raise ValueError(value)
            return int(value, 16)
        if vr in ("FL", "FD"):
            return math.nan if value is None else _number(value)  # JSON has no number for NaN.
        if vr in NUMBERS:
            return _whole_number(value)
        if value is None:
            return ""
        if isinstance(value, str):
            return value
        if vr == "DS":
            return value.text if isinstance(value, DecimalText) and len(value.text) <= MAX_DS_LENGTH else _number(value)
        # A library that writes 3.0 for 3 does so in text VRs too.
        return _whole_number(value) if vr == "IS" or (isinstance(value, float) and value.is_integer()) else _text(value)
    except (TypeError, ValueError, OverflowError):
        whole = ", which takes whole numbers" if vr in _WHOLE and isinstance(value, float) else ""
        raise DataSetError(f"{place}: {str(value)[:40]!r} is no value of {vr}{whole}") from None


def _number(value: Any) -> float:
    """A finite number, or the value of a string, finite or not."""
    if isinstance(value, str):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(value)
    return value


def _whole_number(value: Any) -> int:
    if isinstance(value, str):
        if not _INTEGER.fullmatch(value):
            raise ValueError(value)
        return int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
        raise ValueError(value)
    return int(value)


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(value)
    return str(value)
