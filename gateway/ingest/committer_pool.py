"""A pool of commit processes: each instance goes to the process with the fewest requests.

The work of a process, and the size of its batches, are in `commit_process.py`. Here: starting
them, restarting those that die, requests, and replies, which arrive in the order of the requests.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

from gateway import tracing
from gateway.database.database import Script
from gateway.errors import StorageError
from gateway.ingest.commit_batch import CommitReply, NewFrame
from gateway.ingest.commit_messages import CommitRequest, RequestEncoder, decode_reply, framed, unframed
from gateway.ingest.commit_process import DATABASE_URL
from gateway.ingest.committer import CommitterUnavailable, observe, trace_batch, write_ahead
from gateway.processes.arena import Arena, Buffer, Span
from gateway.processes.spawning import command, ending
from gateway.storage.incoming import IncomingFile, IncomingFolder
from gateway.storage.layout import Layout
from gateway.supervision import Deaths, lasting
from gateway.telemetry import COMMITTER_DEATHS, METRICS_FOLDER

log = logging.getLogger(__name__)

_MAX_INLINE_BYTES: Final = 64 << 10
"""Bytes outside the arena that are sent in a request; a thread writes more."""
_PROCESS_TIMEOUT_S: Final = 30.0
"""Seconds for a commit process to start, and for an idle one to end."""
_COMMITTER_WAIT_S: Final = 3.0
"""Seconds for which an instance waits while no commit process runs; a restart takes half a second."""
_NONE_RUNNING: Final = "the process that stores instances has died and is not back yet"


class CommitterPool:
    """Commit processes behind the interface of `Committer`."""

    def __init__(
        self,
        layout: Layout,
        incoming: IncomingFolder,
        memory: Arena,
        threads: ThreadPoolExecutor,
        failed: Callable[[str], None],
        *,
        url: str = "",
        died: Callable[[], None] = lambda: None,
    ) -> None:
        """`url` is that of PostgreSQL, where the index is there. `failed` is called with the reason when the processes
        can commit no more; `died` when one has died, whose segment has to be replayed."""
        self._layout = layout
        self._incoming = incoming
        self._memory = memory
        self._threads = threads
        self._failed = failed
        self._died = died
        self._url = url
        self._loop = asyncio.get_running_loop()
        self._ready: list[_Connection] = []
        """Connections to ready processes."""
        self._none_since = self._loop.time()
        self._any_ready = asyncio.Event()
        """Set while any process is ready."""
        self._connections: set[_Connection] = set()
        """Connections to all processes, starting ones included."""
        self._runners: list[asyncio.Task[None]] = []
        self._closing = asyncio.Event()

    async def start(self, count: int) -> None:
        """Start `count` processes; returns when they are ready. Raises: StorageError when one does not start."""
        firsts = [self._loop.create_future() for _ in range(count)]
        what = "watching a process that stores instances"
        self._runners = [self._loop.create_task(lasting(what, functools.partial(self._run, first))) for first in firsts]
        try:
            async with asyncio.timeout(_PROCESS_TIMEOUT_S):
                await asyncio.gather(*firsts)
        except TimeoutError:
            raise StorageError(f"the process that stores instances is not up after {_PROCESS_TIMEOUT_S:g} s") from None

    async def commit(self, file: IncomingFile, views: Sequence[Buffer], script: Callable[[], Script[Any]]) -> Any:
        """Commit an instance; see `Committer.commit`."""
        views = await write_ahead(self._threads, file, views)
        encoded = self._memory.to_spans(views, _MAX_INLINE_BYTES)
        if encoded is None:
            await self._loop.run_in_executor(self._threads, file.append, views)
            encoded = b"", []
        connection = await self._connection()
        result, _key = await connection.submit(CommitRequest(*file.hand_over(), *encoded, script))
        return result

    async def append(self, frame: NewFrame, views: Sequence[Buffer], script: Callable[[], Script[Any]]) -> Any:
        """Append an instance to a segment and commit it; see `Committer.append`."""
        encoded = self._memory.to_spans(views, _MAX_INLINE_BYTES)
        if encoded is not None:
            return await self._append(frame, encoded, script)
        copied = self._memory.copy(views)
        if copied is None:
            return await self._append(frame, (b"".join(views), []), script)
        encoded = self._memory.to_spans([copied], 0)
        assert encoded is not None
        try:
            result = await self._append(frame, encoded, script)
        except asyncio.CancelledError:
            raise  # The process may still read the copy, whose place stays taken.
        except BaseException:
            self._memory.end_copy(copied)
            raise
        self._memory.end_copy(copied)
        return result

    async def _append(
        self, frame: NewFrame, encoded: tuple[bytes, list[Span]], script: Callable[[], Script[Any]]
    ) -> Any:
        connection = await self._connection()
        result, frame.placement.key = await connection.submit(CommitRequest("", False, False, *encoded, script, frame))
        return result

    async def _connection(self) -> _Connection:
        """The process with the fewest requests. Raises: CommitterUnavailable."""
        if not self._ready:
            await self._wait_until_ready()
        return min(self._ready, key=_Connection.load)

    def obstacle(self) -> str:
        """The reason why nothing can be committed now; '' for the seconds in which instances wait for a restart."""
        none_for_s = self._loop.time() - self._none_since
        return _NONE_RUNNING if not self._ready and none_for_s > _COMMITTER_WAIT_S else ""

    async def _wait_until_ready(self) -> None:
        try:
            async with asyncio.timeout(_COMMITTER_WAIT_S):
                while not self._ready:
                    await self._any_ready.wait()
        except TimeoutError:
            raise CommitterUnavailable(_NONE_RUNNING) from None

    def _replied(self, connection: _Connection, reply: CommitReply) -> None:
        if reply.failure:
            self._failed(reply.failure)
        if not reply.outcomes:  # the first reply, which reports that the process is ready
            self._ready.append(connection)
            self._any_ready.set()
            connection.ready.set_result(None)
            return
        observe(reply)

    async def _run(self, first: asyncio.Future[None]) -> None:
        """Run one commit process after another until `close`; `first` is done when the first is ready, or fails."""
        deaths = Deaths()
        while not self._closing.is_set():
            began = self._loop.time()
            try:
                how = ending(await self._run_process(first))
            except OSError as error:
                how = f"cannot be started: {error.strerror}"
            if self._closing.is_set():
                return
            if not first.done():
                first.set_exception(StorageError(f"the process that stores instances {how}; see the log"))
                return
            COMMITTER_DEATHS.inc()
            self._died()
            pause = deaths.after(self._loop.time() - began)
            log.error("a process that stores instances %s; it is started again in %.1f s", how, pause)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._closing.wait()

    async def _run_process(self, first: asyncio.Future[None]) -> int:
        """Run one process to its end; returns its exit code, negative for a signal. Raises: OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            _, connection = await self._loop.create_unix_connection(lambda: _Connection(self._replied), sock=ours)
            connection.ready.add_done_callback(lambda _: None if first.done() else first.set_result(None))
            connection.lost.add_done_callback(lambda _: self._remove(connection))
            self._connections.add(connection)
            process = None
            try:
                if self._closing.is_set():
                    return 0
                process = await self._spawn(theirs)
                # While we hold the other end too, ours is not notified when it closes.
                theirs.close()
                return await process.wait()
            finally:
                if process is None or process.returncode is None:
                    connection.close()
                if process is not None and process.returncode is None:
                    with suppress(ProcessLookupError):
                        process.kill()
                    await process.wait()
                await connection.lost  # which comes after the replies that the process has still sent
                self._connections.discard(connection)
                self._remove(connection)
                connection.fail(CommitterUnavailable("the process that stores instances has died"))

    def _remove(self, connection: _Connection) -> None:
        """Stop using a connection whose process has gone."""
        with suppress(ValueError):
            self._ready.remove(connection)
            if not self._ready:
                self._none_since = self._loop.time()
                self._any_ready.clear()

    async def _spawn(self, theirs: socket.socket) -> asyncio.subprocess.Process:
        descriptors = (theirs.fileno(), self._memory.descriptor, self._incoming.lock)
        return await asyncio.create_subprocess_exec(
            *command(
                "gateway.ingest.commit_process", *map(str, descriptors), str(self._layout.base), self._incoming.name
            ),
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=descriptors,
            env=_environment(self._url),
        )

    async def close(self) -> None:
        """End the processes; one that does not end by itself is killed."""
        self._closing.set()
        for connection in self._connections:
            connection.close()
        if self._runners:
            _, late = await asyncio.wait(self._runners, timeout=_PROCESS_TIMEOUT_S)
            for runner in late:
                log.error("a process that stores instances does not end; it is killed")
                runner.cancel()
            await asyncio.gather(*self._runners, return_exceptions=True)


