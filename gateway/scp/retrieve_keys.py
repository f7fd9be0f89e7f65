"""The identifier of a C-MOVE or C-GET (PS3.4 C.4.2.1.4, C.4.3.1.3): which instances it selects.

Only unique keys are used; other attributes are ignored, as the standard requires. `retrieve.py` sends the instances.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.dicom import uids
from gateway.dicom.encode import DataSet
from gateway.dicom.levels import BY_CODE, CODES, LEVELS, QUERY_RETRIEVE_LEVEL, UNIQUE_KEYS, Level
from gateway.dimse import status
from gateway.errors import BadRequest
from gateway.index.selection import Selection

MOVE_MODELS: Final[dict[str, tuple[Level, ...]]] = {
    "1.2.840.10008.5.1.4.1.2.1.2": LEVELS,
    "1.2.840.10008.5.1.4.1.2.2.2": LEVELS[1:],
    "1.2.840.10008.5.1.4.1.2.3.2": LEVELS[:2],
}
"""SOP classes of C-MOVE and their levels from the top: Patient Root, Study Root, and Patient/Study Only, which is
retired but still requested."""
GET_MODELS: Final[dict[str, tuple[Level, ...]]] = {
    "1.2.840.10008.5.1.4.1.2.1.3": LEVELS,
    "1.2.840.10008.5.1.4.1.2.2.3": LEVELS[1:],
    "1.2.840.10008.5.1.4.1.2.3.3": LEVELS[:2],
}
"""SOP classes of C-GET and their levels from the top, in the order of `MOVE_MODELS`."""
EXTENSIONS: Final = bytes((1,))
"""Relational retrieval (PS3.4 C.5.2.1, C.5.3.1)."""


class IdentifierRefused(BadRequest):
    """The identifier does not match its SOP class (A900): `offending` is the element."""

    status = status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS

    def __init__(self, comment: str, offending: int) -> None:
        super().__init__(comment)
        self.offending = offending


def read_selection(
    model: Sequence[Level], identifier: DataSet, *, relational: bool, lenient: bool = False
) -> Selection:
    """The selection of an identifier in an information model with these levels. Raises IdentifierRefused.

    The key of its level has one value or, for UIDs, a list. Each key above has one value, which may be missing only if
    relational retrieval was negotiated (C.4.2.2.1, C.4.2.2.2). Keys below are ignored. No key has wild cards. With
    `lenient`, values above may be missing, and a missing level is the lowest one with a value. A Patient ID counts in
    the Study Root model too, which does not require it: two patients may have studies with one UID.
    """
    level_key = identifier.get(QUERY_RETRIEVE_LEVEL)
    code = level_key.text.strip().upper() if level_key is not None else ""
    level = BY_CODE.get(code)
    if not code and lenient:
        level = next((each for each in reversed(LEVELS) if _values(identifier, each)), None)
    if not code and level is None:
        raise IdentifierRefused("Query/Retrieve Level is missing", QUERY_RETRIEVE_LEVEL)
    # Orthanc requests patients in the Study Root model too, which has no such level; the meaning is clear.
    levels = model if level != "patient" else LEVELS
    if level is None or level not in levels:
        known = " ".join([CODES[each] for each in model])
        raise IdentifierRefused(f"level {code[:16]!r} is none of {known}", QUERY_RETRIEVE_LEVEL)
    found: dict[Level, tuple[str, ...]] = {}
    for each in levels[: levels.index(level) + 1]:
        found[each] = _values(identifier, each)
        if not found[each] and (each == level or not (relational or lenient)):
            raise _refusal(each, f"needs a value at level {CODES[level]}")
        if len(found[each]) > 1 and (each != level or each == "patient"):
            raise _refusal(each, f"has more than one value at level {CODES[level]}")
    if "patient" not in found:
        found["patient"] = _patient_id(identifier)
    return Selection(
        patient_id="".join(found.get("patient", ())),
        studies=found.get("study", ()),
        series=found.get("series", ()),
        instances=found.get("instance", ()),
    )


def _patient_id(identifier: DataSet) -> tuple[str, ...]:
    """The single value of Patient ID in a model where it is no unique key; a pattern or list is ignored."""
    attribute = identifier.get(UNIQUE_KEYS["patient"])
    if attribute is None or len(attribute.values) != 1 or set(attribute.text) & {"*", "?"}:
        return ()
    return _values(identifier, "patient")


def _values(identifier: DataSet, level: Level) -> tuple[str, ...]:
    attribute = identifier.get(UNIQUE_KEYS[level])
    if attribute is None:
        return ()
    values = tuple(value for value in (str(each).strip(" \0") for each in attribute.values) if value)
    for value in values:
        if "*" in value or "?" in value:
            raise _refusal(level, "is a unique key: no wildcards")
        if level != "patient" and not uids.is_uid(value):
            raise _refusal(level, "is not a UID")
    return values


def _refusal(level: Level, what: str) -> IdentifierRefused:
    tag = UNIQUE_KEYS[level]
    return IdentifierRefused(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {what}", tag)
