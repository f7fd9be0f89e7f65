"""The instances selected by unique keys for a retrieval: their number and size, and their locations, page by page.

Keys of several levels must all match; one level may have many UIDs. Reading the files is in
`retrieve/retrieval.py`, the rules of an identifier in `scp/`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.database.database import Database
from gateway.index.locate import PAGE, Located, located
from gateway.index.queries import selection as queries
from gateway.index.queries.columns import PATIENT_OF_STUDY

_MAX_UIDS = 500
"""UIDs of a list in one statement."""
_FIRST = (-(2**62), -1)
"""The position before the first instance of a series."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Unique keys that must all match; an empty key is not used. At least one is present.

    `patient` is a public id, which distinguishes patients with similar Patient IDs.
    """

    patient_id: str = ""
    studies: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    patient: str = ""

    def parts(self) -> Iterator[Selection]:
        """Split the selection so that the lists of each part are short enough for one statement."""
        for name in ("instances", "series", "studies"):
            uids = tuple(dict.fromkeys(getattr(self, name)))
            if len(uids) > _MAX_UIDS:
                for at in range(0, len(uids), _MAX_UIDS):
                    some: dict[str, Any] = {name: uids[at : at + _MAX_UIDS]}
                    yield from replace(self, **some).parts()
                return
        yield self

    @property
    def keys(self) -> list[tuple[str, Sequence[str]]]:
        """Columns and values, outermost first."""
        named = [
            (PATIENT_OF_STUDY, (self.patient,) if self.patient else ()),
            ("t.patient_id", (self.patient_id,) if self.patient_id else ()),
            ("t.uid", self.studies),
            ("s.uid", self.series),
            ("i.uid", self.instances),
        ]
        return [(column, values) for column, values in named if values]


@dataclass(frozen=True, slots=True)
class InstanceGroup:
    """The number and bytes of the selected instances of one SOP class in one transfer syntax."""

    sop_class_uid: str
    transfer_syntax_uid: str
    count: int
    size: int
    elsewhere: bool = False
    """Whether a UID of one of them was known under another parent when it was stored."""


async def outline(database: Database, selection: Selection) -> list[InstanceGroup]:
    """The selected instances in groups; empty if nothing is selected."""
    groups: dict[tuple[str, str], list[int]] = {}
    for part in selection.parts():
        query, parameters = queries.outlined(part.keys)
        for sop_class, syntax, count, size, flags in await database.fetch(query, *parameters):
            group = groups.setdefault((sop_class, syntax), [0, 0, 0])
            group[0] += count
            group[1] += size
            group[2] |= flags
    return [InstanceGroup(*key, count, size, bool(flags)) for key, (count, size, flags) in groups.items()]


async def ambiguous_uid(database: Database, selection: Selection) -> str:
    """A requested UID of the lowest level that exists under several parents; '' if each is unique.

    Of two instances that share a UID the later is flagged: if `outline` says that none is elsewhere, skip the query.
    """
    for part in selection.parts():
        if part.studies or part.series or part.instances:
            query, parameters = queries.selected_twice(part.keys)
            for (uid,) in await database.fetch(query, *parameters):
                return str(uid)
    return ""


async def selected(database: Database, selection: Selection) -> AsyncIterator[Located]:
    """The locations of the selected instances, in pages: series by series, by instance number. No cursor stays open."""
    for part in selection.parts():
        if part.instances:
            query, parameters = queries.selected_instances(part.keys)
            for row in await database.fetch(query, *parameters):
                yield located(row)
            continue
        query, parameters = queries.selected_series(part.keys)
        for (series,) in await database.fetch(query, *parameters):
            after = _FIRST
            while True:
                page = [located(row) for row in await database.fetch(queries.SELECTED_IN_SERIES, series, *after, PAGE)]
                for instance in page:
                    yield instance
                if len(page) < PAGE:
                    break
                after = page[-1].position[2:]
