"""Cached metadata: blocks of a series' instances, by a tag of what they were made from.

A tag names storage keys, which are never used twice, so a block is current or never found. How a block is made and sent
is in `retrieve/metadata.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from gateway.database.database import Database, Script
from gateway.index.queries import metadata as queries

_AT_ONCE: Final = 50


class MetadataBlock(NamedTuple):
    """The metadata text of some instances, separated by commas."""

    length: int
    """Length of the text in bytes."""
    checksum: int
    """CRC-32 of the text."""
    body: bytes
    """The text, raw-deflated (RFC 1951); ends on a byte boundary with BFINAL unset, so bodies can be concatenated."""


async def validator(
    database: Database, study: str, series: str | None, instance: str | None, patient: str = ""
) -> tuple[object, ...]:
    """Values that change whenever an instance of the resource is stored, replaced or removed; first, their number."""
    uids = [uid for uid in (series, instance) if uid is not None]
    (values,) = await database.fetch(queries.VALIDATORS[len(uids)], study, patient, *uids)
    return values


async def find_block(database: Database, tag: str) -> MetadataBlock | None:
    rows = await database.fetch(queries.FIND_METADATA, tag)
    return MetadataBlock(*rows[0]) if rows else None


def cache_blocks(blocks: Sequence[tuple[str, MetadataBlock]], study_uid: str, now: float) -> Script[None]:
    """Store blocks of a study under their tags. `now` is in seconds since 1970."""
    for tag, block in blocks:
        yield queries.KEEP_METADATA, (tag, study_uid, now, block.length, block.checksum, len(block.body), block.body)


def trim(limit: int) -> Script[None]:
    """Delete the oldest blocks until the rest takes at most `limit` bytes."""
    ((size,),) = yield queries.SIZE_OF_METADATA, ()
    while size > limit:
        oldest = yield queries.OLDEST_METADATA, (_AT_ONCE,)
        for tag, length in oldest:
            if size <= limit:
                return
            yield queries.FORGET_METADATA, (tag,)
            size -= length
