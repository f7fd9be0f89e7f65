"""Slots shared fairly among clients: a bounded number is held at once, no client holds all, and a free slot goes to the
client that holds the fewest.

The identity of a client is defined here too. The use of a slot, and the choice of a client that must give one up, are
the owner's.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

MAX_WAITING: Final = 1024
"""Requests that wait for a slot at once; one more is refused."""
_NETWORK_BITS: Final = 64
"""Leading bits of an IPv6 address that identify a client, who usually has the whole /64 (RFC 6177)."""


class NoSlot(Exception):
    """Too many requests wait for a slot."""


def client_of(address: str) -> str:
    """The client behind an address: the IPv4 address itself, of an IPv6 address its /64 network; any other text
    stands for itself.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, _NETWORK_BITS), strict=False))


class FairSlots:
    """`count` slots, of which one client holds at most `each`. Belongs to one event loop."""

    def __init__(self, count: int, each: int | None = None) -> None:
        self._free = count
        self._each = each if each is not None else count
        self._held: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        """Waiting requests by client; the client that got a slot last is at the end."""

    def held_by(self, client: str) -> int:
        return self._held[client]

    def is_full_for(self, client: str) -> bool:
        """Whether the client itself holds as many slots as one client may."""
        return self._held[client] >= self._each

    @asynccontextmanager
    async def slot(self, client: str) -> AsyncIterator[None]:
        """Hold a slot for the client, after waiting for one. Raises: NoSlot if too many requests wait."""
        await self._acquire(client)
        try:
            yield
        finally:
            self._release(client)

    async def _acquire(self, client: str) -> None:
        if self._free and not self.is_full_for(client):  # Clients that wait beside a free slot are at their own limit.
            self._grant(client)
            return
        if sum(map(len, self._waiting.values())) >= MAX_WAITING:
            raise NoSlot
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue = self._waiting.setdefault(client, deque())
        queue.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():  # granted in the same turn of the loop
                self._release(client)
            else:
                with suppress(ValueError):
                    queue.remove(future)
                self._forget_empty(client)
            raise

    def _grant(self, client: str) -> None:
        self._free -= 1
        self._held[client] += 1

    def _release(self, client: str) -> None:
        self._free += 1
        self._held[client] -= 1
        if not self._held[client]:
            del self._held[client]
        while self._free:
            entitled = [each for each in self._waiting if not self.is_full_for(each)]
            if not entitled:
                return
            following = min(entitled, key=self.held_by)
            future = self._waiting[following].popleft()
            self._waiting.move_to_end(following)
            self._forget_empty(following)
            if not future.done():
                self._grant(following)
                future.set_result(None)

    def _forget_empty(self, client: str) -> None:
        if not self._waiting.get(client, True):
            del self._waiting[client]
