"""The metadata of instances as DICOM JSON (PS3.18 §10.4.1.1.2), in compressed blocks: found, or made and kept.

A block is the text of up to BLOCK instances of one series, with absolute URLs in it. It is made when it is first asked
for, never at intake, and kept in the index database under a tag of what it was made from. Compressed as it is, it can
go out as it is: a gzip stream is put together from blocks without compressing anything again.
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

from gateway.archive.pump import Memory
from gateway.archive.retrieve import Retrieval
from gateway.database.database import Database
from gateway.dicom.alike import Alike
from gateway.errors import DatabaseError
from gateway.index import metadata as kept
from gateway.index.locate import Located
from gateway.index.metadata import Block
from gateway.storage.store import StoredObject

log = logging.getLogger(__name__)

BLOCK: Final = 100
"""Instances in one block."""
_FORMAT: Final = "1"
"""Part of every tag: another number where the text comes out otherwise than before."""
_WORTH_KEEPING: Final = 8
"""Instances from which on a block is kept; fewer are read as quickly as they are found."""
_LONG: Final = 256 << 10
"""Bytes of text from which on it is kept for any number: multi-frame headers take long."""
_TOGETHER: Final = 4 << 20
"""Bytes of blocks that are kept in one transaction."""
_TRIM_EVERY: Final = 32
_LEVEL: Final = 1
_ZEROS: Final = memoryview(bytes(1 << 20))
_BLOCK_SIZE: Final = 64 << 20
"""Bytes of files from which on no further instance is added to a block: their text could be as long."""

Url = Callable[[Located, str], str]
"""The absolute URL of the bulk data of an instance at a path."""


class MetadataCache:
    """Makes blocks and keeps them. `limit` says how many bytes may be kept in all, 0 none."""

    def __init__(self, database: Database, retrieval: Retrieval, limit: Callable[[], int]) -> None:
        self._database = database
        self._retrieval = retrieval
        self._limit = limit
        self._kept = 0

    async def blocks(self, located: AsyncGenerator[Located, None], base: str, url: Url) -> AsyncGenerator[Block, None]:
        """The blocks of instances in their order, the next being got ready while one is sent. Closes `located`.

        `base` is what `url` makes of no instance: what else a URL depends on. Raises as `Retrieval.map`.
        """
        alike = Alike()
        made: list[tuple[str, Block]] = []
        study = ""
        following: asyncio.Task[tuple[str, Block, bool]] | None = None
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
        await self._keep(made, study)

    async def _block(self, run: list[Located], base: str, url: Url, alike: Alike) -> tuple[str, Block, bool]:
        """Its tag, the block, and whether it has just been made and is worth keeping."""
        limit = self._limit()
        tag = hashlib.sha256("\0".join([_FORMAT, base, *(each.key for each in run)]).encode()).hexdigest()
        if limit > 0:
            found = await kept.find_block(self._database, tag)
            if found is not None:
                return tag, found, False

        def encode(stored: StoredObject, one: Located) -> bytes:
            return alike.encode(
                stored.read, one.data_set_offset, one.size, one.transfer_syntax_uid, lambda path: url(one, path)
            )

        block = await self._retrieval.run(compress, await self._retrieval.map(run, encode))
        worth = len(run) >= _WORTH_KEEPING or block.length >= _LONG
        return tag, block, worth and limit > 0

    async def _remember(self, made: list[tuple[str, Block]], ready: tuple[str, Block, bool], study: str) -> None:
        tag, block, new = ready
        if new:
            made.append((tag, block))
            if sum(len(each.body) for _, each in made) >= _TOGETHER:
                await self._keep(made, study)

    async def _keep(self, made: list[tuple[str, Block]], study: str) -> None:
        if not made:
            return
        blocks = made.copy()
        made.clear()
        try:
            await self._database.write(lambda: kept.keep_blocks(blocks, study, time.time()))
            if self._kept % _TRIM_EVERY == 0:
                await self._database.write(lambda: kept.trim(self._limit()))
            self._kept += 1
        except DatabaseError as error:
            log.warning("metadata of a study is not kept, and will be made again: %s", error)


async def _runs(located: AsyncGenerator[Located, None]) -> AsyncGenerator[list[Located], None]:
    """Up to BLOCK instances of one series each, and the same ones whether a study or the series is asked for.

    Series too small to be worth keeping go together.
    """
    run: list[Located] = []
    waiting: list[Located] = []
    size = 0
    async with aclosing(located) as source:
        async for each in source:
            if run and (run[0].series_uid != each.series_uid or len(run) == BLOCK or size >= _BLOCK_SIZE):
                if len(run) < _WORTH_KEEPING and size < _BLOCK_SIZE:
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


def compress(texts: list[bytes]) -> Block:
    """The texts with commas between them, as one block. Blocking."""
    text = b",".join(texts)
    deflate = zlib.compressobj(_LEVEL, wbits=-zlib.MAX_WBITS)
    body = deflate.compress(text) + deflate.flush(zlib.Z_SYNC_FLUSH)
    return Block(len(text), zlib.crc32(text), body)


def text_of(block: Block, memory: Memory) -> Generator[bytes, None, None]:
    """The text again, in pieces as large as `memory` has room for: a block waits compressed. Blocking."""
    inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    rest = block.body
    while piece := inflate.decompress(rest, memory.piece):
        rest = inflate.unconsumed_tail
        yield piece


class Gzip:
    """A gzip stream (RFC 1952) of a JSON array, put together from blocks as they come."""

    _HEAD: Final = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"

    def __init__(self) -> None:
        self._checksum = 0
        self._length = 0

    def begin(self) -> bytes:
        return self._HEAD + self._stored(b"[")

    def add(self, block: Block) -> bytes:
        """The bytes to send for one more block. Blocking: a millisecond for each megabyte of its text."""
        comma = self._stored(b",") if self._length > 1 else b""
        self._checksum = _joined_checksum(self._checksum, block)
        self._length += block.length
        return comma + block.body

    def end(self) -> bytes:
        closing = self._stored(b"]")
        last = b"\x03\x00"  # an empty block that is the last one
        return closing + last + self._checksum.to_bytes(4, "little") + (self._length % 2**32).to_bytes(4, "little")

    def _stored(self, character: bytes) -> bytes:
        """One character in a stored block (RFC 1951 §3.2.4); blocks before it end with a whole byte."""
        self._checksum = zlib.crc32(character, self._checksum)
        self._length += 1
        return b"\x00\x01\x00\xfe\xff" + character


def _joined_checksum(before: int, block: Block) -> int:
    """The CRC-32 of a text, `before`, and the block's after it: it is linear, so as many zeros take its place."""
    after, alone = before, 0
    for at in range(0, block.length, len(_ZEROS)):
        zeros = _ZEROS[: block.length - at]
        after, alone = zlib.crc32(zeros, after), zlib.crc32(zeros, alone)
    return after ^ alone ^ block.checksum
