"""Keepers at work, as the gateway sees them: what is to be kept goes to the one with the least to do.

What a keeper does, and how much of what waits for it at once, is in `keeper.py`. Here: starting them and starting
again those that die, orders, and answers, which come in the order of the orders.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

from gateway import telemetry
from gateway.archive.keeper import Answer, Order, framed, unframed
from gateway.archive.keeping import KeeperLost
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
"""Seconds for a keeper to be up."""
_GRACE: Final = 5.0
"""Seconds for a keeper to end that has nothing to do, then SIGKILL."""
_FIRST, _LONGEST = 0.5, 30.0
"""Seconds before a keeper is started again that has kept nothing, twice that before the next, and so on."""


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
        self._lives: list[asyncio.Task[None]] = []
        self._up = asyncio.Semaphore(0)
        self._closing = asyncio.Event()

    async def start(self, count: int) -> None:
        """Returns when they are up. Raises StorageError when they do not come."""
        self._lives = [self._loop.create_task(self._live()) for _ in range(count)]
        try:
            async with asyncio.timeout(_PATIENCE):
                for _ in range(count):
                    await self._up.acquire()
        except TimeoutError:
            await self.close()
            raise StorageError("the processes that store instances do not start; see the log") from None

    async def keep(self, file: IncomingFile, views: Sequence[Buffer], script: Callable[[], Script[Any]]) -> Any:
        """As `Keeping.keep`."""
        large = file.size >= _SYNC_FIRST
        found = self._memory.told(views, _MOST_TOLD) if not large else None
        if found is None:
            await self._loop.run_in_executor(self._threads, _write, file, views, large)
            found = b"", []
        if not self._lines:
            raise KeeperLost("the process that stores instances has died and is started again")
        line = min(self._lines, key=_Line.load)
        return await line.ask(Order(*file.hand_over(), *found, script))

    def _answered(self, line: _Line, answer: Answer) -> None:
        if answer.failure:
            self._failed(answer.failure)
        if not answer.outcomes:  # its first word
            self._lines.append(line)
            self._up.release()
            return
        telemetry.COMMIT_ROWS.observe(len(answer.outcomes))
        for _ in answer.outcomes:
            telemetry.SYNC_SECONDS.observe(answer.synced)
            telemetry.COMMIT_SECONDS.observe(answer.committed)

    async def _live(self) -> None:
        """Have a keeper in this place until we close."""
        deaths = 0
        while not self._closing.is_set():
            line = _Line(self._answered)
            try:
                code = await self._life(line)
                how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            except OSError as error:
                how = f"could not be started: {error}"
            if self._closing.is_set():
                return
            deaths = 0 if line.has_kept else deaths + 1
            pause = 0.0 if not deaths else min(_LONGEST, _FIRST * 2.0 ** min(deaths - 1, 10))
            log.error("a process that stores instances %s; it is started again in %.1f s", how, pause)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._closing.wait()

    async def _life(self, line: _Line) -> int:
        """One process, from start to end. Its exit code, negative where a signal ended it. Raises OSError."""
        ours, theirs = socket.socketpair()
        handed = (theirs.fileno(), self._memory.descriptor, self._incoming.lock)
        program = f"import sys; sys.path[:] = {sys.path!r}; from gateway.archive.keeper import main; main()"
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                program,
                *map(str, handed),
                str(self._layout.base),
                self._incoming.name,
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=handed,
                env={name: text for name, text in os.environ.items() if name != METRICS_FOLDER},
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        await self._loop.create_unix_connection(lambda: line, sock=ours)
        try:
            code = await process.wait()
        finally:
            # Its end of the sockets is closed, so `lost` comes after every answer that it has still sent.
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            await line.lost
            with suppress(ValueError):
                self._lines.remove(line)
            line.fail(KeeperLost("the process that stores instances has died"))
        return code

    async def close(self) -> None:
        self._closing.set()
        for line in self._lines:
            line.close()
        if self._lives:
            _, stuck = await asyncio.wait(self._lives, timeout=_GRACE)
            for life in stuck:
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
        self._outbox: list[Order] = []
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._data = bytearray()
        self._transport: asyncio.Transport
        self.has_kept = False
        """It has answered an order."""
        self.lost = self._loop.create_future()
        """Done when nothing more can come."""

    def load(self) -> int:
        """Orders that are not answered."""
        return len(self._waiting)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def ask(self, order: Order) -> asyncio.Future[Any]:
        """The result of its script, to come."""
        if not self._outbox:
            self._loop.call_soon(self._send)  # with what else this turn of the loop brings
        self._outbox.append(order)
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append(future)
        return future

    def _send(self) -> None:
        orders, self._outbox = self._outbox, []
        if not self._transport.is_closing():  # or `fail` is about to say so
            self._transport.write(framed(orders))

    def data_received(self, data: bytes) -> None:
        self._data += data
        for answer in unframed(self._data):
            self._answered(self, answer)
            for result, error in answer.outcomes:
                self.has_kept = True
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
        for future in self._waiting:
            if not future.done():
                future.set_exception(error)
        self._waiting.clear()
