"""Metadata that is kept after it was made: blocks of a series' instances, by a tag of what they were made from.

A tag names storage keys, which are never used twice, so a block is right or never found. How a block is made and sent
is in `archive/metadata.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from gateway.database.database import Database, Script
from gateway.index import queries

_AT_ONCE: Final = 50


class Block(NamedTuple):
    """The text of some instances' metadata, with commas between them."""

    length: int
    """Bytes of the text."""
    checksum: int
    """Its CRC-32."""
    body: bytes
    """It compressed: raw deflate (RFC 1951), whole blocks that are not the last of a stream."""


async def validator(database: Database, study: str, series: str | None, instance: str | None) -> tuple[object, ...]:
    """What changes whenever an instance of these is stored, replaced or removed. The first is how many there are."""
    uids = [uid for uid in (study, series, instance) if uid is not None]
    (found,) = await database.fetch(queries.VALIDATORS[len(uids) - 1], *uids)
    return found


async def find_block(database: Database, tag: str) -> Block | None:
    rows = await database.fetch(queries.FIND_METADATA, tag)
    return Block(*rows[0]) if rows else None


def keep_blocks(blocks: Sequence[tuple[str, Block]], study_uid: str, now: float) -> Script[None]:
    """Keep blocks of a study under their tags. `now` is in seconds since 1970."""
    for tag, block in blocks:
        yield queries.KEEP_METADATA, (tag, study_uid, now, block.length, block.checksum, len(block.body), block.body)


def trim(limit: int) -> Script[None]:
    """Let the oldest blocks go until those that stay take `limit` bytes at most."""
    ((size,),) = yield queries.SIZE_OF_METADATA, ()
    while size > limit:
        oldest = yield queries.OLDEST_METADATA, (_AT_ONCE,)
        for tag, length in oldest:
            if size <= limit:
                return
            yield queries.FORGET_METADATA, (tag,)
            size -= length
