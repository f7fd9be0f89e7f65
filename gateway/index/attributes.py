"""The attributes in the index by level, and those that a query returns by default.

The tables are PS3.18 Tables 10.6.3-3 to 10.6.3-5 (returned always) and, returned if `includefield` names them,
Orthanc's MainDicomTags and a few that lists and hanging protocols need. Values are not here.
"""

from __future__ import annotations

from typing import Final

from gateway.dicom.levels import Level

SPECIFIC_CHARACTER_SET: Final = 0x00080005
SOP_CLASS_UID: Final = 0x00080016
SOP_INSTANCE_UID: Final = 0x00080018
STUDY_DATE: Final = 0x00080020
SERIES_DATE: Final = 0x00080021
STUDY_TIME: Final = 0x00080030
SERIES_TIME: Final = 0x00080031
ACCESSION_NUMBER: Final = 0x00080050
RETRIEVE_AE_TITLE: Final = 0x00080054
INSTANCE_AVAILABILITY: Final = 0x00080056
MODALITY: Final = 0x00080060
MODALITIES_IN_STUDY: Final = 0x00080061
SOP_CLASSES_IN_STUDY: Final = 0x00080062
MANUFACTURER: Final = 0x00080070
INSTITUTION_NAME: Final = 0x00080080
REFERRING_PHYSICIAN_NAME: Final = 0x00080090
TIMEZONE_OFFSET: Final = 0x00080201
STATION_NAME: Final = 0x00081010
RETRIEVE_URL: Final = 0x00081190
STUDY_DESCRIPTION: Final = 0x00081030
SERIES_DESCRIPTION: Final = 0x0008103E
AVAILABLE_TRANSFER_SYNTAX_UID: Final = 0x00083002
PATIENT_NAME: Final = 0x00100010
PATIENT_ID: Final = 0x00100020
PATIENT_BIRTH_DATE: Final = 0x00100030
PATIENT_SEX: Final = 0x00100040
BODY_PART_EXAMINED: Final = 0x00180015
PROTOCOL_NAME: Final = 0x00181030
STUDY_INSTANCE_UID: Final = 0x0020000D
SERIES_INSTANCE_UID: Final = 0x0020000E
STUDY_ID: Final = 0x00200010
SERIES_NUMBER: Final = 0x00200011
INSTANCE_NUMBER: Final = 0x00200013
NUMBER_OF_PATIENT_RELATED_STUDIES: Final = 0x00201200
NUMBER_OF_PATIENT_RELATED_SERIES: Final = 0x00201202
NUMBER_OF_PATIENT_RELATED_INSTANCES: Final = 0x00201204
NUMBER_OF_STUDY_RELATED_SERIES: Final = 0x00201206
NUMBER_OF_STUDY_RELATED_INSTANCES: Final = 0x00201208
NUMBER_OF_SERIES_RELATED_INSTANCES: Final = 0x00201209
PERFORMED_STEP_START_DATE: Final = 0x00400244
PERFORMED_STEP_START_TIME: Final = 0x00400245
REQUEST_ATTRIBUTES_SEQUENCE: Final = 0x00400275
SCHEDULED_STEP_ID: Final = 0x00400009
REQUESTED_PROCEDURE_ID: Final = 0x00401001

PATIENT: Final[tuple[int, ...]] = (PATIENT_NAME, PATIENT_ID, PATIENT_BIRTH_DATE, PATIENT_SEX)
PATIENT_EXTRAS: Final[tuple[int, ...]] = (
    0x00100021,  # Issuer of Patient ID
    0x00101000,  # Other Patient IDs
    0x00101001,  # Other Patient Names
)

STUDY: Final[tuple[int, ...]] = (
    STUDY_DATE,
    STUDY_TIME,
    ACCESSION_NUMBER,
    REFERRING_PHYSICIAN_NAME,
    TIMEZONE_OFFSET,
    *PATIENT,
    STUDY_INSTANCE_UID,
    STUDY_ID,
)
"""Attributes of Table 10.6.3-3 that instances themselves have; counts and modalities are added by the search."""
STUDY_EXTRAS: Final[tuple[int, ...]] = (
    INSTITUTION_NAME,
    STUDY_DESCRIPTION,
    0x00081048,  # Physicians of Record
    0x00081060,  # Name of Physicians Reading Study
    0x00081080,  # Admitting Diagnoses Description
    *PATIENT_EXTRAS,
    0x00101010,  # Patient's Age
    0x00101020,  # Patient's Size
    0x00101030,  # Patient's Weight
    0x00102180,  # Occupation
    0x001021B0,  # Additional Patient History
    0x00104000,  # Patient Comments
    0x00321032,  # Requesting Physician
    0x00321060,  # Requested Procedure Description
)

