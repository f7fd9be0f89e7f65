"""Timezone Offset From UTC (0008,0201): the dates and times that it applies to, and their conversion to another zone.

Dates and times have no zone of their own; those of one data set are all in the zone that it names (PS3.3 C.12.1.1.8).
Whether a query has a zone is decided by its service class.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Final

from gateway.dicom.encode import Attribute, DataSet
from gateway.index.values import comparable_date, comparable_time

TIMEZONE_OFFSET: Final = 0x00080201
_BIRTH: Final = frozenset({0x00100030, 0x00100032})
"""Patient's Birth Date and Time: the zone does not apply (PS3.3 C.12.1.1.8)."""
_OFFSET: Final = re.compile(r"([+-])(\d{2})([0-5]\d)", re.ASCII)
_EASTMOST: Final = 14 * 60
_WESTMOST: Final = -12 * 60
_PAIRS: Final = (
    (0x00080020, 0x00080030),  # Study
    (0x00380020, 0x00380021),  # Admitting
    (0x00400002, 0x00400003),  # Scheduled Procedure Step Start
    (0x00400004, 0x00400005),  # Scheduled Procedure Step End
    (0x00402004, 0x00402005),  # Issue of the Imaging Service Request
)
"""Dates and the times beside them in scheduled work."""


def offset_of(data_set: DataSet) -> int | None:
    """Minutes east of UTC, from -1200 to +1400; None if the data set names no zone, or an invalid one."""
    attribute = data_set.get(TIMEZONE_OFFSET)
    found = _OFFSET.fullmatch(attribute.text.strip()) if attribute is not None else None
    if found is None:
        return None
    minutes = (int(found[2]) * 60 + int(found[3])) * (-1 if found[1] == "-" else 1)
    return minutes if _WESTMOST <= minutes <= _EASTMOST else None


def says_times(data_set: DataSet) -> bool:
    """Whether the data set, its items included, has a date or time to which a zone applies."""
    return any(
        any(says_times(item) for item in attribute.values)
        if attribute.vr == "SQ"
        else attribute.vr in ("DA", "TM", "DT") and tag not in _BIRTH and any(map(str, attribute.values))
        for tag, attribute in data_set.items()
    )


def moved(data_set: DataSet, minutes: int) -> DataSet:
    """A copy of the data set, items included, with its dates and times `minutes` later.

    A date without a time stays, and a time without a date: neither is a moment.
    """
    converted = {
        tag: Attribute("SQ", [moved(item, minutes) for item in attribute.values]) if attribute.vr == "SQ" else attribute
        for tag, attribute in data_set.items()
    }
    for day, time in _PAIRS:
        moment = _moment(converted.get(day), converted.get(time))
        if moment is not None:
            try:
                moment += timedelta(minutes=minutes)
            except OverflowError:
                continue
            converted[day] = Attribute("DA", [moment.date().isoformat().replace("-", "")])
            converted[time] = Attribute("TM", [f"{moment:%H%M%S.%f}"])
    return converted


def days_around(first: str, last: str) -> Iterable[str]:
    """Widen a range of comparable dates so that it covers the range in every zone.

    From -1200 to +1400 there are 26 hours. An invalid date stays as it is.
    """
    for text, days in ((first, -2), (last, 2)):
        try:
            day = date(int(text[:4]), int(text[4:6]), int(text[6:8])) + timedelta(days)
            yield day.isoformat().replace("-", "")  # %Y is as short as the year
        except (ValueError, OverflowError):
            yield text


def _moment(day: Attribute | None, time: Attribute | None) -> datetime | None:
    if day is None or time is None:
        return None
    digits, clock = comparable_date(day.text), comparable_time(time.text)
    try:
        return datetime.strptime(f"{digits} {clock}", "%Y%m%d %H%M%S.%f") if digits and clock else None
    except ValueError:
        return None
