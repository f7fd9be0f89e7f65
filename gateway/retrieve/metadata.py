"""The metadata of instances as DICOM JSON (PS3.18 §10.4.1.1.2), in compressed blocks: read from the cache, or encoded.

A block is the text of up to BLOCK instances of one series, with absolute URLs. It is encoded at the first request,
never at intake, and cached in the index database under a tag of everything that the text depends on. Blocks are sent
without compressing again: a gzip stream is concatenated from them.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
import zlib
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing
from typing import Final

import msgspec

from gateway.database.database import Database
from gateway.dicom.series_json import SeriesJsonEncoder
from gateway.errors import DatabaseError, DataSetError
from gateway.index import metadata as kept
from gateway.index.locate import Located
from gateway.index.metadata import MetadataBlock
from gateway.retrieve.read_ahead import MemoryBudget
from gateway.retrieve.retrieval import Retrieval
from gateway.storage.store import StoredObject

log = logging.getLogger(__name__)

BLOCK: Final = 100
"""Instances in one block."""
_FORMAT: Final = "1"
"""Part of every tag; change it whenever the encoded text changes."""
_WORTH_CACHING: Final = 8
"""Instances from which a block is cached; fewer are encoded as quickly as a block is read."""
_LONG: Final = 256 << 10
"""Bytes of text from which a block is cached whatever its number of instances: multi-frame headers take long."""
_TOGETHER: Final = 4 << 20
"""Bytes of blocks written in one transaction."""
_TRIM_EVERY: Final = 32
_LEVEL: Final = 1
_ZEROS: Final = memoryview(bytes(1 << 20))
_BLOCK_SIZE: Final = 64 << 20
"""Bytes of files from which no further instance is added to a block: their text could be as long."""

Url = Callable[[Located, str], str]
"""The absolute URL of the bulk data of an instance at a path."""


class MetadataCache:
    """Encodes blocks and caches them. `limit` gives the bytes to cache in all, 0 for none."""

    def __init__(self, database: Database, retrieval: Retrieval, limit: Callable[[], int]) -> None:
        self._database = database
        self._retrieval = retrieval
        self._limit = limit
        self._written = 0

    async def blocks(
        self, located: AsyncGenerator[Located, None], base: str, url: Url
    ) -> AsyncGenerator[MetadataBlock, None]:
        """Yield the blocks of instances in order, the next being prepared while one is sent. Closes `located`.

        `base` is what `url` returns for no instance: everything else that a URL depends on. Raises like
        `Retrieval.map`.
        """
        alike = SeriesJsonEncoder()
        made: list[tuple[str, MetadataBlock]] = []
        study = ""
        following: asyncio.Task[tuple[str, MetadataBlock, bool]] | None = None
        try:
            async with aclosing(_runs(located)) as runs:
                async for run in runs:
                    study = run[0].study_uid
                    ready = await following if following is not None else None
                    following = asyncio.create_task(self._block(run, base, url, alike))
                    if ready is not None:
                        yield ready[1]
                        await self._remember(made, ready, study)
                if following is not None:
                    ready = await following
                    yield ready[1]
                    await self._remember(made, ready, study)
        finally:
            if following is not None and not following.done():
                following.cancel()
                await asyncio.wait([following])
        await self._write(made, study)

    async def _block(
        self, run: list[Located], base: str, url: Url, alike: SeriesJsonEncoder
    ) -> tuple[str, MetadataBlock, bool]:
        """The tag, the block, and whether the block is new and worth caching."""
        limit = self._limit()
        depends = [_FORMAT, base, *(each.key for each in run), *dict.fromkeys(each.clashing_patient for each in run)]
        tag = hashlib.sha256("\0".join(filter(None, depends)).encode()).hexdigest()
        if limit > 0:
            found = await kept.find_block(self._database, tag)
            if found is not None:
                return tag, found, False

        def encode(stored: StoredObject, one: Located) -> bytes:
            try:
                return alike.encode(
                    stored.read, one.data_set_offset, one.size, one.transfer_syntax_uid, lambda path: url(one, path)
                )
            except DataSetError as error:
                return what_is_known(one, error)

        block = await self._retrieval.run(compress, await self._retrieval.map(run, encode))
        worth = len(run) >= _WORTH_CACHING or block.length >= _LONG
        return tag, block, worth and limit > 0

    async def _remember(
        self, made: list[tuple[str, MetadataBlock]], ready: tuple[str, MetadataBlock, bool], study: str
    ) -> None:
        tag, block, new = ready
        if new:
            made.append((tag, block))
            if sum(len(each.body) for _, each in made) >= _TOGETHER:
                await self._write(made, study)

    async def _write(self, made: list[tuple[str, MetadataBlock]], study: str) -> None:
        if not made:
            return
        blocks = made.copy()
        made.clear()
        try:
            await self._database.write(lambda: kept.cache_blocks(blocks, study, time.time()))
            if self._written % _TRIM_EVERY == 0:
                await self._database.write(lambda: kept.trim(self._limit()))
            self._written += 1
        except DatabaseError as error:
            log.warning("metadata of a study is not cached, and will be encoded again: %s", error)


def what_is_known(one: Located, error: DataSetError) -> bytes:
    """The metadata of an instance whose data set cannot be read: its UIDs, as DICOM JSON.

    The instance then leaves no gap in its study, and does not prevent the others from being sent.
    """
    log.warning("instance %s cannot be read; its metadata are its UIDs alone: %s", one.sop_uid, error)
    uids = {
        "00080016": one.sop_class_uid,
        "00080018": one.sop_uid,
        "0020000D": one.study_uid,
        "0020000E": one.series_uid,
    }
    return msgspec.json.encode({tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()})


async def _runs(located: AsyncGenerator[Located, None]) -> AsyncGenerator[list[Located], None]:
    """Yield runs of up to BLOCK instances of one series, the same whether a study or the series is requested.

    Series too small to be worth caching are combined.
    """
    run: list[Located] = []
    waiting: list[Located] = []
    size = 0
    async with aclosing(located) as source:
        async for each in source:
            if run and (run[0].series_uid != each.series_uid or len(run) == BLOCK or size >= _BLOCK_SIZE):
                if len(run) < _WORTH_CACHING and size < _BLOCK_SIZE:
                    waiting += run
                else:
                    if waiting:
                        yield waiting
                        waiting = []
                    yield run
                if len(waiting) >= BLOCK:
                    yield waiting
                    waiting = []
                run, size = [], 0
            run.append(each)
            size += each.size
    if waiting:
        yield waiting
    if run:
        yield run


def compress(texts: list[bytes]) -> MetadataBlock:
    """Compress the texts, separated by commas, to one block. Blocking."""
    text = b",".join(texts)
    deflate = zlib.compressobj(_LEVEL, wbits=-zlib.MAX_WBITS)
    body = deflate.compress(text) + deflate.flush(zlib.Z_SYNC_FLUSH)
    return MetadataBlock(len(text), zlib.crc32(text), body)


def text_of(block: MetadataBlock, memory: MemoryBudget) -> Generator[bytes, None, None]:
    """Decompress a block, in chunks that fit `memory`: blocks wait compressed. Blocking."""
    inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    rest = block.body
    while piece := inflate.decompress(rest, memory.piece):
        rest = inflate.unconsumed_tail
        yield piece


class Gzip:
    """A gzip stream (RFC 1952) of a JSON array, concatenated from blocks."""

    _HEAD: Final = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"

    def __init__(self) -> None:
        self._checksum = 0
        self._length = 0

    def begin(self) -> bytes:
        return self._HEAD + self._stored(b"[")

    def add(self, block: MetadataBlock) -> bytes:
        """The bytes to send for one more block. Blocking: a millisecond for each megabyte of text."""
        comma = self._stored(b",") if self._length > 1 else b""
        self._checksum = _joined_checksum(self._checksum, block)
        self._length += block.length
        return comma + block.body

    def end(self) -> bytes:
        closing = self._stored(b"]")
        last = b"\x03\x00"  # an empty final block
        return closing + last + self._checksum.to_bytes(4, "little") + (self._length % 2**32).to_bytes(4, "little")

    def _stored(self, character: bytes) -> bytes:
        """One character in a stored block (RFC 1951 §3.2.4); the blocks before it end on a byte boundary."""
        self._checksum = zlib.crc32(character, self._checksum)
        self._length += 1
        return b"\x00\x01\x00\xfe\xff" + character


def _joined_checksum(before: int, block: MetadataBlock) -> int:
    """The CRC-32 of a text with checksum `before` and the block's after it. CRC-32 is linear: zeros stand for the
    text."""
    after, alone = before, 0
    for at in range(0, block.length, len(_ZEROS)):
        zeros = _ZEROS[: block.length - at]
        after, alone = zlib.crc32(zeros, after), zlib.crc32(zeros, alone)
    return after ^ alone ^ block.checksum
