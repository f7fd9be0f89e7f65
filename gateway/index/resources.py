"""Patients, studies, series and instances as resources by their public ids: listed in pages, one, below, above.

A page is two statements, however many resources it has: their rows, and what is below and beside these (children,
labels). Which attributes are shown, and in which JSON, is the web's. Searching is in `search.py`.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from gateway.database.database import Database, Row
from gateway.dicom.json import DecimalText
from gateway.dicom.levels import Level
from gateway.index.matching import lower
from gateway.index.queries import resources as queries

PAGE: Final = 200
"""Resources in one page; of series, whose thousand instances or so are read with each, a tenth of it."""
_EXPECTED: Final = (
    (0x00201002, 0x00200105),  # Images in Acquisition times Number of Temporal Positions
    (0x00540081, 0x00540101),  # Number of Slices times Number of Time Slices: PET
    (0x00181090,),  # Cardiac Number of Images
)
"""What is multiplied to know how many instances a series is to have, as Orthanc does: the first that is all there."""
MAX_ROWS: Final = 5000
"""Row numbers and public ids in one page of these alone."""


class Stamp(NamedTuple):
    """While it is the same, a resource is too: what it shows changes by instances that come, or is an edit."""

    edits: int
    """Edits so far, of any resource."""
    instances: int
    """Instances below the resource."""


@dataclass(slots=True)
class Resource:
    """One patient, study, series or instance."""

    level: Level
    row: int
    public_id: str
    parent: str
    """Public id of what it belongs to; '' for a patient."""
    attributes: Mapping[int, str]
    """Those that the index keeps at its level, by tag, as text with backslashes between values."""
    of_first: Mapping[int, str]
    """Of a series: those of its first instance."""
    number: int
    """Series or Instance Number; `values.NO_NUMBER` for none."""
    last_received: float
    """When an instance last came, in seconds since 1970."""
    key: str
    """Storage key of an instance."""
    size: int
    """Bytes of an instance's file."""
    stamp: Stamp
    children: list[str] = field(default_factory=list)
    """Public ids of what is right below, in the order in which it came."""
    numbers: list[int] = field(default_factory=list)
    """Of a series: the Instance Numbers of its children."""
    labels: list[str] = field(default_factory=list)
    protected: bool = False
    """Of a patient."""
    made_from: dict[str, str] = field(default_factory=dict)
    """AnonymizedFrom and ModifiedFrom: the public id of what it was made from."""

    @property
    def expected_instances(self) -> int | None:
        """How many instances a series is to have, where its attributes say so."""
        if self.level != "series":
            return None
        for factors in _EXPECTED:
            texts = [self.attributes.get(tag, "").strip() for tag in factors]
            if all(text.isascii() and text.isdecimal() for text in texts):
                return math.prod(map(int, texts)) or None
        return None


@dataclass(frozen=True, slots=True)
class Totals:
    studies: int
    series: int
    instances: int
    size: int
    """Bytes of all files."""


