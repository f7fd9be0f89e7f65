"""Forms with files (multipart/form-data, RFC 7578), part by part as they arrive. No I/O of its own."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

from gateway.errors import BadRequest
from gateway.http.multipart import Event, Head, Parser, Tail

FORM: Final = "multipart/form-data"
MAX_PARTS: Final = 10_000
"""Parts of one form."""
_MAX_NAME: Final = 200
_NAMES: Final = [
    re.compile(r';\s*filename="((?:[^"\\]|\\.)*)"', re.IGNORECASE),
    re.compile(r";\s*filename=([^;\s\"]+)", re.IGNORECASE),
    re.compile(r';\s*name="((?:[^"\\]|\\.)*)"', re.IGNORECASE),
]


async def form_parts(
    chunks: AsyncIterator[bytes], boundary: str
) -> AsyncGenerator[tuple[str, AsyncGenerator[bytes, None]], None]:
    """Yield the parts of a form: the name of the file, or else of the field, and its bytes.

    What has not been read of a part is passed over when the next one is asked for. Raises: Malformed; BadRequest for
    too many parts.
    """
    count = 0
    async with aclosing(_events(chunks, Parser(boundary))) as events:
        async for event in events:
            if isinstance(event, Head):
                count += 1
                if count > MAX_PARTS:
                    raise BadRequest(f"a form has at most {MAX_PARTS} parts")
                yield _name(event), _content(events)


async def _events(chunks: AsyncIterator[bytes], parser: Parser) -> AsyncGenerator[Event, None]:
    async for chunk in chunks:
        for event in parser.feed(chunk):
            yield event
    for event in parser.close():
        yield event


async def _content(events: AsyncGenerator[Event, None]) -> AsyncGenerator[bytes, None]:
    async for event in events:
        if isinstance(event, Tail):
            return
        assert not isinstance(event, Head)
        yield bytes(event)


def _name(head: Head) -> str:
    """What a client calls a part: a word to show, never a path."""
    disposition = head.headers.get("content-disposition", "")
    for pattern in _NAMES:
        if (match := pattern.search(disposition)) is not None:
            return re.sub(r"\\(.)", r"\1", match[1])[:_MAX_NAME]
    return ""
