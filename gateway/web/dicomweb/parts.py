"""Answers from stored instances, produced in threads chunk by chunk: one part alone, or several in multipart.

A producer yields `Part`s, each followed by its bytes. `bulkdata.py` and `frames.py` have the producers,
`retrieve/retrieval.py` opens and reads instances.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import aclosing
from typing import Final, NamedTuple

from aiohttp import hdrs, web

from gateway.errors import NotFound
from gateway.http.multipart_writer import Multipart
from gateway.retrieve.read_ahead import Batch, MemoryBudget
from gateway.web.conditional import ByteRange, RangeRequest, entity_tag, unchanged, validators
from gateway.web.dicomweb.resources import RETRIEVAL
from gateway.web.security import ATTACHMENT
from gateway.web.streaming import stream


class Part(NamedTuple):
    """The head of one part."""

    content_type: str
    length: int | None
    """Bytes, if known."""
    location: str
    """The URL of the part itself."""
    key: str
    """Key of the stored object that it is produced from."""
    multipart: bool = True
    """Whether it is one part of a multipart answer, and not the whole answer."""

    @property
    def tag(self) -> str:
        return entity_tag(self.key, self.location, self.content_type)


_LARGE: Final = 64 << 10
"""Bytes of a chunk that is sent by itself."""
Item = Part | bytes
Items = Generator[Item, None, None]
Span = Callable[[Part], tuple[int, int]]
"""Selects, in a part of known length, the first byte to send and the one after the last."""


def whole(part: Part) -> tuple[int, int]:
    """All bytes of a part."""
    return 0, part.length or 0


def span_for(request: web.Request) -> Span:
    """The span of a Range header, for a thread that knows no request. Raises RangeNotSatisfiable."""
    asked = RangeRequest.of(request)
    if not asked.wanted:
        return whole

    def span(part: Part) -> tuple[int, int]:
        assert part.length is not None
        return asked.within(part.length, part.tag) or whole(part)

    return span


def size_of(item: Item) -> int:
    return len(item) if isinstance(item, bytes) else 0


def cut(data: bytes, span: tuple[int, int]) -> bytes:
    start, stop = span
    return data if (start, stop) == (0, len(data)) else data[start:stop]


async def send(request: web.Request, items: AsyncGenerator[Item, None], nothing: str) -> web.StreamResponse:
    """Send the items of a producer: a part alone, or all of them in multipart, as the first part says.

    `nothing` is the error text for a producer without any part (404).
    """
    async with aclosing(items) as source:
        part = await anext(source, None)
        if part is None:
            raise NotFound(nothing)
        assert isinstance(part, Part)
        return await (_send_multipart if part.multipart else _send_alone)(request, part, source)


async def _send_alone(request: web.Request, part: Part, source: AsyncGenerator[Item, None]) -> web.StreamResponse:
    if (answer := unchanged(request, part.tag)) is not None:
        return answer
    headers = {
        **validators(part.tag),
        **ATTACHMENT,
        hdrs.CONTENT_TYPE: part.content_type,
        hdrs.CONTENT_LOCATION: part.location,
    }
    response = web.StreamResponse(headers=headers)
    if part.length is not None:
        response.headers[hdrs.ACCEPT_RANGES] = "bytes"
        start, stop = span_for(request)(part)
        if (start, stop) != whole(part):
            ByteRange(start, stop).describe(response, part.length)
        else:
            response.content_length = part.length
    return await stream(request, response, _bytes(source))


async def _send_multipart(request: web.Request, part: Part, source: AsyncGenerator[Item, None]) -> web.StreamResponse:
    # The type of the first part, which is the root (RFC 2387 §3.1); most of the others have the same.
    body = Multipart(part.content_type.partition(";")[0])
    headers = {hdrs.CONTENT_TYPE: body.content_type, hdrs.VARY: hdrs.ACCEPT, **ATTACHMENT}
    response = web.StreamResponse(headers=headers)
    memory = request.app[RETRIEVAL].memory
    async with aclosing(_multipart(body, part, source, memory)) as pieces:
        first, last = await anext(pieces)
        if last:  # with a known length, nothing is copied into HTTP chunks
            response.content_length = sum(map(len, first))
        return await stream(request, response, _after(first, pieces))


async def _after(
    first: list[bytes], pieces: AsyncGenerator[tuple[list[bytes], bool], None]
) -> AsyncGenerator[bytes, None]:
    """Yield the chunks in order. `first` is emptied, so that a slow client does not hold it to the end."""
    for piece in _coalesced(first):
        yield piece
    async for some, _last in pieces:
        for piece in _coalesced(some):
            yield piece


def _coalesced(pieces: list[bytes]) -> Iterator[bytes]:
    """Join small chunks, since each write costs more than that; pass large ones on, since a copy costs more still.

    Empties the list.
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
    body: Multipart, part: Part, items: AsyncGenerator[Item, None], memory: MemoryBudget
) -> AsyncGenerator[tuple[list[bytes], bool], None]:
    """Yield batches of chunks as large as `memory` has room for, each with whether it is the last."""
    batch: Batch[bytes] = Batch(memory)
    head = _head(body, part)
    batch.add(head, len(head))
    async with aclosing(items) as source:
        async for item in source:
            if isinstance(item, Part):
                item = body.END + _head(body, item)
            if batch.add(item, len(item)):
                yield batch.take(), False
    yield [*batch.take(), body.END + body.close()], True


def _head(body: Multipart, part: Part) -> bytes:
    return body.head(part.content_type, length=part.length, location=part.location)
