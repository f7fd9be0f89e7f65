"""What the audit log has of a search: all its keys by name, and the values of those alone that identify something."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

_IDENTIFIERS: Final = frozenset(
    name.casefold()
    for name in (
        *("PatientID", "00100020", "AccessionNumber", "00080050", "StudyID", "00200010"),
        *("StudyInstanceUID", "0020000D", "SeriesInstanceUID", "0020000E", "SOPInstanceUID", "00080018"),
        *("studyUID", "seriesUID", "objectUID", "lookup"),
    )
)
_MAX_KEYS: Final = 32
_MAX_TEXT: Final = 64
_HIDDEN: Final = "..."


def search_detail(keys: Iterable[tuple[str, Any]]) -> str:
    """The detail of an entry about a search, by keywords or tags and what they should be; the first 32 of them."""
    found: dict[str, str] = {}
    for name, value in keys:
        if len(found) < _MAX_KEYS:
            found[name[:_MAX_TEXT]] = str(value)[:_MAX_TEXT] if name.casefold() in _IDENTIFIERS else _HIDDEN
    return detail_text({"keys": found})


def detail_text(detail: Mapping[str, Any]) -> str:
    """A detail as the text that `AuditLog.count` takes: equal texts for equal details."""
    return msgspec.json.encode(detail, order="sorted").decode("utf-8") if detail else ""
