"""What a retrieval asks for by unique keys: how much it is, and where each instance is, page by page.

Keys of several levels hold together; of one level there may be many UIDs. Reading the files is in
`archive/retrieve.py`, what an identifier may look like in `scp/`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.database.database import Database
from gateway.index import queries
from gateway.index.locate import PAGE, Located

_AT_ONCE = 500
"""UIDs of a list that stand in one statement."""
_FIRST = (-(2**62), -1)
"""Before the first instance of a series."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Unique keys that hold together; an empty one is not asked for. One at least is there."""

    patient_id: str = ""
    studies: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()

    def parts(self) -> Iterator[Selection]:
        """The same in selections whose lists are short enough for one statement each."""
        for name in ("instances", "series", "studies"):
            uids = tuple(dict.fromkeys(getattr(self, name)))
            if len(uids) > _AT_ONCE:
                for at in range(0, len(uids), _AT_ONCE):
                    some: dict[str, Any] = {name: uids[at : at + _AT_ONCE]}
                    yield from replace(self, **some).parts()
                return
        yield self

    @property
    def keys(self) -> list[tuple[str, Sequence[str]]]:
        """Column and values, outermost first."""
        named = [
            ("t.patient_id", (self.patient_id,) if self.patient_id else ()),
            ("t.uid", self.studies),
            ("s.uid", self.series),
            ("i.uid", self.instances),
        ]
        return [(column, values) for column, values in named if values]


@dataclass(frozen=True, slots=True)
class Group:
    """How many of the selected instances are of one SOP class in one transfer syntax, and their bytes."""

    sop_class_uid: str
    transfer_syntax_uid: str
    count: int
    size: int


async def outline(database: Database, selection: Selection) -> list[Group]:
    """What is selected, in groups. Empty where nothing is."""
    found: dict[tuple[str, str], list[int]] = {}
    for part in selection.parts():
        query, parameters = queries.selected("outline", part.keys)
        for sop_class, syntax, count, size in await database.fetch(query, *parameters):
            group = found.setdefault((sop_class, syntax), [0, 0])
            group[0] += count
            group[1] += size
    return [Group(*key, *group) for key, group in found.items()]


async def selected(database: Database, selection: Selection) -> AsyncIterator[Located]:
    """Where they are, fetched in pages: series by series, by instance number. Nothing is held open between pages."""
    for part in selection.parts():
        if part.instances:
            query, parameters = queries.selected("instances", part.keys)
            for row in await database.fetch(query, *parameters):
                yield _located(row)
            continue
        query, parameters = queries.selected("series", part.keys)
        for (series,) in await database.fetch(query, *parameters):
            after = _FIRST
            while True:
                page = [_located(row) for row in await database.fetch(queries.SELECTED_IN_SERIES, series, *after, PAGE)]
                for located in page:
                    yield located
                if len(page) < PAGE:
                    break
                after = page[-1].position[2:]


def _located(row: Sequence[object]) -> Located:
    return Located(*[*row[:10], (*row[10:13], row[0])])  # type: ignore[arg-type]
