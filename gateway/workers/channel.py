"""What the parent and a worker say to each other: JSON, a line a message, over a pair of sockets.

The end of the channel is the end of the other side.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import msgspec

from gateway.config import Settings

_LONGEST = 64 << 20


class Begin(msgspec.Struct, tag=True):
    """To a worker, first: who it is, and the descriptors that it has been given."""

    number: int
    count: int
    parent: int
    snapshot: int
    settings: Settings
    board: int
    dicom: int
    tls: int | None
    web: int
    failures: list[str]


class Use(msgspec.Struct, tag=True):
    """To a worker: the settings from now on."""

    snapshot: int
    settings: Settings


class Stop(msgspec.Struct, tag=True):
    """To a worker: drain, and end."""


class Listening(msgspec.Struct, tag=True):
    """From a worker: it serves."""


class Unfit(msgspec.Struct, tag=True):
    """From a worker: it cannot start, or cannot use a snapshot, and why."""

    why: str
    snapshot: int


class Failed(msgspec.Struct, tag=True):
    """Either way: nothing can be vouched for any more."""

    why: str


class Jobs(msgspec.Struct, tag=True):
    """Either way, in the end to the worker that does them: there is one more."""


Message = Begin | Use | Stop | Listening | Unfit | Failed | Jobs


class Channel:
    """One end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> Channel:
        return cls(*await asyncio.open_unix_connection(sock=end, limit=_LONGEST))

    def send(self, message: Message) -> None:
        """Say it; to nobody where the other side has ended."""
        if not self._writer.is_closing():
            self._writer.write(msgspec.json.encode(message) + b"\n")

    async def messages(self) -> AsyncIterator[Message]:
        """What the other side says, until it ends."""
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
