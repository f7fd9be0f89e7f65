"""Taking connections: how many there may be, whose turn it is, and what happens without descriptors."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import pytest

from gateway.net import accepting
from gateway.net.accepting import AcceptBalancer, Accepting


class Connection:
    blocking = True

    def setblocking(self, flag: bool) -> None:
        self.blocking = flag


class Listener:
    """A listening socket with this backlog: names of peers, and errors of `accept`."""

    def __init__(self, *backlog: str | OSError) -> None:
        self.backlog = deque(backlog)

    def accept(self) -> tuple[Connection, tuple[str, int]]:
        if not self.backlog:
            raise BlockingIOError
        first = self.backlog.popleft()
        if isinstance(first, OSError):
            raise first
        return Connection(), (first, 50_000)


class Later:
    def __init__(self, seconds: float, callback: Callable[[], None]) -> None:
        self.seconds, self.callback = seconds, callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """The part of a loop that is asked for, turned by hand."""

    def __init__(self) -> None:
        self.readers: dict[Listener, Callable[[], None]] = {}
        self.timers: list[Later] = []

    def add_reader(self, listener: Listener, callback: Callable[[], None]) -> None:
        self.readers[listener] = callback

    def remove_reader(self, listener: Listener) -> bool:
        return self.readers.pop(listener, None) is not None

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Later:
        self.timers.append(Later(seconds, callback))
        return self.timers[-1]

    def turn(self) -> None:
        """Whoever has a backlog and is watched can be read."""
        for listener, callback in list(self.readers.items()):
            if listener.backlog:
                callback()

    def pass_time(self) -> float:
        """The next timer comes; the seconds that it was set to."""
        timer = next(timer for timer in self.timers if not timer.cancelled)
        self.timers.remove(timer)
        timer.callback()
        return timer.seconds


class Others(AcceptBalancer):
    """Other processes on the same sockets, which make us wait."""

    def __init__(self) -> None:
        self.noted: list[int] = []
        self.seconds = 0.0

    def note(self, held: int) -> None:
        self.noted.append(held)

    def delay(self) -> float:
        return self.seconds


class Door:
    """What accepts, on these listeners."""

    def __init__(self, *listeners: Listener, most: int = 1000, others: Others | None = None) -> None:
        self.loop = Loop()
        self.held: list[str] = []
        self.connections: list[Connection] = []
        self.came_by: list[Listener] = []
        self.most = most
        self.silent = 0
        """Connections that make room when they are asked to."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio, "get_running_loop", lambda: self.loop)
            self.accepting = Accepting(
                cast("tuple[socket.socket, ...]", listeners),
                self._take,
                held=lambda: len(self.held),
                most=lambda: self.most,
                make_room=self._make_room,
                turns=others,
            )
        self.accepting.set(True)

    def _take(self, connection: Any, host: str, listener: Any) -> None:
        self.held.append(host)
        self.connections.append(connection)
        self.came_by.append(listener)

    def _make_room(self) -> bool:
        if not self.silent:
            return False
        self.silent -= 1
        return True

    def leave(self, host: str) -> None:
        self.held.remove(host)
        self.accepting.look_again()


class TestAccepting:
    def test_each_with_its_address_and_by_which_way_it_came(self) -> None:
        plain, tls = Listener("a", "b"), Listener("c")
        door = Door(plain, tls)
        door.loop.turn()
        assert door.held == ["a", "b", "c"]
        assert door.came_by == [plain, plain, tls]
        assert not any(connection.blocking for connection in door.connections)

    def test_not_before_and_not_after(self) -> None:
        listener = Listener("a")
        door = Door(listener)
        door.accepting.set(False)
        door.accepting.set(False)
        door.loop.turn()
        assert door.held == []
        assert not door.loop.readers
        door.accepting.set(True)
        door.loop.turn()
        assert door.held == ["a"]

    def test_the_loop_has_its_turn_between_many(self) -> None:
        listener = Listener(*map(str, range(40)))
        door = Door(listener)
        door.loop.turn()
        assert len(door.held) == accepting._AT_ONCE
        door.loop.turn()
        assert len(door.held) == 40

    def test_one_that_has_gone_before_is_passed_over(self) -> None:
        door = Door(Listener(ConnectionAbortedError(errno.ECONNABORTED, "gone"), "a", InterruptedError(), "b"))
        door.loop.turn()
        assert door.held == ["a"]
        door.loop.turn()
        assert door.held == ["a", "b"]

    @pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
    def test_without_descriptors_it_waits_a_little(self, code: int, caplog: pytest.LogCaptureFixture) -> None:
        other = Listener("b")
        door = Door(Listener("a", OSError(code, "none left"), "c"), other)
        door.loop.turn()
        assert door.held[0] == "a"
        assert not door.loop.readers
        assert "raise the limit on open files" in caplog.text
        assert door.loop.pass_time() == accepting._RETRY_S
        door.loop.turn()
        assert sorted(door.held) == ["a", "b", "c"]


