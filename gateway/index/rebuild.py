"""Rebuilding the index from the files: what is derived goes, what only the database knew stays.

A rebuild is `begin`, then for every file `origin_of` and `store_again`, then `finish`. It can be broken off anywhere
and begun again: where the files came from is put aside first, in the same transaction that clears the tables. The
change log and the list of files to delete are kept. Reading the files is in `archive/`; no gateway should be serving.
"""

from __future__ import annotations

from gateway.database.database import Database, Script
from gateway.index import queries
from gateway.index.record import InstanceRecord
from gateway.index.store import Exists, Origin, Placement, Stored, store_instance


def begin() -> Script[None]:
    """Put the origins aside and clear patients, studies, series and instances."""
    yield queries.KEEP_ORIGINS, ()
    for clear in queries.CLEAR:
        yield clear, ()


async def unfinished(database: Database) -> bool:
    """Whether a rebuild was begun and not finished: the index is then incomplete."""
    ((count,),) = await database.fetch(queries.COUNT_ORIGINS)
    return bool(count)


async def origin_of(database: Database, key: str) -> tuple[Origin, int] | None:
    """Where the file under this key came from and which version it is; None where the database never knew."""
    rows = await database.fetch(queries.FIND_ORIGIN, key)
    if not rows:
        return None
    ((version, received_at, via, calling_aet, called_aet, peer),) = rows
    return Origin(calling_aet, called_aet, peer, received_at, via), version


def store_again(
    record: InstanceRecord, placement: Placement, origin: Origin, version: int = 1, *, replaces: str | None = None
) -> Script[Stored | Exists]:
    """As store_instance, without entries in the change log: nothing has happened to the instance.

    Of two files of one instance the one with the higher version must be given first; for the other one the answer
    is Exists. Where the versions are not known any more, `replaces` names the older file, which becomes garbage.
    """
    script = store_instance(record, placement, origin, replaces=replaces)
    rows: list[tuple[object, ...]] | None = None
    while True:
        try:
            query, parameters = next(script) if rows is None else script.send(rows)
        except StopIteration as end:
            result: Stored | Exists = end.value
            break
        rows = [(0,)] if query is queries.ADD_CHANGE else (yield query, parameters)
    if isinstance(result, Stored) and version != 1:
        yield queries.SET_VERSION, (placement.key, version)
        result.version = version
    return result


def supersede(key: str, at: float) -> Script[None]:
    """A file that holds an older version of an instance that is entered: it is to be deleted."""
    yield queries.ADD_GARBAGE, (key, at)


def finish() -> Script[None]:
    """The rebuild is complete; forget what was put aside."""
    yield queries.FORGET_ORIGINS, ()
