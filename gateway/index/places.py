"""The place where a search finds an attribute: a column, a row of the index, the files, or nowhere.

How a column is matched is in `matching.py`; the contents of rows are listed in `attributes.py`.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from gateway.dicom.levels import LEVELS, Level
from gateway.index import attributes as tags
from gateway.index import main_tags, matching
from gateway.index.attributes import AT_LEVEL

DEPTH: Final[dict[Level, int]] = {level: depth for depth, level in enumerate(LEVELS, -1)}
"""Depth of a level below the study."""
KEYS: Final[dict[int, tuple[Level, str, matching.Matcher]]] = {
    tags.STUDY_DATE: ("study", "t.date", matching.date),
    tags.STUDY_TIME: ("study", "t.time", matching.time),
    tags.ACCESSION_NUMBER: ("study", "t.accession_number", matching.text),
    tags.MODALITIES_IN_STUDY: ("study", "t.modalities", matching.listed),
    tags.SOP_CLASSES_IN_STUDY: ("study", "", matching.sop_class),
    tags.REFERRING_PHYSICIAN_NAME: ("study", "", matching.name(tags.REFERRING_PHYSICIAN_NAME)),
    tags.PATIENT_NAME: ("patient", "", matching.name(tags.PATIENT_NAME)),
    tags.PATIENT_ID: ("patient", "t.patient_id", matching.text),
    tags.PATIENT_BIRTH_DATE: ("patient", "t.patient_birth_date", matching.date),
    tags.PATIENT_SEX: ("patient", "t.patient_sex", matching.code),
    tags.STUDY_INSTANCE_UID: ("study", "t.uid", matching.uid),
    tags.STUDY_ID: ("study", "t.study_id", matching.text),
    tags.STUDY_DESCRIPTION: ("study", "t.description", matching.text),
    tags.INSTITUTION_NAME: ("study", "t.institution_name", matching.text),
    tags.NUMBER_OF_STUDY_RELATED_SERIES: ("study", "t.series_count", matching.integer),
    tags.NUMBER_OF_STUDY_RELATED_INSTANCES: ("study", "t.instance_count", matching.integer),
    tags.NUMBER_OF_SERIES_RELATED_INSTANCES: ("series", "s.instance_count", matching.integer),
    tags.MODALITY: ("series", "s.modality", matching.code),
    tags.SERIES_INSTANCE_UID: ("series", "s.uid", matching.uid),
    tags.SERIES_NUMBER: ("series", "s.number", matching.integer),
    tags.SERIES_DESCRIPTION: ("series", "s.description", matching.text),
    tags.SERIES_DATE: ("series", "s.date", matching.date),
    tags.SERIES_TIME: ("series", "s.time", matching.time),
    tags.PERFORMED_STEP_START_DATE: ("series", "s.performed_date", matching.date),
    tags.PERFORMED_STEP_START_TIME: ("series", "s.performed_time", matching.time),
    tags.SCHEDULED_STEP_ID: ("series", "s.scheduled_step_ids", matching.listed),
    tags.REQUESTED_PROCEDURE_ID: ("series", "s.requested_procedure_ids", matching.listed),
    tags.BODY_PART_EXAMINED: ("series", "s.body_part", matching.code),
    tags.PROTOCOL_NAME: ("series", "s.protocol_name", matching.text),
    tags.MANUFACTURER: ("series", "s.manufacturer", matching.text),
    tags.STATION_NAME: ("series", "s.station_name", matching.text),
    tags.SOP_CLASS_UID: ("instance", "i.sop_class_uid", matching.uid),
    tags.SOP_INSTANCE_UID: ("instance", "i.uid", matching.uid),
    tags.INSTANCE_NUMBER: ("instance", "i.number", matching.integer),
}
"""Tag to level, column and kind of matching. Attributes in items of the Request Attributes Sequence are listed under
their own tags: (0040,0009) and (0040,1001)."""
COUNTS_OF_PATIENT: Final = (
    tags.NUMBER_OF_PATIENT_RELATED_STUDIES,
    tags.NUMBER_OF_PATIENT_RELATED_SERIES,
    tags.NUMBER_OF_PATIENT_RELATED_INSTANCES,
)
_OF_STUDIES: Final = {
    *COUNTS_OF_PATIENT,
    tags.MODALITIES_IN_STUDY,
    tags.SOP_CLASSES_IN_STUDY,
    tags.NUMBER_OF_STUDY_RELATED_SERIES,
    tags.NUMBER_OF_STUDY_RELATED_INSTANCES,
}
_OF_SERIES: Final = _OF_STUDIES | {tags.NUMBER_OF_SERIES_RELATED_INSTANCES}
_MADE: Final[dict[Level, frozenset[int]]] = {
    "patient": frozenset(COUNTS_OF_PATIENT),
    "study": frozenset(_OF_STUDIES),
    "series": frozenset(_OF_SERIES),
    "instance": frozenset(_OF_SERIES | {tags.AVAILABLE_TRANSFER_SYNTAX_UID}),
}
"""Attributes that no instance has and that the index computes, by level of the search."""
_ABOUT_ANSWERS: Final = frozenset(
    {tags.RETRIEVE_AE_TITLE, tags.INSTANCE_AVAILABILITY, tags.RETRIEVE_URL, tags.AVAILABLE_TRANSFER_SYNTAX_UID}
)
_FIRST: Final = 0x00080000
_PIXELS: Final = 0x7FE00000


class Place(Enum):
    """The place of a key's attribute, for a search at one level."""

    INDEXED = auto()
    """In a column, of this level or one above: the statement matches it."""
    IN_ROW = auto()
    """In the attributes stored in the row of this level: it is matched on the rows that the statement finds."""
    MADE = auto()
    """Computed for the response, and not matched."""
    IN_FILE = auto()
    """Possibly in an instance before its pixels; the index has it at most in rows of lower levels."""
    NOWHERE = auto()


def place_of(tag: int, level: Level = "instance") -> Place:
    """The place where a search at this level finds an attribute; at instance level, the place in the whole index."""
    key = KEYS.get(tag)
    if key is not None and DEPTH[key[0]] <= DEPTH[level]:
        return Place.INDEXED
    if tag in AT_LEVEL[level] or tag in main_tags.current().in_rows[level]:
        return Place.IN_ROW
    if tag in _MADE[level]:
        return Place.MADE
    if _FIRST <= tag < _PIXELS and tag not in _ABOUT_ANSWERS and tag not in _MADE["instance"]:
        return Place.IN_FILE
    return Place.NOWHERE
