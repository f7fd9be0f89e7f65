"""Steps 2 and 3 of the contract in `ingest.py` behind one interface: write this file, commit this script with it.

Here: the interface, and its implementation in a thread of the gateway, which needs nothing else to run.
`committer_pool.py` uses other processes. Both run the same code, `commit_batch.py`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Final, Protocol

from gateway import telemetry, tracing
from gateway.database.database import Script
from gateway.database.transactions import BatchTransactions
from gateway.errors import StorageError
from gateway.ingest.commit_batch import (
    MAX_BATCH,
    MAX_BATCH_BYTES,
    CommitReply,
    Complete,
    FlushHere,
    NewFrame,
    commit_batch,
)
from gateway.processes.arena import Buffer
from gateway.storage.incoming import IncomingFile
from gateway.storage.segments.writer import SegmentWriter
from gateway.supervision import lasting

_SYNC_FIRST_BYTES: Final = 4 << 20
"""A file with that many bytes written is synced before it joins a batch."""


class CommitterUnavailable(StorageError):
    """The process that was committing an instance has died, or none is running. Trying again helps.

    The instance was not acknowledged. Once handed over (`IncomingFile.folder`), it may have been committed all the
    same.
    """


class Committer(Protocol):
    """Commits instances, for one event loop."""

    async def commit(self, file: IncomingFile, views: Sequence[Buffer], script: Callable[[], Script[Any]]) -> Any:
        """Write the last bytes of the file, name it in the store, sync it; then run and commit the script.

        Returns the result of the script. `views` must not change until then. Raises: OutOfSpace; StorageFailed after
        a failed sync; CommitterUnavailable; StorageError; DatabaseError. After an error the caller removes the
        remains, or looks up the outcome.
        """

    async def append(self, frame: NewFrame, views: Sequence[Buffer], script: Callable[[], Script[Any]]) -> Any:
        """Append an instance, all of whose bytes are `views`, to a segment, and give its placement the key; then run
        and commit the script. Otherwise as `commit`, but after an error nothing remains that a caller could remove.
        """

    def obstacle(self) -> str:
        """The reason why nothing can be committed now, in words; '' if there is none."""

    async def close(self) -> None:
        """End the threads or processes; no commit may be in progress."""


class ThreadCommitter:
    """Commits in one thread at a time of this process. Instances that arrive during a batch join the next."""

    def __init__(
        self, threads: Executor, database: BatchTransactions, writer: SegmentWriter, failed: Callable[[str], None]
    ) -> None:
        """Takes over `database` and `writer`; `failed` is called with the reason when nothing more can be committed."""
        self._threads = threads
        self._database = database
        self._writer = writer
        self._flush = FlushHere()
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[Complete, asyncio.Future[Any], Any]] = deque()
        """With the context of each in its trace."""
        self._working: asyncio.Task[None] | None = None

    async def commit(self, file: IncomingFile, views: Sequence[Buffer], script: Callable[[], Script[Any]]) -> Any:
        """Commit an instance; see `Committer.commit`."""
        views = await write_ahead(self._threads, file, views)
        return await self._commit(Complete(file, views, script))

    async def append(self, frame: NewFrame, views: Sequence[Buffer], script: Callable[[], Script[Any]]) -> Any:
        """Append an instance to a segment and commit it; see `Committer.append`."""
        return await self._commit(Complete(None, views, script, frame))

    async def _commit(self, complete: Complete) -> Any:
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append((complete, future, tracing.current()))
        if self._working is None:
            self._working = self._loop.create_task(lasting("storing instances", self._work))
        return await future

    async def _work(self) -> None:
        """Run batch after batch, while any instance waits."""
        while self._waiting:
            batch = self._batch()
            try:
                reply = await self._loop.run_in_executor(
                    self._threads,
                    commit_batch,
                    [instance for instance, _, _ in batch],
                    self._database,
                    self._writer,
                    self._flush,
                )
            except Exception as broken:
                reply = CommitReply([(None, broken)] * len(batch), 0.0, 0.0, self._database.failure, [""] * len(batch))
            observe(reply)
            if reply.failure:
                self._failed(reply.failure)
            for (_, future, context), (result, error) in zip(batch, reply.outcomes, strict=True):
                trace_batch(reply, context)
                if future.done():
                    continue
                if error is None:
                    future.set_result(result)
                else:
                    future.set_exception(error)
            await self._loop.run_in_executor(self._threads, self._maintain)
        self._working = None

    def _maintain(self) -> None:
        self._database.checkpoint()
        self._writer.prepare()

    def _batch(self) -> list[tuple[Complete, asyncio.Future[Any], Any]]:
        batch: list[tuple[Complete, asyncio.Future[Any], Any]] = []
        size = 0
        while self._waiting and len(batch) < MAX_BATCH and size < MAX_BATCH_BYTES:
            batch.append(self._waiting.popleft())
            size += sum(map(len, batch[-1][0].views))
        return batch

    def obstacle(self) -> str:
        return ""

    async def close(self) -> None:
        while self._working is not None:
            await asyncio.wait([self._working])
        await self._loop.run_in_executor(self._threads, self._writer.close)
        await self._loop.run_in_executor(self._threads, self._database.close)


async def write_ahead(threads: Executor, file: IncomingFile, views: Sequence[Buffer]) -> Sequence[Buffer]:
    """Write and sync the rest of a large file before it joins a batch, where others would wait for it.

    Returns the views that are still to be written.
    """
    if file.size < _SYNC_FIRST_BYTES:
        return views

    def write() -> None:
        file.append(views)
        file.flush()

    await asyncio.get_running_loop().run_in_executor(threads, write)
    return ()


def observe(reply: CommitReply) -> None:
    """Record a batch in the metrics, with the time that its instances waited."""
    telemetry.COMMIT_ROWS.observe(len(reply.outcomes))
    if reply.flushed:
        telemetry.FLUSH_SECONDS.observe(reply.flushed)
    for _ in reply.outcomes:
        telemetry.SYNC_SECONDS.observe(reply.synced)
        telemetry.COMMIT_SECONDS.observe(reply.committed)


def trace_batch(reply: CommitReply, context: Any) -> None:
    """Record the batch in the trace of one of its instances, whose context is given; None for none.

    A commit process says in its reply how long each step took, so that it needs no part of OpenTelemetry itself, and
    no thread that sends.
    """
    if context is not None:
        about: tracing.About = {
            "gateway.instances": len(reply.outcomes),
            "gateway.write_seconds": reply.synced,
            "gateway.flush_seconds": reply.flushed,
            "gateway.transaction_seconds": reply.committed,
        }
        tracing.note("commit batch", reply.synced + reply.committed, parent=context, about=about)
