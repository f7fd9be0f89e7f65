"""Keepers at work, as the gateway sees them: what is to be kept goes to the one with the least to do.

What a keeper does, and how much of what waits for it at once, is in `keeper.py`. Here: starting them and starting
again those that die, orders, and answers, which come in the order of the orders.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

from gateway import telemetry
from gateway.archive.keeper import Answer, Order, framed, unframed
from gateway.archive.keeping import KeeperLost
from gateway.archive.spawning import Deaths, command, ending
from gateway.database.database import Script
from gateway.errors import StorageError
from gateway.storage.arena import Arena, Buffer
from gateway.storage.incoming import IncomingFile, IncomingFolder
from gateway.storage.layout import Layout
from gateway.telemetry import METRICS_FOLDER

log = logging.getLogger(__name__)

_MOST_TOLD: Final = 64 << 10
"""Bytes outside the arena that are handed over with the order; a thread writes more."""
_SYNC_FIRST: Final = 4 << 20
"""A file of which that much is written already is synced before, in a thread: the others do not wait for it."""
_PATIENCE: Final = 30.0
"""Seconds for a keeper to be up, and for one that has nothing left to do to end."""
_AWAITED: Final = 3.0
"""Seconds for which an instance waits for a keeper when there is none: one that comes again needs half of one."""


class Keepers:
    """Processes behind the interface of `Keeping`."""

    def __init__(
        self,
        layout: Layout,
        incoming: IncomingFolder,
        memory: Arena,
        threads: ThreadPoolExecutor,
        failed: Callable[[str], None],
    ) -> None:
        """`failed` is called with the reason when they can commit no more."""
        self._layout = layout
        self._incoming = incoming
        self._memory = memory
        self._threads = threads
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._lines: list[_Line] = []
        """To those that are up."""
        self._any = asyncio.Event()
        """Set while there are such lines."""
        self._begun: set[_Line] = set()
        """To those that start, too."""
        self._lives: list[asyncio.Task[None]] = []
        self._closing = asyncio.Event()

    async def start(self, count: int) -> None:
        """Returns when they are up. Raises StorageError when one of them does not come."""
        firsts = [self._loop.create_future() for _ in range(count)]
        self._lives = [self._loop.create_task(self._live(first)) for first in firsts]
        try:
            async with asyncio.timeout(_PATIENCE):
                await asyncio.gather(*firsts)
        except TimeoutError:
            raise StorageError(f"the process that stores instances is not up after {_PATIENCE:g} s") from None

    async def keep(self, file: IncomingFile, views: Sequence[Buffer], script: Callable[[], Script[Any]]) -> Any:
        """As `Keeping.keep`."""
        large = file.size >= _SYNC_FIRST
        found = self._memory.told(views, _MOST_TOLD) if not large else None
        if found is None:
            await self._loop.run_in_executor(self._threads, _write, file, views, large)
            found = b"", []
        if not self._lines:
            await self._await_one()
        line = min(self._lines, key=_Line.load)
        return await line.ask(Order(*file.hand_over(), *found, script))

    async def _await_one(self) -> None:
        try:
            async with asyncio.timeout(_AWAITED):
                while not self._lines:
                    await self._any.wait()
        except TimeoutError:
            raise KeeperLost("the process that stores instances has died and is not back yet") from None

    def _answered(self, line: _Line, answer: Answer) -> None:
        if answer.failure:
            self._failed(answer.failure)
        if not answer.outcomes:  # its first word
            self._lines.append(line)
            self._any.set()
            line.up.set_result(None)
            return
        telemetry.COMMIT_ROWS.observe(len(answer.outcomes))
        for _ in answer.outcomes:
            telemetry.SYNC_SECONDS.observe(answer.synced)
            telemetry.COMMIT_SECONDS.observe(answer.committed)

    async def _live(self, first: asyncio.Future[None]) -> None:
        """Have a keeper in this place until we close; `first` is done when the first one is up, or cannot be."""
        deaths = Deaths()
        while not self._closing.is_set():
            began = self._loop.time()
            try:
                how = ending(await self._life(first))
            except OSError as error:
                how = f"cannot be started: {error.strerror}"
            if self._closing.is_set():
                return
            if not first.done():
                first.set_exception(StorageError(f"the process that stores instances {how}; see the log"))
                return
            pause = deaths.after(self._loop.time() - began)
            log.error("a process that stores instances %s; it is started again in %.1f s", how, pause)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._closing.wait()

    async def _life(self, first: asyncio.Future[None]) -> int:
        """One process, from start to end. Its exit code, negative where a signal ended it. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            _, line = await self._loop.create_unix_connection(lambda: _Line(self._answered), sock=ours)
            line.up.add_done_callback(lambda _: None if first.done() else first.set_result(None))
            line.lost.add_done_callback(lambda _: self._part_with(line))
            self._begun.add(line)
            process = None
            try:
                if self._closing.is_set():
                    return 0
                process = await self._spawn(theirs)
                # While we have the other end too, ours does not hear that it has gone.
                theirs.close()
                return await process.wait()
            finally:
                if process is None or process.returncode is None:
                    line.close()
                if process is not None and process.returncode is None:
                    with suppress(ProcessLookupError):
                        process.kill()
                    await process.wait()
                await line.lost  # which comes after the answers that it has still sent
                self._begun.discard(line)
                self._part_with(line)
                line.fail(KeeperLost("the process that stores instances has died"))

    def _part_with(self, line: _Line) -> None:
        """Nobody listens at its other end any more."""
        with suppress(ValueError):
            self._lines.remove(line)
        if not self._lines:
            self._any.clear()

    async def _spawn(self, theirs: socket.socket) -> asyncio.subprocess.Process:
        handed = (theirs.fileno(), self._memory.descriptor, self._incoming.lock)
        return await asyncio.create_subprocess_exec(
            *command("gateway.archive.keeper", *map(str, handed), str(self._layout.base), self._incoming.name),
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=handed,
            env={name: text for name, text in os.environ.items() if name != METRICS_FOLDER},
        )

    async def close(self) -> None:
        """One that does not end by itself is killed."""
        self._closing.set()
        for line in self._begun:
            line.close()
        if self._lives:
            _, late = await asyncio.wait(self._lives, timeout=_PATIENCE)
            for life in late:
                log.error("a process that stores instances does not end; it is killed")
                life.cancel()
            await asyncio.gather(*self._lives, return_exceptions=True)


