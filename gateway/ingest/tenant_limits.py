"""The limits of tenants: how much each may have, and how fast it may bring it.

What a tenant has is read from the index, and what comes meanwhile is added to it until the next reading; with several
processes each sees what comes to the others at that reading, so that a limit may be passed by what comes in so long.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.config import Tenant
from gateway.database.database import Database
from gateway.errors import OutOfSpace
from gateway.index.tenants import holding_of

_READ_EVERY_S: Final = 5.0
_MAX_WAIT_S: Final = 30.0
"""Seconds that one acknowledgement waits at most: senders give up after a minute, and the next ones wait too."""
_NO_LIMITS: Final = Tenant()


@dataclass(slots=True)
class _Known:
    """What is known of one tenant."""

    instances: int = 0
    size: int = 0
    read_at: float | None = None
    free_at: float = 0.0
    """When what was stored so far is within the rate."""


class TenantLimits:
    """The limits of all tenants, as one process applies them."""

    def __init__(
        self,
        database: Database,
        tenants: Callable[[], Mapping[str, Tenant]],
        *,
        workers: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`workers` processes share each rate."""
        self._database = database
        self._tenants = tenants
        self._workers = workers
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._closing = asyncio.Event()

    async def admit(self, tenant: str, size: int) -> None:
        """Let an instance of `size` bytes be stored for a tenant. Raises: OutOfSpace where it may have no more."""
        limits = self._of(tenant)
        if not limits.max_size and not limits.max_instances:
            return
        known = self._known.setdefault(tenant, _Known())
        if known.read_at is None or self._clock() - known.read_at >= _READ_EVERY_S:
            known.read_at = self._clock()
            _studies, known.instances, known.size = await holding_of(self._database, tenant)
        if limits.max_instances and known.instances >= limits.max_instances:
            raise OutOfSpace(f"tenant {tenant} has {known.instances} instances and may have {limits.max_instances}")
        if limits.max_size and known.size + size > limits.max_size:
            raise OutOfSpace(
                f"tenant {tenant} has {known.size} bytes and may have {limits.max_size}: {size} more are too many"
            )
        known.instances += 1
        known.size += size

    async def pace(self, tenant: str, size: int) -> None:
        """Wait until `size` bytes that were stored for a tenant are within its rate."""
        limits = self._of(tenant)
        if not limits.max_rate:
            return
        known, now = self._known.setdefault(tenant, _Known()), self._clock()
        known.free_at = max(known.free_at, now) + size * self._workers / limits.max_rate
        wait = min(known.free_at - now, _MAX_WAIT_S)
        try:
            async with asyncio.timeout(wait):
                await self._closing.wait()
        except TimeoutError:
            pass

    def close(self) -> None:
        """Let nobody wait any more."""
        self._closing.set()

    def _of(self, tenant: str) -> Tenant:
        return self._tenants().get(tenant, _NO_LIMITS) if tenant else _NO_LIMITS