SERIES: Final[tuple[int, ...]] = (
    MODALITY,
    TIMEZONE_OFFSET,
    SERIES_DESCRIPTION,
    SERIES_INSTANCE_UID,
    SERIES_NUMBER,
    PERFORMED_STEP_START_DATE,
    PERFORMED_STEP_START_TIME,
    REQUEST_ATTRIBUTES_SEQUENCE,
)
SERIES_EXTRAS: Final[tuple[int, ...]] = (
    SERIES_DATE,
    SERIES_TIME,
    MANUFACTURER,
    STATION_NAME,
    0x00081040,  # Institutional Department Name
    0x00081050,  # Performing Physician's Name
    0x00081070,  # Operators' Name
    0x00081090,  # Manufacturer's Model Name
    0x00180010,  # Contrast/Bolus Agent
    BODY_PART_EXAMINED,
    0x00180024,  # Sequence Name
    PROTOCOL_NAME,
    0x00181090,  # Cardiac Number of Images
    0x00181400,  # Acquisition Device Processing Description
    0x00185100,  # Patient Position
    0x00200052,  # Frame of Reference UID
    0x00200060,  # Laterality
    0x00200105,  # Number of Temporal Positions
    0x00201002,  # Images in Acquisition
    0x00400254,  # Performed Procedure Step Description
    0x00540081,  # Number of Slices
    0x00540101,  # Number of Time Slices
    0x00541000,  # Series Type
)

INSTANCE: Final[tuple[int, ...]] = (
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    TIMEZONE_OFFSET,
    INSTANCE_NUMBER,
    0x00280008,  # Number of Frames
    0x00280010,  # Rows
    0x00280011,  # Columns
    0x00280100,  # Bits Allocated
)
INSTANCE_EXTRAS: Final[tuple[int, ...]] = (
    0x00080008,  # Image Type
    0x00080012,  # Instance Creation Date
    0x00080013,  # Instance Creation Time
    0x00080022,  # Acquisition Date
    0x00080023,  # Content Date
    0x0008002A,  # Acquisition DateTime
    0x00080032,  # Acquisition Time
    0x00080033,  # Content Time
    0x00200012,  # Acquisition Number
    0x00200032,  # Image Position (Patient)
    0x00200037,  # Image Orientation (Patient)
    0x00200100,  # Temporal Position Identifier
    0x00204000,  # Image Comments
    0x00280004,  # Photometric Interpretation
    0x00541330,  # Image Index
)

REQUIRED: Final[dict[int, str]] = {
    STUDY_DATE: "DA",
    STUDY_TIME: "TM",
    ACCESSION_NUMBER: "SH",
    REFERRING_PHYSICIAN_NAME: "PN",
    PATIENT_NAME: "PN",
    PATIENT_ID: "LO",
    PATIENT_BIRTH_DATE: "DA",
    PATIENT_SEX: "CS",
    STUDY_ID: "SH",
    MODALITY: "CS",
    SERIES_NUMBER: "IS",
    INSTANCE_NUMBER: "IS",
}
"""Type R: returned without a value if it is absent (PS3.4 §C.2.2.1.2)."""

PARENT_TAGS: Final[tuple[int, ...]] = tuple(
    sorted({SPECIFIC_CHARACTER_SET, *STUDY, *STUDY_EXTRAS, *SERIES, *SERIES_EXTRAS})
)
"""Elements that decide the rows of patient, study and series."""
INDEX_TAGS: Final[frozenset[int]] = frozenset({*PARENT_TAGS, *INSTANCE, *INSTANCE_EXTRAS})
INDEX_STOP: Final = max(INDEX_TAGS)

AT_LEVEL: Final[dict[Level, frozenset[int]]] = {
    "patient": frozenset({*PATIENT, *PATIENT_EXTRAS}),
    "study": frozenset({*STUDY, *STUDY_EXTRAS}),
    "series": frozenset({*STUDY, *STUDY_EXTRAS, *SERIES, *SERIES_EXTRAS}),
    "instance": frozenset({*STUDY, *STUDY_EXTRAS, *SERIES, *SERIES_EXTRAS, *INSTANCE, *INSTANCE_EXTRAS}),
}
"""Attributes of an instance in the index at a level, those of the levels above included."""