def _write(file: IncomingFile, views: Sequence[Buffer], sync: bool) -> None:
    file.append(views)
    if sync:
        file.flush()


class _Line(asyncio.Protocol):
    """Our end of the sockets to one keeper."""

    def __init__(self, answered: Callable[[_Line, Answer], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._answered = answered
        self._outbox: list[tuple[Order, asyncio.Future[Any]]] = []
        """Orders that go with the next message."""
        self._waiting: deque[asyncio.Future[Any]] = deque()
        """For each order that has gone, its result to come."""
        self._data = bytearray()
        self._transport: asyncio.Transport
        self.up: asyncio.Future[None] = self._loop.create_future()
        """Done once it has said its first word."""
        self.lost: asyncio.Future[None] = self._loop.create_future()
        """Done when nothing more can come."""

    def load(self) -> int:
        """Orders that are not answered."""
        return len(self._waiting) + len(self._outbox)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def ask(self, order: Order) -> asyncio.Future[Any]:
        """The result of its script, to come."""
        if not self._outbox:
            self._loop.call_soon(self._send)  # with what else this turn of the loop brings
        future: asyncio.Future[Any] = self._loop.create_future()
        self._outbox.append((order, future))
        return future

    def _send(self) -> None:
        asked, self._outbox = self._outbox, []
        try:
            message = framed([order for order, _ in asked])
        except Exception as error:
            if len(asked) == 1:
                asked[0][1].set_exception(error)
                return
            for each in asked:  # all go but the one that cannot be told
                self._outbox = [each]
                self._send()
            return
        if asked:
            self._waiting.extend(future for _, future in asked)
            if not self._transport.is_closing():  # or `fail` is about to say so
                self._transport.write(message)

    def data_received(self, data: bytes) -> None:
        self._data += data
        for answer in unframed(self._data):
            self._answered(self, answer)
            for result, error in answer.outcomes:
                future = self._waiting.popleft()
                if future.done():
                    continue
                if error is None:
                    future.set_result(result)
                else:
                    future.set_exception(error)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set_result(None)

    def close(self) -> None:
        self._transport.close()

    def fail(self, error: StorageError) -> None:
        """No answer will come any more."""
        for future in (*self._waiting, *(future for _, future in self._outbox)):
            if not future.done():
                future.set_exception(error)
        self._waiting.clear()
        self._outbox.clear()
