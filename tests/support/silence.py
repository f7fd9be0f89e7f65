"""Clients that connect and say nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


@asynccontextmanager
async def silent(host: str, port: int, count: int) -> AsyncIterator[list[asyncio.StreamReader]]:
    """So many connections, oldest first; a reader is at its end once the other side has closed."""
    opened = [await asyncio.open_connection(host, port) for _ in range(count)]
    try:
        yield [reader for reader, _ in opened]
    finally:
        for _, writer in opened:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
