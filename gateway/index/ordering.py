"""What the matches of a search may be ordered by: attributes that have a column, and metadata.

Values are compared as the index keeps them: names without regard to case, dates and times in their one form, numbers as
numbers. What is absent comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from gateway.dicom.levels import LEVELS, Level
from gateway.errors import BadRequest
from gateway.index import attributes as tags
from gateway.index import matching
from gateway.index.narrowing import OWN_METADATA
from gateway.index.places import KEYS
from gateway.index.queries.resources import ALIAS
from gateway.index.queries.search import METADATA_VALUE, NAME_OF_STUDY, OF_STUDIES_OF_PATIENT

_RECEIVED: Final[dict[Level, dict[str, str]]] = {
    "patient": {"LastUpdate": OF_STUDIES_OF_PATIENT.format(column="t.last_received").replace("MIN", "MAX")},
    "study": {"LastUpdate": "t.last_received"},
    "series": {"LastUpdate": "s.last_received"},
    "instance": {"IndexInSeries": "i.number", "ReceptionDate": "i.received_at"},
}
"""Metadata that a resource has by itself and that a column holds as a number."""


@dataclass(frozen=True, slots=True)
class Ordering:
    """By one attribute (`tag`), or by metadata (`name`)."""

    direction: Literal["ASC", "DESC"]
    tag: int = 0
    name: str = ""


def order_by(level: Level, orderings: Sequence[Ordering], parameters: matching.Parameters) -> str:
    """The terms of ORDER BY. Raises: BadRequest for an attribute that has no column at this level or above."""
    return ", ".join([f"{_column(level, each, parameters)} {each.direction}" for each in orderings])


def _column(level: Level, ordering: Ordering, parameters: matching.Parameters) -> str:
    if ordering.name:
        own = _RECEIVED[level].get(ordering.name) or OWN_METADATA[level].get(ordering.name)
        name = ordering.name
        return own or METADATA_VALUE.format(
            level=level, public_id=f"{ALIAS[level]}.public_id", name=parameters.add(name)
        )
    key = KEYS.get(ordering.tag)
    if key is None or LEVELS.index(key[0]) > LEVELS.index(level) or ordering.tag == tags.SOP_CLASSES_IN_STUDY:
        tag = f"({ordering.tag >> 16:04X},{ordering.tag & 0xFFFF:04X})"
        raise BadRequest(f"OrderBy: {tag} is not kept in the index for a {level}; order by one that is")
    column = key[1] or NAME_OF_STUDY.format(tag=ordering.tag)
    return OF_STUDIES_OF_PATIENT.format(column=column) if level == "patient" else column