class TestRoom:
    def test_those_too_many_wait_in_the_backlog(self) -> None:
        listener = Listener("a", "b", "c")
        door = Door(listener, most=2)
        door.loop.turn()
        assert door.held == ["a", "b"]
        assert door.loop.readers  # Whether there is another one is not known yet.
        door.loop.turn()
        assert not door.loop.readers
        door.leave("a")
        assert door.loop.readers
        door.loop.turn()
        assert door.held == ["b", "c"]

    def test_who_leaves_while_there_are_still_too_many_changes_nothing(self) -> None:
        door = Door(Listener("a", "b", "c", "d"), most=3)
        door.loop.turn()
        door.loop.turn()
        door.most = 1
        for host in "ab":
            door.leave(host)
            assert not door.loop.readers
        door.leave("c")
        assert door.loop.readers

    def test_nobody_is_taken_while_there_are_more_than_may_be(self) -> None:
        listener = Listener("a", "b")
        door = Door(listener)
        door.loop.turn()
        door.most = 1
        listener.backlog.append("c")
        door.loop.turn()
        assert door.held == ["a", "b"]
        assert not door.loop.readers

    def test_more_room_is_used_at_once(self) -> None:
        door = Door(Listener("a", "b"), most=1)
        door.loop.turn()
        door.loop.turn()
        door.most = 2
        door.accepting.look_again()
        door.loop.turn()
        assert door.held == ["a", "b"]

    def test_a_silent_one_makes_room(self) -> None:
        door = Door(Listener("a", "b"), most=1)
        door.loop.turn()
        door.silent = 1
        door.loop.turn()
        assert door.held == ["a", "b"]
        assert door.silent == 0

    def test_nobody_goes_for_a_connection_that_may_not_be_there(self) -> None:
        door = Door(Listener("a"), most=1)
        door.silent = 5
        door.loop.turn()
        assert door.silent == 5

    def test_one_too_young_to_be_silent_may_be_so_at_the_next_look(self) -> None:
        door = Door(Listener("a", "b"), most=1)
        door.loop.turn()
        door.loop.turn()
        assert door.held == ["a"]
        door.silent = 1
        assert door.loop.pass_time() == accepting._RECHECK_S
        door.loop.turn()
        assert door.held == ["a", "b"]

    def test_no_look_is_left_once_it_accepts_no_more(self) -> None:
        door = Door(Listener("a", "b"), most=1)
        door.loop.turn()
        door.loop.turn()
        door.accepting.set(False)
        assert [timer.cancelled for timer in door.loop.timers] == [True]
        door.leave("a")
        assert not door.loop.readers


class TestTurns:
    def test_others_know_how_many_we_hold(self) -> None:
        others = Others()
        door = Door(Listener("a", "b"), others=others)
        door.loop.turn()
        door.leave("a")
        assert others.noted[-1] == 1
        assert max(others.noted) == 2

    def test_who_holds_fewer_has_the_first_try(self) -> None:
        others = Others()
        listener = Listener("a", "b")
        door = Door(listener, others=others)
        others.seconds = 0.004
        door.loop.turn()
        assert door.held == []
        assert not door.loop.readers
        listener.backlog.popleft()  # Another process has taken it.
        assert door.loop.pass_time() == 0.004
        assert door.held == ["b"]
        assert door.loop.readers

    def test_what_nobody_took_is_ours(self) -> None:
        others = Others()
        door = Door(Listener("a"), others=others)
        others.seconds = 0.004
        door.loop.turn()
        door.loop.pass_time()
        assert door.held == ["a"]

    @pytest.mark.parametrize("most", [0, 1])
    def test_not_where_there_is_no_room_any_more(self, most: int) -> None:
        others = Others()
        listener = Listener("a")
        door = Door(listener, others=others)
        door.loop.turn()
        listener.backlog.append("b")
        others.seconds = 0.004
        door.loop.turn()
        door.most = most
        door.loop.pass_time()
        assert door.held == ["a"]
        assert door.loop.readers
