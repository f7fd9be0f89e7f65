"""One commit process: it runs nothing but `commit_batch`, for the instances that a gateway sends it.

It has no event loop and no second thread, so no interpreter lock stands between one system call and the next: committed
in threads of the gateway, an instance of 8 KB cost 18 changes of thread, and here less than one. The bytes are in
memory that both processes share.

The gateway, which is trusted, sends requests over a pair of sockets; both sides use pickle. When the
gateway dies, the commit process finishes its batch and exits; until then it holds the lock of the incoming folder, so
that no recovery treats an instance as abandoned that is about to be committed.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import pickle
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from gateway.database.database import Script
from gateway.database.transactions import Transactions, transactions
from gateway.errors import DatabaseError, GatewayError
from gateway.ingest.commit_batch import MAX_BATCH, MAX_BATCH_BYTES, CommitReply, Complete, commit_batch
from gateway.processes.arena import MappedArena, Span
from gateway.storage.filesystem import FileStore
from gateway.storage.incoming import IncomingFile, IncomingFolder
from gateway.storage.layout import Layout
from gateway.telemetry import setup_logging

log = logging.getLogger(__name__)

_LENGTH_BYTES: Final = 4
"""Bytes before each message with its length, big endian."""
_SWITCH_INTERVAL_S: Final = 10.0
"""Interpreter switch interval: there is only one thread."""


class CommitRequest(NamedTuple):
    """A request to commit one instance."""

    key: str
    made: bool
    """Whether its file exists."""
    named: bool
    """Whether the name of its file is durable."""
    header: bytes
    """Bytes to write before those of the spans."""
    spans: list[Span]
    script: Callable[[], Script[Any]]


def commit(
    requests: Sequence[CommitRequest], incoming: IncomingFolder, memory: MappedArena, database: Transactions
) -> CommitReply:
    """Commit a batch of requests; the reply can be pickled."""
    batch = [
        Complete(
            IncomingFile(incoming, request.key, made=request.made, named=request.named),
            [request.header, *memory.views(request.spans)],
            request.script,
        )
        for request in requests
    ]
    reply = commit_batch(batch, database)
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


def framed(message: object) -> bytes:
    """Encode a message for the sockets."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


def unframed(data: bytearray) -> Iterator[Any]:
    """Decode the complete messages in `data`, and remove them from it."""
    while len(data) >= _LENGTH_BYTES:
        end = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "big")
        if len(data) < end:
            return
        message = pickle.loads(data[_LENGTH_BYTES:end])
        del data[:end]
        yield message


class Inbox:
    """Received requests."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._data = bytearray()
        self._requests: deque[CommitRequest] = deque()

    def batch(self) -> list[CommitRequest]:
        """All waiting requests, up to the limits; waits for the first. Raises: EOFError when the gateway has gone."""
        while not self._requests:
            self._receive(0)
        with contextlib.suppress(BlockingIOError):
            while len(self._requests) < MAX_BATCH:
                self._receive(socket.MSG_DONTWAIT)
        batch: list[CommitRequest] = []
        size = 0
        while self._requests and len(batch) < MAX_BATCH and size < MAX_BATCH_BYTES:
            batch.append(self._requests.popleft())
            size += sum(length for _, length in batch[-1].spans)
        return batch

    def _receive(self, flags: int) -> None:
        data = self._end.recv(1 << 20, flags)
        if not data:
            raise EOFError
        self._data += data
        for requests in unframed(self._data):
            self._requests.extend(requests)


def run(end: socket.socket, incoming: IncomingFolder, memory: MappedArena, database: Transactions) -> None:
    """Commit batches until the gateway has gone. The first reply, to no request, reports that the process is ready."""
    inbox = Inbox(end)
    end.sendall(framed(CommitReply([], 0.0, 0.0, "")))
    importlib.import_module("gateway.ingest.commit_script")  # Needed to unpickle requests; loaded before the first.
    while True:
        requests = inbox.batch()
        end.sendall(framed(commit(requests, incoming, memory, database)))
        database.checkpoint()


def main() -> None:
    """Run with the descriptors of sockets, memory and lock, the data folder, and the name of the worker."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # A signal to the whole group is the gateway's to handle.
    setup_logging()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    end, memory, lock, base, worker = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
    layout = Layout(Path(base))
    try:
        incoming = IncomingFolder(layout, FileStore(layout), worker, lock=lock)
        database = transactions(layout.database, layout.write_lock)
    except (DatabaseError, OSError) as error:
        sys.exit(f"a process that stores instances cannot start: {error}")
    try:
        run(socket.socket(fileno=end), incoming, MappedArena(memory), database)
    except (EOFError, ConnectionError):
        pass  # The gateway has gone.
    database.close()
