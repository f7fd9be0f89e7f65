"""The identifier of a C-MOVE or C-GET (PS3.4 C.4.2.1.4, C.4.3.1.3): which instances it asks for.

Unique keys only; everything else in it is ignored, as the standard wants. What is done with the instances is
`retrieve.py`'s.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from gateway.dicom import uids
from gateway.dicom.encode import DataSet
from gateway.dimse import status
from gateway.errors import BadRequest
from gateway.index.selection import Selection

QUERY_RETRIEVE_LEVEL: Final = 0x00080052
_PATIENT_ID: Final = 0x00100020
_UNIQUE_KEYS: Final = {"PATIENT": _PATIENT_ID, "STUDY": 0x0020000D, "SERIES": 0x0020000E, "IMAGE": 0x00080018}
_PATIENT_ROOT: Final = ("PATIENT", "STUDY", "SERIES", "IMAGE")


class Model(NamedTuple):
    """One retrieve SOP class."""

    levels: tuple[str, ...]
    """From the top."""
    moves: bool
    """C-MOVE; otherwise C-GET."""


MODELS: Final[dict[str, Model]] = {
    "1.2.840.10008.5.1.4.1.2.1.2": Model(_PATIENT_ROOT, True),
    "1.2.840.10008.5.1.4.1.2.1.3": Model(_PATIENT_ROOT, False),
    "1.2.840.10008.5.1.4.1.2.2.2": Model(_PATIENT_ROOT[1:], True),
    "1.2.840.10008.5.1.4.1.2.2.3": Model(_PATIENT_ROOT[1:], False),
    "1.2.840.10008.5.1.4.1.2.3.2": Model(_PATIENT_ROOT[:2], True),
    "1.2.840.10008.5.1.4.1.2.3.3": Model(_PATIENT_ROOT[:2], False),
}
"""Patient Root, Study Root, and Patient/Study Only, which is retired and still asked for."""
EXTENSIONS: Final = bytes((1,))
"""Relational retrieval (PS3.4 C.5.2.1, C.5.3.1)."""


class IdentifierRefused(BadRequest):
    """It is not what its SOP class wants (A900): `offending` is the element."""

    status = status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS

    def __init__(self, comment: str, offending: int) -> None:
        super().__init__(comment)
        self.offending = offending


def read_selection(model: Model, identifier: DataSet, *, relational: bool) -> Selection:
    """What an identifier selects. Raises IdentifierRefused.

    At its level one value or, for UIDs, a list; above it one value each, which may be missing only where relational
    retrieval was negotiated (C.4.2.2.1, C.4.2.2.2); below it none is looked at. No wildcard anywhere.
    """
    given = identifier.get(QUERY_RETRIEVE_LEVEL)
    level = given.text.strip().upper() if given is not None else ""
    if not level:
        raise IdentifierRefused("Query/Retrieve Level is missing", QUERY_RETRIEVE_LEVEL)
    # Orthanc asks for patients in the Study Root model too, which has none; what it means is clear.
    levels = model.levels if level != "PATIENT" else _PATIENT_ROOT
    if level not in levels:
        raise IdentifierRefused(f"no level {level[:16]!r} here: {' '.join(model.levels)}", QUERY_RETRIEVE_LEVEL)
    found: dict[str, tuple[str, ...]] = {}
    for each in levels[: levels.index(level) + 1]:
        found[each] = _values(identifier, each)
        if not found[each] and (each == level or not relational):
            raise _refusal(each, f"needs a value at level {level}")
        if len(found[each]) > 1 and (each != level or each == "PATIENT"):
            raise _refusal(each, f"has more than one value at level {level}")
    return Selection(
        patient_id="".join(found.get("PATIENT", ())),
        studies=found.get("STUDY", ()),
        series=found.get("SERIES", ()),
        instances=found.get("IMAGE", ()),
    )


def _values(identifier: DataSet, level: str) -> tuple[str, ...]:
    attribute = identifier.get(_UNIQUE_KEYS[level])
    if attribute is None:
        return ()
    values = tuple(value for value in (str(each).strip(" \0") for each in attribute.values) if value)
    for value in values:
        if "*" in value or "?" in value:
            raise _refusal(level, "is a unique key: no wildcards")
        if level != "PATIENT" and not uids.is_uid(value):
            raise _refusal(level, "is not a UID")
    return values


def _refusal(level: str, what: str) -> IdentifierRefused:
    tag = _UNIQUE_KEYS[level]
    return IdentifierRefused(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {what}", tag)
