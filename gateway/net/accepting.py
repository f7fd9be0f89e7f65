"""Taking connections from listening sockets, which other processes may share.

Connections are accepted here and not by the loop's server, because a server out of descriptors accepts and closes
without a word, and because among processes the idle one must win. What a connection is for is its owner's business.
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
_RETRY = 0.2
"""Seconds without accepting once descriptors have run out."""


class Turns(Protocol):
    """How processes that share listening sockets share out what comes."""

    def note(self, held: int) -> None:
        """So many connections are held here now."""

    def delay(self) -> float:
        """Seconds for which a new connection is left to the others, who hold fewer."""


class Alone:
    """Nobody shares the sockets."""

    def note(self, held: int) -> None:
        pass

    def delay(self) -> float:
        return 0.0


class Accepting:
    """Accepts on `listeners`, which stay the caller's, while `set(True)` holds and `held()` is below `most()`.

    `taken` is given each connection, not blocking, with the address of its peer and the listener that it came on.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        taken: Callable[[socket.socket, str, socket.socket], None],
        *,
        held: Callable[[], int],
        most: Callable[[], int],
        turns: Turns | None = None,
    ) -> None:
        self._listeners = listeners
        self._taken = taken
        self._held = held
        self._most = most
        self._turns = turns or Alone()
        self._loop = asyncio.get_running_loop()
        self._on = False
        self._full = False
        self._later: asyncio.TimerHandle | None = None

    def set(self, wanted: bool) -> None:
        """Accept from now on, or no more. Called with False before the listeners are closed."""
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
        """A connection has ended, or more are allowed."""
        self._turns.note(self._held())
        if self._on and self._full and self._held() < self._most():
            self.set(True)

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        for listener in self._listeners:
            self._loop.remove_reader(listener)
        self._later = self._loop.call_later(seconds, then)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            self._turns.note(self._held())
            if self._held() >= self._most():
                self._full = True
                for each in self._listeners:
                    self._loop.remove_reader(each)
                return
            if (seconds := self._turns.delay()) > 0:
                self._wait(seconds, functools.partial(self._take_and_go_on, listener))
                return
            if not self._take(listener):
                return

    def _take_and_go_on(self, listener: socket.socket) -> None:
        """It was left to the others for a while; whoever still waits is ours."""
        self.set(True)
        if self._held() < self._most():
            self._take(listener)

    def _take(self, listener: socket.socket) -> bool:
        """Accept one. Whether to try for another at once."""
        try:
            connection, address = listener.accept()
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                log.error("cannot accept connections for a moment: %s; raise the limit on open files", error)
                self._wait(_RETRY, functools.partial(self.set, True))
                return False
            return True  # The peer was gone before it was accepted.
        connection.setblocking(False)
        self._taken(connection, address[0], listener)
        self._turns.note(self._held())
        return True
