"""Rules on the values of each VR (PS3.5 Table 6.2-1), for values to be written.

Received values are stored unchanged, and not checked here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from typing import Final

from gateway.dicom.charset import SINGLE_VALUED
from gateway.dicom.uids import is_valid_uid

MAX_CHARACTERS: Final = {
    "AE": 16,
    "AS": 4,
    "CS": 16,
    "DA": 8,
    "DS": 16,
    "DT": 26,
    "IS": 12,
    "LO": 64,
    "LT": 10240,
    "SH": 16,
    "ST": 1024,
    "TM": 14,
    "UI": 64,
}
"""Characters of one value. Ranges of dates and times occur in queries only."""
MAX_NAME_GROUP: Final = 64
MAX_NAME_GROUPS: Final = 3
MAX_NAME_COMPONENTS: Final = 5

_TEXTS: Final = frozenset(("LO", "SH", "PN", "UC", "LT", "ST", "UT"))
_LINES: Final = frozenset(("LT", "ST", "UT"))
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f]")
_CONTROLS_BUT_LINES: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")
_AE: Final = re.compile(r"[ -\[\]-~]*")
_AS: Final = re.compile(r"\d{3}[DWMY]", re.ASCII)
_CS: Final = re.compile(r"[A-Z0-9 _]*")
_DA: Final = re.compile(r"(\d{4})(\d\d)(\d\d)", re.ASCII)
_DT: Final = re.compile(
    r"(\d{4})(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:\.\d{1,6})?)?)?)?)?)?([+-]\d{4})?", re.ASCII
)
_TM: Final = re.compile(r"(\d\d)(?:(\d\d)(?:(\d\d)(?:\.\d{1,6})?)?)?", re.ASCII)
_DS: Final = re.compile(r" *[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)? *", re.ASCII)
_IS: Final = re.compile(r" *([+-]?\d+) *", re.ASCII)
_URI: Final = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]*")


def fault_of(vr: str, text: str) -> str:
    """The reason why a value field with this text, values separated by backslashes, must not be written; '' if valid.

    For VRs of strings. An empty value is valid for every VR.
    """
    values = [text] if vr in SINGLE_VALUED else text.split("\\")
    return next(filter(None, (fault_of_value(vr, value) for value in values)), "")


def fault_of_value(vr: str, value: str) -> str:
    """The reason why one value must not be written; '' if valid."""
    if not value:
        return ""
    max_length = MAX_CHARACTERS.get(vr)
    check = _CHECKS.get(vr)
    if vr in _TEXTS:
        fault = _text(vr, value)
        if fault:
            return fault
    elif check is not None and (expected := check(value)):
        return f"{value[:80]!r} is no {vr}: {expected} (PS3.5 §6.2)"
    if max_length is not None and len(value) > max_length:
        return f"the value has {len(value)} characters, {vr} holds {max_length} (PS3.5 §6.2)"
    return ""


def _text(vr: str, value: str) -> str:
    controls = (_CONTROLS_BUT_LINES if vr in _LINES else _CONTROLS).search(value)
    if controls is not None:
        return f"the value has the control character {controls[0]!r}, which {vr} does not allow (PS3.5 §6.2)"
    if vr == "PN":
        groups = value.split("=")
        if len(groups) > MAX_NAME_GROUPS:
            return f"the name has {len(groups)} groups separated by =, PN has at most {MAX_NAME_GROUPS} (PS3.5 §6.2.1)"
        if any(len(group) > MAX_NAME_GROUP for group in groups):
            return f"the name has a group of more than {MAX_NAME_GROUP} characters (PS3.5 §6.2)"
        if any(group.count("^") >= MAX_NAME_COMPONENTS for group in groups):
            return f"the name has a group of more than {MAX_NAME_COMPONENTS} components (PS3.5 §6.2.1)"
    return ""


def _ae(value: str) -> str:
    return "" if _AE.fullmatch(value) and value.strip() else "letters of ASCII, not all of them spaces"


def _as(value: str) -> str:
    return "" if _AS.fullmatch(value) else "three digits and D, W, M or Y, as 018M"


def _cs(value: str) -> str:
    return "" if _CS.fullmatch(value) else "capital letters, digits, spaces and underscores"


def _da(value: str) -> str:
    found = _DA.fullmatch(value)
    return "" if found and _is_day(found[1], found[2], found[3]) else "a day as YYYYMMDD"


def _dt(value: str) -> str:
    found = _DT.fullmatch(value)
    if found and _is_day(found[1], found[2], found[3]) and _is_time(*found.groups()[3:6]) and _is_offset(found[7]):
        return ""
    return "a date and time as YYYYMMDDHHMMSS.FFFFFF+ZZXX, or its beginning"


def _tm(value: str) -> str:
    found = _TM.fullmatch(value)
    return "" if found and _is_time(found[1], found[2], found[3]) else "a time as HHMMSS.FFFFFF, or its beginning"


def _ds(value: str) -> str:
    return "" if _DS.fullmatch(value) else "a decimal number"


def _is(value: str) -> str:
    found = _IS.fullmatch(value)
    return "" if found and -(1 << 31) <= int(found[1]) < 1 << 31 else "a whole number of 32 bits"


def _ui(value: str) -> str:
    return "" if is_valid_uid(value) else "a UID of numbers without leading zeros, joined by dots"


def _ur(value: str) -> str:
    return "" if _URI.fullmatch(value) else "a URI, without spaces"


def _is_day(year: str, month: str | None, day: str | None) -> bool:
    try:
        date(int(year), int(month or 1), int(day or 1))
    except ValueError:
        return False
    return True


def _is_time(hour: str | None, minute: str | None, second: str | None) -> bool:
    return int(hour or 0) < 24 and int(minute or 0) < 60 and int(second or 0) <= 60


def _is_offset(offset: str | None) -> bool:
    """Whether an offset from UTC is from -1200 to +1400, and not -0000."""
    if offset is None:
        return True
    minutes = int(offset[1:3]) * 60 + int(offset[3:])
    return int(offset[3:]) < 60 and (minutes <= 14 * 60 if offset[0] == "+" else 0 < minutes <= 12 * 60)


_CHECKS: Final[dict[str, Callable[[str], str]]] = {
    "AE": _ae,
    "AS": _as,
    "CS": _cs,
    "DA": _da,
    "DS": _ds,
    "DT": _dt,
    "IS": _is,
    "TM": _tm,
    "UI": _ui,
    "UR": _ur,
}
"""Checks by VR; each returns what a value should be, or '' if it is valid."""
