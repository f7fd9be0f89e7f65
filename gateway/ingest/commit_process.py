"""One commit process: it runs nothing but `commit_batch`, for the instances that a gateway sends it.

It has no event loop, and no second thread but one that only flushes, so hardly ever does an interpreter lock stand
between one system call and the next: committed in threads of the gateway, an instance of 8 KB cost 18 changes of
thread. The bytes are in memory that both processes share.

The gateway sends requests over a pair of sockets (`commit_messages.py`). When the gateway dies, the commit process
finishes its batch and exits; until then it holds the lock of the incoming folder, so that no recovery treats as
abandoned what is about to be committed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import queue
import select
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from gateway.database.transactions import BatchTransactions
from gateway.errors import DatabaseError, GatewayError
from gateway.ingest.commit_batch import (
    MAX_BATCH,
    MAX_BATCH_BYTES,
    CommitReply,
    Complete,
    Flush,
    commit_batch,
)
from gateway.ingest.commit_messages import CommitRequest, RequestDecoder, encode_reply, unframed
from gateway.ingest.index_database import open_transactions
from gateway.processes.arena import MappedArena
from gateway.storage.filesystem import FileStore
from gateway.storage.incoming import IncomingFile, IncomingFolder
from gateway.storage.layout import Layout
from gateway.storage.segments.writer import SegmentWriter
from gateway.telemetry import setup_logging

log = logging.getLogger(__name__)

_IDLE_AFTER_S: Final = 1.0
_IDLE_EVERY_S: Final = 0.01
"""Seconds without a request before a first step of what is done in idle time, and between two: 100 MB/s of zeros."""
_CONNECT_S: Final = 20.0
"""Seconds to wait for a server that restarts; then the gateway starts another process, if it is there still."""
DATABASE_URL: Final = "GATEWAY_DATABASE__URL"
"""The variable with the URL of PostgreSQL, as for the gateway itself."""
_SWITCH_INTERVAL_S: Final = 0.0005
"""Interpreter switch interval: the thread that flushes waits for the other one to let go twice in a batch."""


class FlushThread:
    """Flushes in a thread, while the rows of the batch are written in another."""

    def __init__(self) -> None:
        self._writers: queue.SimpleQueue[SegmentWriter | None] = queue.SimpleQueue()
        self._ends: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="flush")
        self._thread.start()

    def begin(self, writer: SegmentWriter) -> None:
        self._writers.put(writer)

    def wait(self) -> None:
        if (error := self._ends.get()) is not None:
            raise error

    def close(self) -> None:
        """End the thread; nothing may be flushing."""
        self._writers.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (writer := self._writers.get()) is not None:
            try:
                writer.flush()
            except BaseException as error:
                self._ends.put(error)
            else:
                self._ends.put(None)


def commit(
    requests: Sequence[CommitRequest],
    incoming: IncomingFolder,
    memory: MappedArena,
    database: BatchTransactions,
    writer: SegmentWriter,
    flush: Flush,
) -> CommitReply:
    """Commit a batch of requests; the reply can be pickled."""
    batch = [
        Complete(
            IncomingFile(incoming, request.key, made=request.made, named=request.named) if request.key else None,
            [request.header, *memory.views(request.spans)],
            request.script,
            request.frame,
        )
        for request in requests
    ]
    reply = commit_batch(batch, database, writer, flush)
    return reply._replace(outcomes=[(result, _picklable(error)) for result, error in reply.outcomes])


def _picklable(error: BaseException | None) -> BaseException | None:
    """The error in a form for the gateway; an unexpected one is logged here, with its traceback."""
    if error is None:
        return None
    if not isinstance(error, GatewayError):
        log.error("an instance could not be committed", exc_info=error)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return DatabaseError(f"the instance could not be committed: {type(error).__name__}: {error}")
    return error


class Inbox:
    """Received requests."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._data = bytearray()
        self._requests: deque[CommitRequest] = deque()
        self._decoder = RequestDecoder()

    def batch(self, idle: Callable[[], bool] = lambda: False, rest_s: float | None = None) -> list[CommitRequest]:
        """All waiting requests, up to the limits; waits for the first. Raises: EOFError when the gateway has gone.

        `idle` is called while there is none, as long as it returns that there is more to do, and every `rest_s` seconds
        after that.
        """
        pause: float | None = _IDLE_AFTER_S
        while not self._requests:
            if select.select([self._end], [], [], pause)[0]:
                self._receive(0)
            else:
                pause = _IDLE_EVERY_S if idle() else rest_s
        with contextlib.suppress(BlockingIOError):
            while len(self._requests) < MAX_BATCH:
                self._receive(socket.MSG_DONTWAIT)
        batch: list[CommitRequest] = []
        size = 0
        while self._requests and len(batch) < MAX_BATCH and size < MAX_BATCH_BYTES:
            batch.append(self._requests.popleft())
            size += len(batch[-1].header) + sum(length for _, length in batch[-1].spans)
        return batch

    def _receive(self, flags: int) -> None:
        data = self._end.recv(1 << 20, flags)
        if not data:
            raise EOFError
        self._data += data
        for requests in unframed(self._data):
            self._requests.extend(map(self._decoder.decode, requests))


def run(
    end: socket.socket,
    incoming: IncomingFolder,
    memory: MappedArena,
    database: BatchTransactions,
    writer: SegmentWriter,
) -> None:
    """Commit batches until the gateway has gone. The first reply, to no request, reports that the process is ready.

    Raises: EOFError, ConnectionError, when the gateway has gone; DatabaseError, when the connection to the database is
    lost, and with it perhaps commits that nobody had flushed: no reply is sent then, and whoever finds the segment
    without its writer makes their rows again.
    """
    inbox = Inbox(end)

    def idle() -> bool:
        database.check()
        if database.lost:
            raise DatabaseError(database.lost)
        return writer.improve()

    with contextlib.closing(FlushThread()) as flush:
        end.sendall(encode_reply(CommitReply([], 0.0, 0.0, "", [])))
        while True:
            requests = inbox.batch(idle, database.check_every_s)
            reply = commit(requests, incoming, memory, database, writer, flush)
            if database.lost:
                raise DatabaseError(database.lost)
            end.sendall(encode_reply(reply))
            database.checkpoint()
            writer.prepare()


def main() -> None:
    """Run with the descriptors of sockets, memory and lock, the data folder, and the name of the worker."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # A signal to the whole group is the gateway's to handle.
    setup_logging()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    end, memory, lock, base, worker = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
    layout = Layout(Path(base))
    try:
        store = FileStore(layout)
        incoming = IncomingFolder(layout, store, worker, lock=lock)
        database = open_transactions(layout, os.environ.pop(DATABASE_URL, ""), patience_s=_CONNECT_S)
        writer = SegmentWriter(store.segments)
    except (DatabaseError, OSError) as error:
        sys.exit(f"a process that stores instances cannot start: {error}")
    try:
        run(socket.socket(fileno=end), incoming, MappedArena(memory), database, writer)
    except (EOFError, ConnectionError):
        pass  # The gateway has gone.
    except DatabaseError as error:
        sys.exit(f"a process that stores instances ends: {error}")
    writer.close()
    database.close()