def page_size(level: Level) -> int:
    """How many resources of a level are in one page."""
    return PAGE if level != "series" else max(PAGE // 10, 1)


async def resources(
    database: Database, level: Level, *, since: int = 0, limit: int | None = None
) -> AsyncIterator[list[Resource]]:
    """All of a level in the order in which they came, page by page, without the first `since`."""
    after = -1
    while limit is None or limit > 0:
        size = page_size(level) if limit is None else min(limit, page_size(level))
        page = await _complete(database, level, await database.fetch(queries.RESOURCES[level], after, size, since))
        yield page
        if len(page) < size:
            return
        after, since = page[-1].row, 0
        limit = None if limit is None else limit - size


async def rows(
    database: Database, level: Level, *, since: int = 0, limit: int | None = None
) -> AsyncIterator[list[tuple[int, str]]]:
    """Row number and public id of all of a level in the order in which they came, page by page, without the first
    `since`."""
    after = -1
    while limit is None or limit > 0:
        size = MAX_ROWS if limit is None else min(limit, MAX_ROWS)
        page = [(row, public_id) for row, public_id in await database.fetch(queries.ROWS[level], after, size, since)]
        yield page
        if len(page) < size:
            return
        after, since = page[-1][0], 0
        limit = None if limit is None else limit - size


async def resource(database: Database, level: Level, public_id: str) -> Resource | None:
    """One resource; None where there is none."""
    found = await _complete(database, level, await database.fetch(queries.RESOURCE[level], public_id))
    return found[0] if found else None


async def resources_below(
    database: Database, above: Level, public_id: str, level: Level
) -> AsyncIterator[list[Resource]]:
    """All of a level below a resource, page by page, in the order in which they came."""
    after = -1
    while True:
        rows = await database.fetch(queries.RESOURCES_BELOW[above, level], after, page_size(level), public_id)
        page = await _complete(database, level, rows)
        yield page
        if len(page) < page_size(level):
            return
        after = page[-1].row


async def resource_above(database: Database, level: Level, public_id: str, above: Level) -> Resource | None:
    """The resource above another one, at a level; None where there is no such resource."""
    rows = await database.fetch(queries.RESOURCE_ABOVE[level, above], public_id)
    return await resource(database, above, rows[0][0]) if rows else None


async def resources_by_row(database: Database, level: Level, rows: Sequence[int]) -> list[Resource]:
    """The resources with these row numbers (a page at most), in that order; those that have gone are left out."""
    if not rows:
        return []
    found = await _complete(database, level, await database.fetch(queries.by_row(level, len(rows)), *rows))
    by_row = {each.row: each for each in found}
    return [by_row[row] for row in rows if row in by_row]


async def stamps(database: Database, level: Level, rows: Sequence[int]) -> dict[int, Stamp]:
    """The stamps of the resources with these row numbers (a page at most), by row number."""
    if not rows:
        return {}
    found = await database.fetch(queries.stamps(level, len(rows)), *rows)
    return {row: Stamp(edits, int(instances)) for row, edits, instances in found}


async def stamp(database: Database, level: Level, public_id: str) -> Stamp | None:
    """The stamp of one resource; None where there is none."""
    rows = await database.fetch(queries.STAMP[level], public_id)
    return Stamp(rows[0][1], int(rows[0][2])) if rows else None


async def look_up(database: Database, identifier: str, limit: int = PAGE) -> list[tuple[Level, str]]:
    """Levels and public ids of what has this Patient ID (in any case), Study, Series or SOP Instance UID."""
    rows = await database.fetch(queries.LOOK_UP, lower(identifier), identifier, limit)
    return [(level, public_id) for level, public_id in rows]


async def totals(database: Database, level: Level, public_id: str) -> Totals | None:
    """How much is below a resource, it included; None where there is none."""
    rows = await database.fetch(queries.TOTALS[level], public_id)
    return Totals(*map(int, rows[0])) if rows else None


class _Member(msgspec.Struct, gc=False):
    """One attribute of the DICOM JSON Model (PS3.18 F.2.2)."""

    vr: str
    value: list[Any] = msgspec.field(name="Value", default_factory=list)
    inline_binary: str | None = msgspec.field(name="InlineBinary", default=None)


_MEMBERS: Final = msgspec.json.Decoder(dict[str, _Member], float_hook=DecimalText)


@lru_cache(2048)
def texts(*fragments: str) -> Mapping[int, str]:
    """Attributes of DICOM JSON members without braces, by tag, as text: several values with backslashes between them.

    Sequences and binary values are left out. Kept for 2048 resources, some 6 MB, since pages and scripts ask for the
    same studies again and again: half of the time of /tools/find was spent here.
    """
    members = _MEMBERS.decode(f"{{{','.join([fragment for fragment in fragments if fragment])}}}")
    return {
        int(tag, 16): "\\".join(map(_one, member.value))
        for tag, member in members.items()
        if member.vr != "SQ" and member.inline_binary is None
    }


def text_of(member: dict[str, Any]) -> str:
    """The values of one attribute in the DICOM JSON Model as text."""
    return "\\".join([_one(value) for value in member.get("Value", ())])


def _one(value: Any) -> str:
    if type(value) is str:
        return value
    if value is None:
        return ""
    if isinstance(value, dict):
        groups = [value.get(name, "") for name in ("Alphabetic", "Ideographic", "Phonetic")]
        return "=".join(groups).rstrip("=")
    return str(getattr(value, "text", value))


async def _complete(database: Database, level: Level, rows: list[Row]) -> list[Resource]:
    """The resources of some rows, with what belongs to them."""
    if not rows:
        return []
    found: dict[int, Resource] = {}
    for row, public_id, parent, always, extras, of_first, number, last_received, key, size, edits, instances in rows:
        shown, stamp = (texts(always, extras), texts(of_first)), Stamp(edits, int(instances))
        found[row] = Resource(level, row, public_id, parent, *shown, number, last_received, key, size, stamp)
    for row, kind, text, number, _place in await database.fetch(queries.around(level, len(found)), *found):
        one = found[row]
        if kind == "child":
            one.children.append(text)
            one.numbers.append(number)
        elif kind == "label":
            one.labels.append(text)
        elif kind == "protected":
            one.protected = True
        else:
            one.made_from[kind] = text
    return list(found.values())