def _environment(url: str) -> dict[str, str]:
    """The environment of a commit process. A URL may hold a password, which all users see in a command line."""
    others = {name: text for name, text in os.environ.items() if name not in (METRICS_FOLDER, DATABASE_URL)}
    return {**others, DATABASE_URL: url} if url else others


class _Connection(asyncio.Protocol):
    """Our end of the sockets to one commit process."""

    def __init__(self, replied: Callable[[_Connection, CommitReply], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._replied = replied
        self._outbox: list[tuple[CommitRequest, asyncio.Future[Any]]] = []
        """Requests for the next message."""
        self._waiting: deque[asyncio.Future[Any]] = deque()
        """Results to come for requests that were sent."""
        self._contexts: dict[asyncio.Future[Any], Any] = {}
        """The contexts of those results in their traces; none while nothing is traced."""
        self._data = bytearray()
        self._encoder = RequestEncoder()
        self._transport: asyncio.Transport
        self.ready: asyncio.Future[None] = self._loop.create_future()
        """Done when the process has reported that it is ready."""
        self.lost: asyncio.Future[None] = self._loop.create_future()
        """Done when nothing more can arrive."""

    def load(self) -> int:
        """The number of unanswered requests."""
        return len(self._waiting) + len(self._outbox)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def submit(self, request: CommitRequest) -> asyncio.Future[Any]:
        """Send a request; returns the future result of its script, with the key of its frame."""
        if not self._outbox:
            self._loop.call_soon(self._send)  # together with other requests of this turn of the loop
        future: asyncio.Future[Any] = self._loop.create_future()
        self._outbox.append((request, future))
        if tracing.is_on():
            self._contexts[future] = tracing.current()
        return future

    def _send(self) -> None:
        requests, self._outbox = self._outbox, []
        encoded = []
        for request, future in requests:
            try:
                encoded.append(self._encoder.encode(request))
            except Exception as error:  # All are sent but the one that cannot be pickled.
                self._contexts.pop(future, None)
                future.set_exception(error)
            else:
                self._waiting.append(future)
        if encoded and not self._transport.is_closing():  # Otherwise `fail` is about to end them.
            self._transport.write(framed(encoded))

    def data_received(self, data: bytes) -> None:
        self._data += data
        for reply in map(decode_reply, unframed(self._data)):
            self._replied(self, reply)
            for (result, error), key in zip(reply.outcomes, reply.keys, strict=True):
                future = self._waiting.popleft()
                if self._contexts:
                    trace_batch(reply, self._contexts.pop(future, None))
                if future.done():
                    continue
                if error is None:
                    future.set_result((result, key))
                else:
                    future.set_exception(error)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set_result(None)

    def close(self) -> None:
        self._transport.close()

    def fail(self, error: StorageError) -> None:
        """Fail every unanswered request: no reply can arrive any more."""
        for future in (*self._waiting, *(future for _, future in self._outbox)):
            if not future.done():
                future.set_exception(error)
        self._waiting.clear()
        self._outbox.clear()
        self._contexts.clear()
