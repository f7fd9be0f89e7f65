"""Responses of STOW-RS (PS3.18 §10.5.3, Annex I), and the outcome of each instance in them.

Pure: a response in, outcomes out. `dicomweb.py` sends.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from gateway.dicom.json import NOT_JSON
from gateway.dicom.xml_reader import from_xml
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
"""Reasons, of the standard and of Azure's DICOM service (45070), for UIDs that the server already has."""
_WORDS: Final = {0xB00E: "an instance with these UIDs is there already", 0xB00F: "another request is storing it now"}
_SHOWN: Final = 200


@dataclass(slots=True)
class Stored:
    """A parsed response, by SOP Instance UID."""

    accepted: dict[str, int] = field(default_factory=dict)
    """Warning reason of each stored instance; 0 for none."""
    failed: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Failure reason of each failed instance, with the server's comment."""
    named: bool = False
    """Whether the response names instances at all."""


def read_answer(content_type: str, body: bytes) -> Stored:
    """Parse a response in JSON or XML (PS3.19 A.1). An unreadable response names nothing."""
    stored = Stored()
    try:
        model: Any = from_xml(body) if "xml" in content_type.lower() else msgspec.json.decode(body or b"{}")
    except (DataSetError, *NOT_JSON):
        return stored
    if isinstance(model, list) and model:  # Some servers wrap it in an array, like search results.
        model = model[0]
    for item in _items(model, _REFERENCED):
        stored.accepted[str(_value(item, _SOP) or "")] = _number(item, _WARNING)
    for item in _items(model, _FAILED):
        uid = str(_value(item, _SOP) or "")
        stored.failed[uid] = (_number(item, _REASON), str(_value(item, _COMMENT) or "")[:_SHOWN])
        stored.accepted.pop(uid, None)
    stored.named = bool(stored.accepted or stored.failed or _items(model, _OTHER_FAILURES))
    return stored


def outcome(stored: Stored, uid: str, retried: re.Pattern[str], sent: int) -> Answer | None:
    """The answer for one instance. None when the response does not name it, or gives no reason of a failure."""
    if uid in stored.accepted:
        warning = stored.accepted[uid]
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
