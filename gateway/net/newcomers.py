"""Connections that have not identified themselves yet, and which of them is closed when a new one needs the room.

Without it, peers that open connections and say nothing would occupy the places of working devices. Accepting is in
`accepting.py`; what makes a connection recognized (an accepted association, an authenticated request) is its owner's.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

log = logging.getLogger(__name__)

GRACE_S = 2.0
"""A younger connection does not count as silent: five hundred devices that call at once need a moment each."""
MAX_SILENT_PER_ADDRESS = 100
"""Silent connections of one address, or a few more; past it the oldest are closed. Recognized connections do not
count: many devices may stand behind one address."""
MAX_KNOWN = 4096
"""Addresses remembered because a connection from there has been recognized."""
_SWEEP_EVERY = 256
"""New connections between two sweeps that forget closed ones."""


class Newcomer(Protocol):
    """One accepted connection."""

    @property
    def address(self) -> str: ...

    @property
    def since(self) -> float:
        """When the connection was opened, on the clock of its `Newcomers`."""

    @property
    def is_open(self) -> bool: ...

    @property
    def is_silent(self) -> bool:
        """Whether we wait for the peer's first or next request; nothing of ours is in progress on the connection."""

    @property
    def is_recognized(self) -> bool:
        """Whether the peer is known by now."""

    def close(self) -> None:
        """Drop the connection soon."""


def hang_up(connection: socket.socket) -> None:
    """Shut the connection down so that both sides, and any reader of it, see its end, TLS handshakes too. The caller
    still closes the socket."""
    with contextlib.suppress(OSError):  # The connection has ended already.
        connection.shutdown(socket.SHUT_RDWR)


@dataclass(slots=True)
class _AddressGroup:
    """The connections of one address, oldest first."""

    check_at: int
    """Number of connections at which they are checked."""
    connections: list[Newcomer] = field(default_factory=list)


class Newcomers:
    """The connections of one listener; they are checked only when one is added or room is needed."""

    def __init__(self, clock: Callable[[], float], max_silent_per_address: int = MAX_SILENT_PER_ADDRESS) -> None:
        self._clock = clock
        self._max_silent = max_silent_per_address
        self._by_address: dict[str, _AddressGroup] = {}
        self._known: OrderedDict[str, None] = OrderedDict()
        self._added = 0

    def add(self, newcomer: Newcomer) -> None:
        """Add a connection; if its address has too many silent ones, the oldest of them are closed."""
        self._added += 1
        if self._added % _SWEEP_EVERY == 0:
            self._sweep()
        group = self._by_address.setdefault(newcomer.address, _AddressGroup(self._max_silent))
        group.connections.append(newcomer)
        if len(group.connections) > group.check_at:
            self._check(group)

    def recognize(self, address: str) -> None:
        """Remember an address from which a connection has been recognized."""
        self._known[address] = None
        self._known.move_to_end(address)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def make_room(self) -> bool:
        """Close the least valuable silent connection; False if none is silent.

        Connections of addresses without any recognized connection go first, then unrecognized connections of other
        addresses, each time the oldest.
        """
        worth: dict[Newcomer, tuple[bool, bool, float]] = {}
        for address, group in self._by_address.items():
            known = address in self._known or any(each.is_recognized for each in group.connections)
            worth.update((each, (each.is_recognized, known, each.since)) for each in self._silent(group.connections))
        if not worth:
            return False
        self._close(min(worth, key=worth.__getitem__), "there is no room for another")
        return True

    def _check(self, group: _AddressGroup) -> None:
        """Close the surplus silent connections of an address. The next check is some connections away: with six hundred
        open each check would cost 0.2 ms.
        """
        group.connections = [each for each in group.connections if each.is_open]
        silent = sorted((each for each in self._silent(group.connections) if not each.is_recognized), key=_age)
        for each in silent[: max(0, len(silent) - self._max_silent)]:
            self._close(each, f"{len(silent)} connections from there are silent")
        group.check_at = len(group.connections) + self._max_silent // 4

    def _silent(self, connections: list[Newcomer]) -> Iterator[Newcomer]:
        before = self._clock() - GRACE_S
        return (each for each in connections if each.is_open and each.is_silent and each.since <= before)

    def _close(self, newcomer: Newcomer, why: str) -> None:
        log.warning("a connection from %s without a request is closed: %s", newcomer.address, why)
        self._by_address[newcomer.address].connections.remove(newcomer)
        newcomer.close()

    def _sweep(self) -> None:
        for address, group in list(self._by_address.items()):
            group.connections = [each for each in group.connections if each.is_open]
            if not group.connections:
                del self._by_address[address]


def _age(newcomer: Newcomer) -> float:
    return newcomer.since
