"""Accepting connections from listening sockets that several processes may share.

The loop's own server is not used: out of descriptors it accepts and closes connections without a word, and among
processes the idle one must win. What a connection is for is its owner's business.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Protocol

log = logging.getLogger(__name__)

_AT_ONCE = 32
"""Connections accepted before the loop gets its turn again."""
_RECHECK_S = 0.5
"""Seconds until a connection may have been silent for long enough to be closed for a new one."""
_RETRY_S = 0.2
"""Seconds without accepting once descriptors have run out."""


class AcceptBalancer(Protocol):
    """The policy by which processes that share listening sockets divide new connections among themselves."""

    def note(self, held: int) -> None:
        """Record that this process has `held` connections open."""

    def delay(self) -> float:
        """Seconds for which a new connection is left to processes with fewer connections; 0 accepts it now."""


class Alone:
    """The balancer of a process that shares its sockets with no other."""

    def note(self, held: int) -> None:
        pass

    def delay(self) -> float:
        return 0.0


class Accepting:
    """Accepts on `listeners`, which the caller owns, while `set(True)` holds and `held()` is below `most()`.

    `taken` is called with each connection (non-blocking), the address of its peer and its listener. At the limit
    `make_room` is called; it returns whether a connection is about to close.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        taken: Callable[[socket.socket, str, socket.socket], None],
        *,
        held: Callable[[], int],
        most: Callable[[], int],
        make_room: Callable[[], bool] = lambda: False,
        turns: AcceptBalancer | None = None,
    ) -> None:
        self._listeners = listeners
        self._taken = taken
        self._held = held
        self._most = most
        self._make_room = make_room
        self._turns = turns or Alone()
        self._loop = asyncio.get_running_loop()
        self._on = False
        self._full = False
        self._later: asyncio.TimerHandle | None = None

    def set(self, wanted: bool) -> None:
        """Start or stop accepting. Stop before the listeners are closed."""
        if not wanted and not self._on:
            return
        self._on = wanted
        self._full = False
        if self._later is not None:
            self._later.cancel()
            self._later = None
        for listener in self._listeners:
            if wanted:
                self._loop.add_reader(listener, functools.partial(self._accept, listener))
            else:
                self._loop.remove_reader(listener)

    def look_again(self) -> None:
        """Accept again if the limit allows it: after a connection has ended, or the limit has been raised."""
        self._turns.note(self._held())
        if self._on and self._full and self._held() < self._most():
            self.set(True)

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        for listener in self._listeners:
            self._loop.remove_reader(listener)
        self._later = self._loop.call_later(seconds, then)

    def _accept(self, listener: socket.socket) -> None:
        for taken in range(_AT_ONCE):
            self._turns.note(self._held())
            if self._held() >= self._most():
                if taken:
                    return  # Whether another connection waits is not known yet: no open one is closed for it.
                if not self._make_room():
                    self._full = True
                    # A connection too young to count as silent may count at the next look.
                    self._wait(_RECHECK_S, functools.partial(self.set, True))
                    return
            if (seconds := self._turns.delay()) > 0:
                self._wait(seconds, functools.partial(self._accept_after_delay, listener))
                return
            if not self._take(listener):
                return

    def _accept_after_delay(self, listener: socket.socket) -> None:
        """Accept a connection that the other processes have left waiting for `delay()`, then go on as before."""
        self.set(True)
        if self._held() < self._most():
            self._take(listener)

    def _take(self, listener: socket.socket) -> bool:
        """Accept one connection. Whether to try for another at once."""
        try:
            connection, address = listener.accept()
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                log.error("cannot accept connections for a moment: %s; raise the limit on open files", error)
                self._wait(_RETRY_S, functools.partial(self.set, True))
                return False
            return True  # The peer was gone before it was accepted.
        connection.setblocking(False)
        self._taken(connection, address[0], listener)
        self._turns.note(self._held())
        return True
