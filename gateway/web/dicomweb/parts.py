"""Answers out of stored instances, made in threads piece by piece: one part alone, or many in multipart.

What is made is a stream of `Part`s, each followed by its bytes. Which, and of what, is in `bulkdata.py` and
`frames.py`; how an instance is opened and read in `archive/retrieve.py`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import aclosing
from typing import Final, NamedTuple

from aiohttp import hdrs, web

from gateway.archive.pump import Memory
from gateway.errors import NotFound
from gateway.web.conditional import ByteRange, entity_tag, unchanged, validators, wanted_range
from gateway.web.dicomweb.multipart import Multipart
from gateway.web.dicomweb.resources import RETRIEVAL
from gateway.web.streaming import stream


class Part(NamedTuple):
    """What stands before the bytes of one part."""

    content_type: str
    length: int | None
    """Bytes, where that is known."""
    location: str
    """Its own URL."""
    key: str
    """Of the stored object that it is made of."""

    @property
    def tag(self) -> str:
        return entity_tag(self.key, self.location, self.content_type)


_LARGE: Final = 64 << 10
"""Bytes of a piece that is sent by itself."""
Item = Part | bytes
Items = Generator[Item, None, None]
Span = Callable[[Part], tuple[int, int]]
"""Given a part of known length, its first byte to be sent and the one after the last."""


def whole(part: Part) -> tuple[int, int]:
    """All of it."""
    return 0, part.length or 0


def span_for(request: web.Request) -> Span:
    """As the Range header says. Raises RangeNotSatisfiable."""

    def span(part: Part) -> tuple[int, int]:
        assert part.length is not None
        return wanted_range(request, part.length, part.tag) or whole(part)

    return span


def size_of(item: Item) -> int:
    return len(item) if isinstance(item, bytes) else 0


def cut(data: bytes, span: tuple[int, int]) -> bytes:
    start, stop = span
    return data if (start, stop) == (0, len(data)) else data[start:stop]


async def send_alone(request: web.Request, items: AsyncGenerator[Item, None], nothing: str) -> web.StreamResponse:
    """The one part of `items` as the answer. `nothing` says what is not there where there is none (404)."""
    async with aclosing(items) as source:
        part = await anext(source, None)
        if part is None:
            raise NotFound(nothing)
        assert isinstance(part, Part)
        if (answer := unchanged(request, part.tag)) is not None:
            return answer
        headers = {**validators(part.tag), hdrs.CONTENT_TYPE: part.content_type, hdrs.CONTENT_LOCATION: part.location}
        response = web.StreamResponse(headers=headers)
        if part.length is not None:
            response.headers[hdrs.ACCEPT_RANGES] = "bytes"
            start, stop = span_for(request)(part)
            if (start, stop) != whole(part):
                ByteRange(start, stop).describe(response, part.length)
            else:
                response.content_length = part.length
        return await stream(request, response, _bytes(source))


async def send_multipart(
    request: web.Request, media_type: str, items: AsyncGenerator[Item, None], nothing: str
) -> web.StreamResponse:
    """All parts of `items`. `nothing` says what is not there where there are none (404)."""
    body = Multipart(media_type)
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: body.content_type, hdrs.VARY: hdrs.ACCEPT})
    memory = request.app[RETRIEVAL].memory
    async with aclosing(_multipart(body, items, nothing, memory)) as pieces:
        first, last = await anext(pieces)
        if last:  # with its length said, nothing is copied into chunks on the way
            response.content_length = sum(map(len, first))
        return await stream(request, response, _after(first, pieces))


async def _after(
    first: list[bytes], pieces: AsyncGenerator[tuple[list[bytes], bool], None]
) -> AsyncGenerator[bytes, None]:
    """`first` is emptied, so that it does not stay for as long as the client takes for all the others."""
    for piece in _gathered(first):
        yield piece
    async for some, _last in pieces:
        for piece in _gathered(some):
            yield piece


def _gathered(pieces: list[bytes]) -> Iterator[bytes]:
    """Small ones together, for each write costs more than that; large ones as they are, for a copy costs more still.
    They are taken out of the list.
    """
    small: list[bytes] = []
    for piece in pieces:
        if len(piece) < _LARGE:
            small.append(piece)
            continue
        if small:
            yield b"".join(small)
            small = []
        yield piece
    if small:
        yield b"".join(small)
    pieces.clear()


async def _bytes(items: AsyncGenerator[Item, None]) -> AsyncGenerator[bytes, None]:
    async for item in items:
        assert isinstance(item, bytes)
        yield item


async def _multipart(
    body: Multipart, items: AsyncGenerator[Item, None], nothing: str, memory: Memory
) -> AsyncGenerator[tuple[list[bytes], bool], None]:
    """Pieces, together as large as `memory` has room for, and whether they are the last."""
    pieces, size, any_part = list[bytes](), 0, False
    async with aclosing(items) as source:
        async for item in source:
            if isinstance(item, Part):
                head = body.head(item.content_type, length=item.length, location=item.location)
                item = body.END + head if any_part else head
                any_part = True
            pieces.append(item)
            size += len(item)
            if size >= memory.piece:
                yield pieces, False
                pieces, size = [], 0
    if not any_part:
        raise NotFound(nothing)
    pieces.append(body.END + body.close())
    yield pieces, True
