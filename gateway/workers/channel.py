"""The channel between the parent and a worker: JSON messages, one per line, over a socket pair.

The channel ends when the other side ends.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import msgspec

from gateway.config import Settings

_MAX_MESSAGE_BYTES = 64 << 20


class Begin(msgspec.Struct, tag=True):
    """First message to a worker: its number, settings and inherited descriptors."""

    number: int
    count: int
    parent: int
    snapshot: int
    settings: Settings
    board: int
    dicom: int | None
    tls: int | None
    web: int
    failures: list[str]


class Use(msgspec.Struct, tag=True):
    """Message to a worker: new settings."""

    snapshot: int
    settings: Settings


class Stop(msgspec.Struct, tag=True):
    """Message to a worker: drain, and end."""


class Listening(msgspec.Struct, tag=True):
    """Message from a worker: it listens."""


class Unfit(msgspec.Struct, tag=True):
    """Message from a worker: the reason why it cannot start, or cannot use a snapshot."""

    why: str
    snapshot: int


class Failed(msgspec.Struct, tag=True):
    """Either way: the store failed, and nothing may be acknowledged any more."""

    why: str


class Jobs(msgspec.Struct, tag=True):
    """Either way, and finally to the worker that does them: a job was added."""


class Systems(msgspec.Struct, tag=True):
    """Either way, in the end to all other workers: another system was added, changed or removed over REST."""


class Verbosity(msgspec.Struct, tag=True):
    """Either way, in the end to all workers: how much is to be logged, of a category or ('') of all."""

    level: str
    category: str


Message = Verbosity | Begin | Use | Stop | Listening | Unfit | Failed | Jobs | Systems


class Channel:
    """One end of the channel."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> Channel:
        return cls(*await asyncio.open_unix_connection(sock=end, limit=_MAX_MESSAGE_BYTES))

    def send(self, message: Message) -> None:
        """Send a message; dropped when the other side has ended."""
        if not self._writer.is_closing():
            self._writer.write(msgspec.json.encode(message) + b"\n")

    async def messages(self) -> AsyncIterator[Message]:
        """Yield the messages of the other side, until it ends."""
        decoder = msgspec.json.Decoder(Message)
        try:
            while line := await self._reader.readline():
                yield decoder.decode(line)
        except (ConnectionError, ValueError):
            return

    async def close(self) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            pass
