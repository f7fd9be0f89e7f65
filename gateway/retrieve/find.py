"""Finding resources: by attributes, by what they belong to, by labels and metadata; in an order, in part, or counted.

What Orthanc's `/tools/find` asks for. The statement does as much as the index allows; keys that stand in the files
alone are matched as C-FIND matches them (`query.py`). Matches are row numbers and public ids; what is shown of them is
read by `index/resources.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from gateway.config import Settings
from gateway.database.database import Database
from gateway.dicom.encode import DataSet
from gateway.dicom.levels import Level
from gateway.errors import BadRequest
from gateway.index import matching, narrowing
from gateway.index.ordering import Ordering, order_by
from gateway.index.search import Narrowing, Search, count_found, rows_found
from gateway.retrieve.query import QueryExecution
from gateway.storage.store import Store

PAGE: Final = 20000
"""Matches in one page where all are wanted: the statement is run once for each."""
MAX_FROM_FILES: Final = 10000
"""Matches of a key that the index does not have: they are numbered in the statement that puts them in order."""
_AT_ONCE: Final = 200

Found = tuple[int, str]
"""Row number and public id."""


@dataclass(frozen=True, slots=True)
class Request:
    """Conditions of a search for resources, and the part of the matches that is wanted."""

    level: Level
    keys: DataSet
    narrowings: tuple[Narrowing, ...] = ()
    any_case: bool = True
    orderings: Sequence[Ordering] = ()
    since: int = 0
    """Matches to leave out at the beginning."""
    limit: int | None = None
    """Most matches; None for all."""


@dataclass(frozen=True, slots=True)
class ResourceFinder:
    database: Database
    store: Store
    settings: Callable[[], Settings] = field(repr=False)

    async def pages(self, request: Request) -> AsyncIterator[list[Found]]:
        """The matches, page by page; never an empty page. In the order of rows, unless the request names another.

        Raises BadRequest for what makes no sense or cannot be ordered by, TooManyInstances, DatabaseError and
        StorageError.
        """
        wanted = await self._statement(request)
        left, offset = request.limit, request.since
        after: tuple[int, ...] | None = None
        while wanted is not None and (left is None or left > 0):
            limit = PAGE if left is None else min(left, PAGE)
            parameters = matching.Parameters()
            order = order_by(request.level, request.orderings, parameters)
            query, values = rows_found(replace(wanted, limit=limit, offset=offset, after=after), order, parameters)
            rows = await self.database.fetch(query, *values)
            if rows:
                yield [(row, public_id) for row, public_id in rows]
            if len(rows) < limit:
                return
            left = None if left is None else left - limit
            if order:
                offset += limit
            else:
                after, offset = (rows[-1][0],), 0

    async def count(self, request: Request) -> int:
        """How many there are, whatever part of them the request wants. Raises as `pages`."""
        wanted = await self._statement(request)
        if wanted is None:
            return 0
        query, values = count_found(wanted)
        ((count,),) = await self.database.fetch(query, *values)
        return int(count)

    async def requested(self, level: Level, rows: Sequence[int], tags: frozenset[int]) -> dict[int, dict[str, Any]]:
        """Attributes of resources by row number, each a member of the DICOM JSON Model under 'ggggeeee'.

        From the index, or else from the first file below each resource.
        """
        found: dict[int, dict[str, Any]] = {}
        for at in range(0, len(rows), _AT_ONCE):
            some = rows[at : at + _AT_ONCE]
            execution = self._execution(level, {}, (narrowing.of_rows(level, some),), include=tags)
            for match in (await execution.page(0, len(some))).matches:
                found[match.row] = {
                    name: msgspec.json.decode(match.attributes[name])
                    for tag in tags
                    if (name := f"{tag:08X}") in match.attributes
                }
        return found

    async def _statement(self, request: Request) -> Search | None:
        """The search that finds every match; None where there is none."""
        execution = self._execution(request.level, request.keys, request.narrowings, any_case=request.any_case)
        for tag in execution.unknown:
            raise BadRequest(
                f"({tag >> 16:04X},{tag & 0xFFFF:04X}) cannot be searched for at the level {request.level}"
            )
        if execution.statement is not None:
            return execution.statement
        rows: list[int] = []
        async with aclosing(execution.matches()) as pages:
            async for page in pages:
                rows += [match.row for match in page]
                if len(rows) > MAX_FROM_FILES:
                    raise BadRequest(f"more than {MAX_FROM_FILES} match keys that are not in the index; give more keys")
        if not rows:
            return None
        return Search(request.level, narrowings=(narrowing.of_rows(request.level, rows),))

    def _execution(
        self,
        level: Level,
        keys: DataSet,
        narrowings: tuple[Narrowing, ...],
        *,
        any_case: bool = False,
        include: frozenset[int] = frozenset(),
    ) -> QueryExecution:
        return QueryExecution(
            self.database,
            self.store,
            level,
            keys,
            most_read=self.settings().query.max_instances_read,
            include=include,
            any_case=any_case,
            narrowings=narrowings,
        )
