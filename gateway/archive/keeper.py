"""One keeper: a process that does nothing but steps 2 and 3 of the contract in `ingest.py`, for many instances at once.

It has no event loop and no second thread, so no interpreter lock stands between one system call and the next: kept in
threads of the gateway, an instance of 8 KB cost 18 changes of thread, and here less than one. The bytes come in memory
that both processes see.

It is told what to do over a pair of sockets, by a process that it trusts like itself: both sides speak pickle. When
that process dies, the keeper ends, behind what it is at; until then it holds the lock of the incoming folder, so that
nobody takes for abandoned what it is about to commit.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import pickle
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from gateway.database.database import Script
from gateway.database.transactions import Outcome, Transactions, transactions
from gateway.errors import DatabaseError, GatewayError, StorageError
from gateway.storage.arena import Buffer, Shown, Span
from gateway.storage.filesystem import FileStore
from gateway.storage.incoming import IncomingFile, IncomingFolder
from gateway.storage.layout import Layout
from gateway.telemetry import setup_logging

log = logging.getLogger(__name__)

_LENGTH: Final = 4
"""Bytes before each message that tell its length, big endian."""
_MOST: Final = 64
"""Instances that are kept at once, at most."""
_MOST_BYTES: Final = 16 << 20
"""Bytes to write after which no further instance is taken with them."""
_SWITCH_INTERVAL: Final = 10.0
"""Seconds: there is one thread."""


class Order(NamedTuple):
    """One instance to keep."""

    key: str
    made: bool
    """Its file exists."""
    named: bool
    """The name of its file is durable."""
    header: bytes
    """Bytes to write before those of the spans."""
    spans: list[Span]
    script: Callable[[], Script[Any]]


class Answer(NamedTuple):
    """To the next so many orders, in their order."""

    outcomes: list[Outcome]
    synced: float
    """Seconds that all of them took to be written and synced."""
    committed: float
    """Seconds that the commit took."""
    failure: str
    """Why no keeper can commit any more; '' while all is well."""


def keep(orders: Sequence[Order], incoming: IncomingFolder, memory: Shown, database: Transactions) -> Answer:
    """Steps 2 and 3. All files are written before the first is synced: then one journal commit carries many."""
    began = time.perf_counter()
    outcomes: list[Outcome] = [(None, None)] * len(orders)

    def each(work: Callable[[int], None], which: Sequence[int]) -> list[int]:
        """Do it for each; those that succeeded."""
        done = []
        for at in which:
            try:
                work(at)
                done.append(at)
            except StorageError as error:
                files[at].close()
                outcomes[at] = (None, error)
        return done

    files = [IncomingFile(incoming, order.key, made=order.made, named=order.named) for order in orders]
    placed = each(lambda at: files[at].place(_views(orders[at], memory)), range(len(orders)))
    for at in placed:
        files[at].begin_sync()
    synced = each(lambda at: files[at].sync(), placed)
    between = time.perf_counter()
    if synced:
        try:
            with database.turn():
                committed = database.commit([orders[at].script for at in synced])
        except DatabaseError as error:
            committed = [(None, error)] * len(synced)
        for at, (result, why) in zip(synced, committed, strict=True):
            outcomes[at] = result, _tellable(why)
    return Answer(outcomes, between - began, time.perf_counter() - between, database.failure)


def _tellable(error: BaseException | None) -> BaseException | None:
    """The error as the other side can have it; one of a fault in a program is told here, with its place."""
    if error is None:
        return None
    if not isinstance(error, GatewayError):
        log.error("an instance could not be entered", exc_info=error)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return DatabaseError(f"the instance could not be entered: {type(error).__name__}: {error}")
    return error


def _views(order: Order, memory: Shown) -> list[Buffer]:
    return [order.header, *memory.views(order.spans)]


def framed(message: object) -> bytes:
    """As it goes over the sockets."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return len(data).to_bytes(_LENGTH, "big") + data


def unframed(data: bytearray) -> Iterator[Any]:
    """The messages that have come whole, which are taken off `data`."""
    while len(data) >= _LENGTH:
        end = _LENGTH + int.from_bytes(data[:_LENGTH], "big")
        if len(data) < end:
            return
        message = pickle.loads(data[_LENGTH:end])
        del data[:end]
        yield message


class Inbox:
    """Orders that have come."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._data = bytearray()
        self._orders: deque[Order] = deque()

    def batch(self) -> list[Order]:
        """All that wait, up to the limits; waits for one. Raises EOFError when nobody is there to ask."""
        while not self._orders:
            self._receive(0)
        with contextlib.suppress(BlockingIOError):
            while len(self._orders) < _MOST:
                self._receive(socket.MSG_DONTWAIT)
        batch: list[Order] = []
        size = 0
        while self._orders and len(batch) < _MOST and size < _MOST_BYTES:
            batch.append(self._orders.popleft())
            size += sum(length for _, length in batch[-1].spans)
        return batch

    def _receive(self, flags: int) -> None:
        data = self._end.recv(1 << 20, flags)
        if not data:
            raise EOFError
        self._data += data
        for orders in unframed(self._data):
            self._orders.extend(orders)


def run(end: socket.socket, incoming: IncomingFolder, memory: Shown, database: Transactions) -> None:
    """Do what is asked until nobody is there to ask. The first answer, to nothing, says that we are up."""
    inbox = Inbox(end)
    end.sendall(framed(Answer([], 0.0, 0.0, "")))
    importlib.import_module("gateway.archive.entering")  # what orders are made of: now, and not with the first of them
    while True:
        orders = inbox.batch()
        end.sendall(framed(keep(orders, incoming, memory, database)))
        database.checkpoint()


def main() -> None:
    """Run with the descriptors of sockets, memory and lock, the data folder, and the name of the worker."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # sent to the whole group: whoever asks decides
    setup_logging()
    sys.setswitchinterval(_SWITCH_INTERVAL)
    end, memory, lock, base, worker = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
    layout = Layout(Path(base))
    try:
        incoming = IncomingFolder(layout, FileStore(layout), worker, lock=lock)
        database = transactions(layout.database, layout.write_lock)
    except (DatabaseError, OSError) as error:
        sys.exit(f"a process that stores instances cannot start: {error}")
    try:
        run(socket.socket(fileno=end), incoming, Shown(memory), database)
    except (EOFError, ConnectionError):
        pass  # nobody waits for an answer any more
    database.close()
