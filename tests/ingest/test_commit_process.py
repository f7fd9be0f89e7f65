"""What one keeper does, in this process: one that fails among many, framing, limits of a batch, its life."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import functools
import os
import socket
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.database.database import Script
from gateway.database.sqlite import SQLite
from gateway.database.transactions import Transactions, transactions
from gateway.errors import DatabaseError, OutOfDescriptors, OutOfSpace, StorageError, StorageFailed
from gateway.ingest.commit_batch import CommitReply, FlushHere
from gateway.ingest.commit_messages import CommitRequest, RequestEncoder, decode_reply, encode_reply, framed, unframed
from gateway.ingest.commit_process import Inbox, commit, run
from gateway.processes.arena import Arena, MappedArena
from gateway.storage.filesystem import FileStore
from gateway.storage.incoming import IncomingFolder
from gateway.storage.layout import Layout, new_key
from gateway.storage.segments.writer import SegmentWriter
from tests.contracts.database import ALL, Failing, put, put_and_break

PAYLOAD = 1000


class Keeper:
    """All that a keeper has, and the gateway that it works for."""

    def __init__(self, layout: Layout, database: SQLite) -> None:
        self.layout, self.database = layout, database
        self.incoming = IncomingFolder(layout, FileStore(layout), "worker")
        self.arena = Arena(1 << 20)
        self.shown = MappedArena(os.dup(self.arena.descriptor))
        self.transactions = transactions(layout.database, layout.write_lock)
        self.beside = IncomingFolder(layout, self.incoming.store, "worker", lock=os.dup(self.incoming.lock))
        self.writer = SegmentWriter(self.incoming.store.segments)
        self.next = 0

    def request(
        self, script: Callable[[str], Script[Any]] = put, header: bytes = b"head", **changes: Any
    ) -> CommitRequest:
        """Of a file in stock, with its bytes in the arena; `script` is given the key."""
        if not self.next:
            self.incoming.preallocate()
        file = self.incoming.new_file()
        key, made, named = file.hand_over()
        assert made
        assert named
        Path(self.layout.stored(key)).parent.mkdir(parents=True, exist_ok=True)
        data = key.encode() * (PAYLOAD // len(key))
        view = self.arena.allocate(len(data))
        view[:] = data
        told = self.arena.to_spans([header, view], 1 << 16)
        assert told is not None
        self.next += 1
        return CommitRequest(key, made, named, *told, functools.partial(script, key))._replace(**changes)

    def commit(self, *requests: CommitRequest) -> CommitReply:
        return commit(requests, self.beside, self.shown, self.transactions, self.writer, FlushHere())

    async def rows(self) -> set[str]:
        return {key for (key,) in await self.database.fetch(ALL)}

    def bytes_of(self, request: CommitRequest) -> bytes:
        return Path(self.layout.stored(request.key)).read_bytes()

    def close(self) -> None:
        self.transactions.close()
        self.beside.names.close()
        os.close(self.beside.lock)
        self.incoming.close()
        self.arena.close()


@pytest.fixture
async def keeper(tmp_path: Path) -> AsyncIterator[Keeper]:
    layout = Layout(tmp_path)
    for path in (layout.store, layout.incoming):
        path.mkdir()
    database = await SQLite.open(layout.database, lock_path=layout.write_lock)
    made = Keeper(layout, database)
    yield made
    made.close()
    vars(made).clear()  # pytest keeps what a fixture gave, and with it the memory
    await database.close()


def fail_at(monkeypatch: pytest.MonkeyPatch, call: str, number: int, error: int) -> None:
    """Let the Nth call of `os.<call>` fail, of those that follow."""
    real, count = getattr(os, call), 0

    def failing(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == number:
            raise OSError(error, os.strerror(error))
        return real(*arguments, **options)

    monkeypatch.setattr(os, call, failing)


class TestKeep:
    async def test_all_of_them(self, keeper: Keeper) -> None:
        requests = [keeper.request(header=b"one"), keeper.request(header=b""), keeper.request(spans=[])]
        reply = keeper.commit(*requests)
        assert reply.outcomes == [(request.key, None) for request in requests]
        assert reply.failure == ""
        assert await keeper.rows() == {request.key for request in requests}
        whole = PAYLOAD // 26 * 26
        assert [len(keeper.bytes_of(request)) for request in requests] == [3 + whole, whole, 4]
        assert keeper.bytes_of(requests[0]) == b"one" + requests[0].key.encode() * (PAYLOAD // 26)
        for request in requests:  # until the gateway has settled them
            assert Path(keeper.layout.stored(request.key)).samefile(f"{keeper.incoming.path}/{request.key}")

    async def test_a_file_that_is_half_written_grows(self, keeper: Keeper) -> None:
        request = keeper.request()
        (Path(keeper.incoming.path) / request.key).write_bytes(b"before")
        keeper.commit(request)
        assert keeper.bytes_of(request).startswith(b"beforehead")

    async def test_a_file_that_is_not_made_is_named_durably(
        self, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        new, in_stock = keeper.request(key=new_key(1), made=False, named=False), keeper.request()
        synced: list[int] = []
        monkeypatch.setattr(os, "fsync", synced.append)
        assert keeper.commit(new).outcomes[0][1] is None
        assert len(synced) == 1
        assert keeper.commit(in_stock).outcomes[0][1] is None
        assert len(synced) == 1

    @pytest.mark.parametrize(
        ("call", "error", "expected"),
        [
            ("open", errno.EMFILE, OutOfDescriptors),
            ("writev", errno.ENOSPC, OutOfSpace),
            ("writev", errno.EIO, StorageError),
            ("link", errno.ENOSPC, OutOfSpace),
            ("link", errno.EIO, StorageError),
            ("fdatasync", errno.ENOSPC, OutOfSpace),
            ("fdatasync", errno.EIO, StorageFailed),
        ],
    )
    @pytest.mark.parametrize("number", [1, 2, 3])
    async def test_one_of_several_fails(
        self,
        keeper: Keeper,
        monkeypatch: pytest.MonkeyPatch,
        call: str,
        error: int,
        expected: type[StorageError],
        number: int,
    ) -> None:
        """And it alone: it has no row, and the others have bytes and rows. No file stays open, as ever."""
        requests = [keeper.request() for _ in range(3)]
        fail_at(monkeypatch, call, number, error)
        outcomes = keeper.commit(*requests).outcomes
        assert type(outcomes[number - 1][1]) is expected
        others = [request for at, request in enumerate(requests) if at != number - 1]
        assert [result for result, why in outcomes if why is None] == [request.key for request in others]
        assert await keeper.rows() == {request.key for request in others}
        for request in others:
            assert keeper.bytes_of(request).startswith(b"head")

    async def test_where_all_fail_nothing_is_written(self, keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
        request = keeper.request()
        fail_at(monkeypatch, "writev", 1, errno.EIO)
        monkeypatch.setattr(Transactions, "turn", None)
        reply = keeper.commit(request)
        monkeypatch.undo()  # The end of the process needs a turn.
        assert isinstance(reply.outcomes[0][1], StorageError)

    async def test_no_turn(self, keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise OSError(errno.ENOLCK, "no locks")

        requests = [keeper.request(), keeper.request()]
        monkeypatch.setattr(fcntl, "flock", fail)
        reply = keeper.commit(*requests)
        monkeypatch.undo()
        assert [type(why) for _, why in reply.outcomes] == [DatabaseError] * 2
        assert await keeper.rows() == set()
        assert keeper.commit(keeper.request()).outcomes[0][1] is None

    async def test_a_script_that_fails_does_so_alone(self, keeper: Keeper) -> None:
        requests = [keeper.request(), keeper.request(put_and_break), keeper.request()]
        outcomes = keeper.commit(*requests).outcomes
        assert [why is None for _, why in outcomes] == [True, False, True]
        assert isinstance(outcomes[1][1], DatabaseError)
        assert await keeper.rows() == {requests[0].key, requests[2].key}

    async def test_an_error_that_cannot_be_told(self, keeper: Keeper, caplog: pytest.LogCaptureFixture) -> None:
        """It would take with it the answers to all others."""

        class Local(Exception):
            pass

        def broken(key: str) -> Script[None]:
            yield from put(key)
            raise Local("in the middle")

        requests = [keeper.request(), keeper.request(broken), keeper.request()]
        reply = keeper.commit(*requests)
        (told,) = told_of(reply)
        assert [why is None for _, why in told.outcomes] == [True, False, True]
        assert isinstance(told.outcomes[1][1], DatabaseError)
        assert "Local: in the middle" in str(told.outcomes[1][1])
        assert "Traceback" in caplog.text
        caplog.clear()

    @pytest.mark.parametrize("done", [True, False])
    async def test_a_commit_in_doubt(self, keeper: Keeper, done: bool) -> None:
        """The failure is told with the answer, and nothing is written any more."""
        connection = keeper.transactions._connection
        keeper.transactions._connection = Failing(  # type: ignore[assignment]
            connection, "COMMIT", sqlite3.SQLITE_IOERR_FSYNC, run=done
        )
        requests = [keeper.request(), keeper.request()]
        (told,) = told_of(keeper.commit(*requests))
        assert [why.in_doubt for _, why in told.outcomes] == [True, True]
        assert "its outcome is unknown" in told.failure
        assert len(await keeper.rows()) == (2 if done else 0)
        after = keeper.commit(keeper.request())
        assert not after.outcomes[0][1].in_doubt  # type: ignore[union-attr]
        assert after.failure == told.failure

    @pytest.mark.parametrize(
        "error",
        [
            StorageError("a"),
            OutOfSpace("b"),
            StorageFailed("c"),
            DatabaseError("d"),
            DatabaseError("e", in_doubt=True),
        ],
    )
    def test_errors_come_over_as_they_are(self, error: Exception) -> None:
        (told,) = unframed(bytearray(framed(error)))
        assert (type(told), str(told), vars(told)) == (type(error), str(error), vars(error))


def told_of(reply: CommitReply) -> list[CommitReply]:
    """What the gateway reads of a reply."""
    return list(map(decode_reply, unframed(bytearray(encode_reply(reply)))))


def message(*requests: CommitRequest) -> bytes:
    return framed(list(map(RequestEncoder().encode, requests)))


def an_order(size: int = 10) -> CommitRequest:
    return CommitRequest(new_key(1), True, True, b"", [(0, size)], functools.partial(put, "x"))


class TestInbox:
    @pytest.fixture
    def pair(self) -> Iterator[tuple[socket.socket, socket.socket]]:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            yield ours, theirs

    def test_at_most_64_at_once_in_their_order(self, pair: tuple[socket.socket, socket.socket]) -> None:
        requests = [an_order(number) for number in range(150)]
        pair[0].sendall(message(*requests[:100]) + message(*requests[100:]))
        inbox = Inbox(pair[1])
        batches = [inbox.batch() for _ in range(3)]
        assert [len(batch) for batch in batches] == [64, 64, 22]
        got = [request for batch in batches for request in batch]
        assert [request.spans for request in got] == [request.spans for request in requests]

    def test_few_where_they_are_large(self, pair: tuple[socket.socket, socket.socket]) -> None:
        pair[0].sendall(message(*[an_order(5 << 20) for _ in range(6)], an_order(100 << 20), an_order()))
        inbox = Inbox(pair[1])
        assert [len(inbox.batch()) for _ in range(5)] == [2, 2, 2, 1, 1]

    def test_all_that_waits_goes_together(self, pair: tuple[socket.socket, socket.socket]) -> None:
        for _ in range(3):
            pair[0].sendall(message(an_order()))
        assert len(Inbox(pair[1]).batch()) == 3

    @pytest.mark.parametrize("left", [b"", b"\0\0\1\0half of a message"])
    def test_nobody_there(self, pair: tuple[socket.socket, socket.socket], left: bytes) -> None:
        pair[0].sendall(left)
        pair[0].close()
        with pytest.raises(EOFError):
            Inbox(pair[1]).batch()


class TestRun:
    async def test_says_that_it_is_up_answers_and_ends(self, keeper: Keeper) -> None:
        ended: list[BaseException] = []
        ours, theirs = socket.socketpair()

        def work() -> None:
            try:
                with theirs:
                    run(theirs, keeper.beside, keeper.shown, keeper.transactions, keeper.writer)
            except (EOFError, ConnectionError) as error:
                ended.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        with ours, closing(ours.makefile("rb")) as file:

            def reply() -> CommitReply:
                start = file.read(4)
                (told,) = unframed(bytearray(start + file.read(int.from_bytes(start, "big"))))
                return decode_reply(told)

            assert await asyncio.to_thread(reply) == CommitReply([], 0.0, 0.0, "", [])
            for _ in range(3):
                request = keeper.request()
                ours.sendall(message(request))
                assert (await asyncio.to_thread(reply)).outcomes == [(request.key, None)]
            last = keeper.request()
            ours.sendall(message(last))
            assert (await asyncio.to_thread(reply)).outcomes == [(last.key, None)]
        await asyncio.to_thread(thread.join, 10)
        assert len(ended) == 1
        assert len(await keeper.rows()) == 4
