"""What one keeper does with many orders: each stands and falls alone, and nobody waits for what cannot come."""

from __future__ import annotations

import errno
import functools
import gc
import os
import pickle
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.archive.keeper import _MOST, Answer, Inbox, Order, framed, keep, run, unframed
from gateway.database.database import Query, Script
from gateway.database.sqlite import _prepare
from gateway.database.transactions import Transactions, transactions
from gateway.errors import DatabaseError, OutOfSpace, StorageError, StorageFailed
from gateway.storage.arena import Arena, Shown
from gateway.storage.filesystem import FileStore
from gateway.storage.incoming import IncomingFolder
from gateway.storage.layout import Layout, new_key

ADD = Query("add", "INSERT INTO schema_version (version, name, at) VALUES ($1, $2, 0)")
LIST = Query("list", "SELECT name FROM schema_version WHERE version >= 1000 ORDER BY version")


def add(number: int, name: str) -> Script[str]:
    yield ADD, (1000 + number, name)
    return name


def fail(number: int) -> Script[str]:
    yield ADD, (1000 + number, "never")
    raise StorageError(f"script {number}")


def names() -> Script[list[str]]:
    rows = yield LIST, ()
    return [name for (name,) in rows]


class Place:
    """A data folder without a gateway, and an arena."""

    def __init__(self, path: Path) -> None:
        self.layout = Layout(path)
        for folder in (self.layout.store, self.layout.incoming):
            folder.mkdir(parents=True)
        _prepare(self.layout.database, self.layout.write_lock).close()
        self.store = FileStore(self.layout)
        self.incoming = IncomingFolder(self.layout, self.store, "worker")
        self.arena = Arena(1 << 20)
        self.memory = Shown(os.dup(self.arena.descriptor))
        self.database = transactions(self.layout.database, self.layout.write_lock)
        self.orders: list[Order] = []

    def order(self, data: bytes, script: Any = None) -> Order:
        view = self.arena.give(len(data))
        view[:] = data
        told = self.arena.told([b"head", view], 100)
        assert told is not None
        number = len(self.orders)
        order = Order(new_key(number), False, False, *told, script or functools.partial(add, number, data.decode()))
        self.orders.append(order)
        return order

    def keep(self) -> Answer:
        return keep(self.orders, self.incoming, self.memory, self.database)

    @property
    def rows(self) -> list[str]:
        with self.database.turn():
            ((rows, error),) = self.database.commit([names])
        assert error is None
        return rows

    def content(self, order: Order) -> bytes:
        file = self.store.open(order.key)
        try:
            return file.read(0, file.size)
        finally:
            file.close()

    def close(self) -> None:
        self.database.close()
        self.incoming.close()
        gc.collect()  # tracebacks hold views of the memory
        self.memory.close()
        self.arena.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path / "data")
    yield place
    place.close()


