"""The four levels of the DICOM information model: their order, and their names and keys in Query/Retrieve.

Which levels a service or an information model has is stated with that service.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

Level = Literal["patient", "study", "series", "instance"]

LEVELS: Final[tuple[Level, ...]] = get_args(Level)
"""From the top down."""
COLLECTIONS: Final[dict[Level, str]] = {
    "patient": "patients",
    "study": "studies",
    "series": "series",
    "instance": "instances",
}
"""The word for all of a level, such as the first segment of a path in the management API."""
CODES: Final[dict[Level, str]] = {"patient": "PATIENT", "study": "STUDY", "series": "SERIES", "instance": "IMAGE"}
"""The value of Query/Retrieve Level (0008,0052) for each level (PS3.4 C.3)."""
BY_CODE: Final[dict[str, Level]] = {code: level for level, code in CODES.items()}
UNIQUE_KEYS: Final[dict[Level, int]] = {
    "patient": 0x00100020,
    "study": 0x0020000D,
    "series": 0x0020000E,
    "instance": 0x00080018,
}
"""The tag of the attribute that identifies an object of each level (PS3.4 C.3)."""
QUERY_RETRIEVE_LEVEL: Final = 0x00080052


def level_of(*uids: str | None) -> Level:
    """The level of the object with these Study, Series and SOP Instance UIDs, of which the lower may be None."""
    return LEVELS[sum(uid is not None for uid in uids)]
