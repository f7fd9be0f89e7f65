"""The rows of segments: how far the index is a view of each, and how much in it is alive.

Rows of instances and the mark of their segment are written in one transaction, so that recovery replays exactly the
frames whose rows are missing. The files are in `storage/segments/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.database.database import Database, Script
from gateway.index.queries import segments as queries
from gateway.index.queries.store import ADD_GARBAGE


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """One row. `mark`: an offset; `live`: bytes of frames that are not erased; `ended`: nothing is added any more."""

    name: str
    mark: int
    live: int
    ended: bool


@dataclass(frozen=True, slots=True)
class SegmentAdvance:
    """The effect of a batch of frames on the rows of segments."""

    segment: str
    mark: int
    size: int
    """Bytes of the frames."""
    begun: bool
    """Whether the segment begins with this batch."""
    ended: str
    """The segment that is full; '' if none is."""


def advance(batch: SegmentAdvance, dead: Sequence[str], delete_at: float) -> Script[None]:
    """Advance the mark over a batch. `dead`: keys of objects that got no row, to be erased at `delete_at`."""
    if batch.ended:
        yield queries.END_SEGMENT, (batch.ended,)
    if batch.begun:
        yield queries.ADD_SEGMENT, (batch.segment, 0)
    yield queries.ADVANCE_SEGMENT, (batch.segment, batch.mark, batch.size)
    for key in dead:
        yield ADD_GARBAGE, (key, delete_at)


async def segments(database: Database) -> list[SegmentRow]:
    """All segments, oldest first."""
    rows = await database.fetch(queries.LIST_SEGMENTS)
    return [SegmentRow(name, mark, live, bool(ended)) for name, mark, live, ended in rows]


def erased(name: str, size: int) -> Script[None]:
    """Take the bytes of an erased frame off its segment."""
    yield queries.ERASED_IN_SEGMENT, (name, size)


async def dead_segments(database: Database) -> list[str]:
    """Segments that have ended and in which nothing lives, by their sizes: their files decide."""
    return [name for (name,) in await database.fetch(queries.DEAD_SEGMENTS)]


def forget_segment(name: str) -> Script[None]:
    """Forget a segment whose file is about to go."""
    yield queries.FORGET_SEGMENT, (name,)


def set_segment(name: str, mark: int, live: int) -> Script[None]:
    """Enter a segment that has ended, as its file says."""
    yield queries.SET_SEGMENT, (name, mark, live)


async def sparse_segments(database: Database, more_than: int, limit: int) -> list[str]:
    """Segments that have ended and of which a quarter, and more than so many bytes, are dead; oldest first."""
    return [name for (name,) in await database.fetch(queries.SPARSE_SEGMENTS, more_than, limit)]


def empty_segment(name: str) -> Script[None]:
    """Enter that all that lives in a segment has been moved."""
    yield queries.EMPTY_SEGMENT, (name,)


def enter_moved(moved: Sequence[tuple[str, str]], batch: SegmentAdvance, now: float, delete_at: float) -> Script[None]:
    """Enter a batch of frames that are objects which were elsewhere, (old key, new key) each, and have the old ones
    deleted at `delete_at`. The new frame of an object that nothing names any more is to be erased, too."""
    yield from advance(batch, (), now)
    for old, new in moved:
        found = (yield queries.MOVE_INSTANCE, (old, new)) or (yield queries.MOVE_UNREADABLE, (old, new))
        yield queries.MOVE_INCOMPLETE, (old, new)
        yield ADD_GARBAGE, (old, delete_at)
        if not found:
            yield ADD_GARBAGE, (new, now)


def clear() -> Script[None]:
    """Forget all segments, for a rebuild that enters them anew."""
    yield queries.CLEAR_SEGMENTS, ()


def end_segment(name: str) -> Script[None]:
    """Enter that nothing is added to a segment any more."""
    yield queries.END_SEGMENT, (name,)


async def next_unchecked(database: Database, before: float) -> str | None:
    """The segment whose checksums were compared longest ago, if that was before a time; None if there is none."""
    rows = await database.fetch(queries.NEXT_UNCHECKED, before)
    return rows[0][0] if rows else None


def set_checked(name: str, now: float) -> Script[None]:
    """Enter that the checksums of a segment have been compared."""
    yield queries.SET_CHECKED, (name, now)