class TestKeep:
    def test_all_are_written_and_committed_at_once(self, place: Place) -> None:
        orders = [place.order(f"instance {number}".encode()) for number in range(5)]
        answer = place.keep()
        assert answer.outcomes == [(f"instance {number}", None) for number in range(5)]
        assert answer.failure == ""
        assert place.rows == [f"instance {number}" for number in range(5)]
        assert [place.content(order) for order in orders] == [f"headinstance {n}".encode() for n in range(5)]

    @pytest.mark.parametrize(
        ("call", "number", "expected"),
        [
            ("open", errno.ENOSPC, OutOfSpace),
            ("writev", errno.ENOSPC, OutOfSpace),
            ("writev", errno.EIO, StorageError),
            ("link", errno.EIO, StorageError),
            ("fdatasync", errno.EIO, StorageFailed),
            ("fdatasync", errno.ENOSPC, OutOfSpace),
        ],
    )
    @pytest.mark.parametrize("which", [0, 1, 2])
    def test_one_that_fails_harms_no_other(
        self,
        place: Place,
        monkeypatch: pytest.MonkeyPatch,
        call: str,
        number: int,
        expected: type[Exception],
        which: int,
    ) -> None:
        for data in (b"a", b"b", b"c"):
            place.order(data)
        real, calls = getattr(os, call), iter(range(1000))
        place.store.place(place.incoming.path + "/lock", new_key(0))  # the folder of the store is there

        def sometimes(*arguments: Any) -> Any:
            if next(calls) == which:
                raise OSError(number, os.strerror(number))
            return real(*arguments)

        before = sum(1 for _ in Path("/proc/self/fd").iterdir())
        monkeypatch.setattr(os, call, sometimes)
        outcomes = place.keep().outcomes
        monkeypatch.undo()
        assert [type(error) for _, error in outcomes] == [expected if at == which else type(None) for at in range(3)]
        assert place.rows == [name for at, name in enumerate("abc") if at != which]
        assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == before

    def test_a_script_that_fails_is_undone_alone(self, place: Place) -> None:
        place.order(b"a")
        place.order(b"b", functools.partial(fail, 1))
        place.order(b"c")
        (_, none), (_, error), (_, again) = place.keep().outcomes
        assert (none, again) == (None, None)
        assert str(error) == "script 1"
        assert place.rows == ["a", "c"]

    def test_a_lock_that_cannot_be_had_fails_what_would_be_committed(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object) -> None:
            raise OSError(errno.ENOLCK, "no locks")

        place.order(b"a")
        monkeypatch.setattr("fcntl.flock", broken)
        ((_, error),) = place.keep().outcomes
        monkeypatch.undo()
        assert isinstance(error, DatabaseError)
        assert place.rows == []

    def test_what_no_keeper_can_do_any_more_is_said(self, place: Place) -> None:
        place.order(b"a")
        place.database._fail("the disk is gone")
        answer = place.keep()
        assert "the disk is gone" in answer.failure
        assert isinstance(answer.outcomes[0][1], DatabaseError)


class TestMessages:
    @pytest.mark.parametrize("piece", [1, 3, 1000])
    def test_they_come_whole_however_they_are_cut(self, piece: int) -> None:
        messages = [[1, "two"], b"x" * 300, None]
        sent = b"".join(map(framed, messages))
        data, found = bytearray(), []
        for at in range(0, len(sent), piece):
            data += sent[at : at + piece]
            found += list(unframed(data))
        assert found == messages
        assert not data

    def test_errors_come_as_they_are(self) -> None:
        doubt = pickle.loads(pickle.dumps(DatabaseError("a commit failed", in_doubt=True)))
        assert (type(doubt), str(doubt), doubt.in_doubt) == (DatabaseError, "a commit failed", True)
        assert type(pickle.loads(pickle.dumps(StorageFailed("fsync")))) is StorageFailed

    def test_all_that_waits_is_taken_up_to_a_limit(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            inbox = Inbox(theirs)
            order = Order("key", True, True, b"", [(0, 10)], dict)
            ours.sendall(framed([order]) + framed([order, order]))
            assert len(inbox.batch()) == 3
            ours.sendall(framed([order] * (_MOST + 3)))
            assert [len(inbox.batch()), len(inbox.batch())] == [_MOST, 3]
            ours.sendall(framed([order._replace(spans=[(0, 17 << 20)]), order]))
            assert [len(inbox.batch()), len(inbox.batch())] == [1, 1]
            ours.close()
            with pytest.raises(EOFError):
                inbox.batch()


def test_it_says_that_it_is_up_answers_and_ends_with_who_asks(place: Place) -> None:
    ours, theirs = socket.socketpair()
    place.order(b"a")
    ended: list[BaseException] = []

    def keeper() -> None:
        database: Transactions = transactions(place.layout.database, place.layout.write_lock)
        try:
            run(theirs, place.incoming, place.memory, database)
        except EOFError as error:
            ended.append(error)
        database.close()

    thread = threading.Thread(target=keeper)
    thread.start()
    try:
        ours.settimeout(10)
        data = bytearray()
        answers: list[Answer] = []
        ours.sendall(framed(place.orders))
        while len(answers) < 2:
            data += ours.recv(1 << 16)
            answers += unframed(data)
        assert answers[0].outcomes == []
        assert answers[1].outcomes == [("a", None)]
    finally:
        ours.close()
        thread.join(10)
        theirs.close()
    assert len(ended) == 1
