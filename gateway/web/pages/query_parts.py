"""The answer to the search of one source, in parts: rows as its answers arrive, and in the last part what it was all.

A part is a piece of HTML as `query_results.html` has it, and PART ends it. `static/query.js` reads them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Final, TypeVar

T = TypeVar("T")

PART: Final = b"\n<!--part-->\n"
"""The end of a part; what is shown of an answer is escaped, and never reads so."""
GATHER_S: Final = 0.2
"""Seconds for which answers are gathered into one part."""
MAX_GATHERED: Final = 50


async def gathered(source: AsyncGenerator[T, None]) -> AsyncGenerator[list[T], None]:
    """Yield the items of a generator in lists: the first at once, then those that come within GATHER_S.

    Closed early, it cancels what the source waits for, and closes it.
    """
    loop = asyncio.get_running_loop()
    batch: list[T] = []
    due = loop.time()
    async with aclosing(source):
        while True:
            waiting = asyncio.ensure_future(anext(source))
            try:
                while not waiting.done():
                    await asyncio.wait([waiting], timeout=max(0.0, due - loop.time()) if batch else None)
                    if batch and not waiting.done():
                        yield batch
                        batch, due = [], loop.time() + GATHER_S
                batch.append(await waiting)
            except StopAsyncIteration:
                break
            finally:
                if not waiting.done():
                    waiting.cancel()
                    with suppress(asyncio.CancelledError, StopAsyncIteration):
                        await waiting
            if len(batch) >= MAX_GATHERED or loop.time() >= due:
                yield batch
                batch, due = [], loop.time() + GATHER_S
    if batch:
        yield batch
