"""The thread that writes to SQLite for an event loop.

While one commit waits for the disk, further scripts queue; the next turn takes all of them (up to MAX_BATCH) and
delivers every outcome with one call into the event loop. Commits and their failures are in `transactions.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any

from gateway.database.database import Script
from gateway.database.transactions import Outcome, Transactions
from gateway.errors import DatabaseError
from gateway.telemetry import COMMIT_ROWS

MAX_BATCH = 256
"""Scripts that share one commit at most."""
MAX_QUEUED = 4096
"""Scripts that wait for the writer; past it `write` waits for room."""


class QueuedScript:
    __slots__ = ("durably", "future", "script")

    def __init__(self, script: Callable[[], Script[Any]], future: asyncio.Future[Any], durably: bool) -> None:
        self.script = script
        self.future = future
        self.durably = durably


class Writer:
    """One writing thread. `put` may be called from the event loop only.

    `delivered(n)` is called in the loop with the number of jobs that a batch ended, `failed(reason)` once in the loop
    when writing has stopped for good.
    """

    def __init__(
        self,
        transactions: Transactions,
        loop: asyncio.AbstractEventLoop,
        delivered: Callable[[int], None],
        failed: Callable[[str], None],
    ) -> None:
        self._transactions = transactions
        self._loop = loop
        self._delivered = delivered
        self._on_failed = failed
        self._queue: queue.SimpleQueue[QueuedScript | None] = queue.SimpleQueue()
        self._stopping = False
        self._reported = False
        self._thread = threading.Thread(target=self._run, name="sqlite-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, job: QueuedScript) -> None:
        self._queue.put(job)

    def fail(self, reason: str) -> None:
        """Refuse every later job, as after a failure of our own."""
        self._reported = True
        self._transactions.failure = self._transactions.failure or reason

    def stop(self) -> None:
        """Finish queued jobs, close the connection, end the thread. Blocks until then."""
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping:
            first = self._queue.get()
            if first is None:
                break
            batch = [first]
            try:
                with self._transactions.turn():
                    # Dequeued only now: jobs queued while another process wrote share this commit.
                    batch += self._waiting(MAX_BATCH - 1)
                    self._write(batch)
            except DatabaseError as error:
                self._deliver(batch, [(None, error)])
            self._transactions.checkpoint()
            self._report_failure()
        self._transactions.close()

    def _waiting(self, most: int) -> list[QueuedScript]:
        jobs: list[QueuedScript] = []
        while len(jobs) < most:
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._stopping = True
                break
            jobs.append(job)
        return jobs

    def _write(self, batch: list[QueuedScript]) -> None:
        wanted = [job for job in batch if not job.future.cancelled()]
        durably = any(job.durably for job in wanted)
        outcomes = self._transactions.commit([job.script for job in wanted], durably=durably)
        if self._transactions.failure:
            self._report_failure()  # before the outcomes, on which callers would act
        else:
            COMMIT_ROWS.observe(len(wanted))
        self._deliver(wanted, outcomes)
        if len(wanted) < len(batch):
            self._call(self._delivered, len(batch) - len(wanted))

    def _deliver(self, jobs: list[QueuedScript], outcomes: list[Outcome]) -> None:
        self._call(self._resolve, jobs, outcomes)

    def _report_failure(self) -> None:
        if self._transactions.failure and not self._reported:
            self._reported = True
            self._call(self._on_failed, self._transactions.failure)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # The loop is closed, and no caller waits any more.
            self._loop.call_soon_threadsafe(function, *arguments)

    def _resolve(self, jobs: list[QueuedScript], outcomes: list[Outcome]) -> None:
        for job, (result, error) in zip(jobs, outcomes, strict=True):
            if job.future.done():
                continue
            if error is None:
                job.future.set_result(result)
            else:
                job.future.set_exception(error)
        self._delivered(len(jobs))
