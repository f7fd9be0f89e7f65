"""What a server says about the instances of a STOW-RS request (PS3.18 §10.5.3, Annex I), and what that means for each.

Pure: an answer in, outcomes out. Sending is `dicomweb.py`'s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from gateway.dicom.xml import from_xml
from gateway.dimse import status
from gateway.errors import DataSetError
from gateway.remote.destination import Answer

_REFERENCED: Final = "00081199"
_FAILED: Final = "00081198"
_OTHER_FAILURES: Final = "0008119A"
_SOP: Final = "00081155"
_WARNING: Final = "00081196"
_REASON: Final = "00081197"
_COMMENT: Final = "00000902"
_ALREADY_THERE: Final = frozenset({status.DUPLICATE_SOP_INSTANCE, 0xB00E})
"""Of the standard, and of Azure's DICOM service (45070): it has an instance with these UIDs."""
_WORDS: Final = {0xB00E: "an instance with these UIDs is there already", 0xB00F: "another request is storing it now"}
_SHOWN: Final = 200


@dataclass(slots=True)
class Stored:
    """What an answer says, by SOP Instance UID."""

    taken: dict[str, int] = field(default_factory=dict)
    """Warning reason; 0: none."""
    failed: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Failure reason, and what it says beside it."""
    named: bool = False
    """It is an answer that names instances at all."""


def read_answer(content_type: str, body: bytes) -> Stored:
    """From JSON or XML (PS3.19 A.1). What cannot be read names nothing."""
    stored = Stored()
    try:
        model: Any = from_xml(body) if "xml" in content_type.lower() else msgspec.json.decode(body or b"{}")
    except (DataSetError, msgspec.DecodeError):
        return stored
    if isinstance(model, list) and model:  # Some wrap it, as results of a search are.
        model = model[0]
    for item in _items(model, _REFERENCED):
        stored.taken[str(_value(item, _SOP) or "")] = _number(item, _WARNING)
    for item in _items(model, _FAILED):
        uid = str(_value(item, _SOP) or "")
        stored.failed[uid] = (_number(item, _REASON), str(_value(item, _COMMENT) or "")[:_SHOWN])
        stored.taken.pop(uid, None)
    stored.named = bool(stored.taken or stored.failed or _items(model, _OTHER_FAILURES))
    return stored


def outcome(stored: Stored, uid: str, retried: re.Pattern[str], sent: int) -> Answer | None:
    """What became of one instance. None where the answer does not say, or says no more than that it failed."""
    if uid in stored.taken:
        warning = stored.taken[uid]
        return Answer("delivered", warning, status.describe(warning) if warning else "stored", sent)
    if uid not in stored.failed:
        return None
    reason, comment = stored.failed[uid]
    words = f"{reason:04X}H {_WORDS[reason]}" if reason in _WORDS else status.describe(reason)
    detail = f"{words}: {comment}" if comment else words
    if reason in _ALREADY_THERE:
        return Answer("delivered", reason, detail, sent)
    return Answer("again" if retried.fullmatch(f"{reason:04X}") else "refused", reason, detail, sent)


def _items(model: Any, tag: str) -> list[Mapping[str, Any]]:
    values = _values(model, tag)
    return [value for value in values if isinstance(value, dict)]


def _value(item: Mapping[str, Any], tag: str) -> Any:
    return next(iter(_values(item, tag)), None)


def _number(item: Mapping[str, Any], tag: str) -> int:
    try:
        return int(_value(item, tag) or 0) & 0xFFFF
    except (TypeError, ValueError):
        return 0


def _values(model: Any, tag: str) -> list[Any]:
    member = model.get(tag) if isinstance(model, dict) else None
    values = member.get("Value") if isinstance(member, dict) else None
    return values if isinstance(values, list) else []
