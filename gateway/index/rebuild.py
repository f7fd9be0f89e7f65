"""Rebuilding the index from the files: derived rows are cleared, data known only to the database stays.

A rebuild is `begin`, then for every file `origin_of` and `store_again` or `pass_over`, then `finish`. It runs in a
copy of the database that replaces the old one at the end. Earlier releases ran it in the database itself: an
interrupted rebuild there has saved the origins, and is begun again. The change log and the list of garbage stay.
Reading the files is in `admin/reindex.py`; no gateway should be serving.
"""

from __future__ import annotations

from gateway.database.database import Database, Script
from gateway.index.queries import rebuild as queries
from gateway.index.queries.store import ADD_CHANGE, ADD_GARBAGE, FORGET_INCOMPLETE
from gateway.index.record import InstanceRecord
from gateway.index.store import Duplicate, FileLocation, Origin, Stored, store_instance


def begin() -> Script[None]:
    """Save the origins and clear patients, studies, series and instances."""
    yield queries.KEEP_ORIGINS, ()
    for clear in queries.CLEAR:
        yield clear, ()


async def unfinished(database: Database) -> bool:
    """Whether an earlier release began a rebuild here that is not finished: the index is then incomplete."""
    ((count,),) = await database.fetch(queries.COUNT_ORIGINS)
    return bool(count)


async def origin_of(database: Database, key: str) -> tuple[Origin, int] | None:
    """The origin and version of the file with this key; None if the database never knew it."""
    rows = await database.fetch(queries.FIND_ORIGIN, key)
    if not rows:
        return None
    ((version, received_at, via, calling_aet, called_aet, peer),) = rows
    return Origin(calling_aet, called_aet, peer, received_at, via), version


def store_again(
    record: InstanceRecord,
    placement: FileLocation,
    origin: Origin,
    version: int = 1,
    *,
    replaces: str | None = None,
    known: bool = True,
) -> Script[Stored | Duplicate]:
    """Store an instance as `store_instance`, without entries in the change log if its file was `known`: nothing has
    happened to it. A file that the database never knew is new, also to readers of that log, such as the examination of
    code streams.

    Of two files of one instance the one with the higher version must be stored first; the other results in a
    Duplicate. If the versions are unknown, `replaces` names the older file, which becomes garbage.
    """
    script = store_instance(record, placement, origin, replaces=replaces)
    rows: list[tuple[object, ...]] | None = None
    while True:
        try:
            query, parameters = next(script) if rows is None else script.send(rows)
        except StopIteration as end:
            result: Stored | Duplicate = end.value
            break
        rows = [(0,)] if known and query is ADD_CHANGE else (yield query, parameters)
    if isinstance(result, Stored) and result.version != version:
        yield queries.SET_VERSION, (placement.key, version)
        result.version = version
    return result


def supersede(key: str, at: float) -> Script[None]:
    """Schedule for deletion a file that holds an older version of a stored instance."""
    yield ADD_GARBAGE, (key, at)
    yield FORGET_INCOMPLETE, (key,)


def pass_over(key: str, reason: str, at: float) -> Script[None]:
    """Record a file that cannot be read: known, and no instance."""
    yield queries.ADD_UNREADABLE, (key, reason, at)


def finish() -> Script[None]:
    """Complete the rebuild: delete the saved origins, and findings on files that no longer exist."""
    yield queries.FORGET_ORIGINS, ()
    yield queries.FORGET_INCOMPLETE_GONE, ()
