"""Waiting for changes: live views are woken when a change is committed, by this process or another one.

Changes of this process arrive by `notify`. Those of other processes are found by reading the change log once a second,
in one task for all waiters, and only while there are waiters.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from gateway.database.database import Database
from gateway.database.view import seeing
from gateway.errors import DatabaseError
from gateway.events.changes import last_change
from gateway.supervision import lasting

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""Seconds between reads of the change log for changes of other processes."""


class Feed:
    """The latest change number known to this process, and its waiters. Belongs to one event loop."""

    def __init__(self, database: Database, *, poll_seconds: float = POLL_SECONDS) -> None:
        self._database = database
        self._poll_seconds = poll_seconds
        self._last = 0
        self._waiters: set[asyncio.Future[None]] = set()
        self._poller: asyncio.Task[None] | None = None

    def notify(self, seq: int) -> None:
        """Wake the waiters: the change with this number is committed. Cheap: called once for every stored instance."""
        if seq > self._last:
            self._last = seq
            if self._waiters:
                for waiter in self._waiters:
                    if not waiter.done():
                        waiter.set_result(None)

    async def wait_change(self, after_seq: int, timeout: float) -> int:
        """The number of the latest change, as soon as it exceeds `after_seq` or `timeout` seconds have passed."""
        if self._last <= after_seq:
            await self._read()
        if self._last > after_seq:
            return self._last
        if self._poller is None or self._poller.done():
            with seeing(None):
                self._poller = asyncio.create_task(lasting("reading the change log", self._poll), name="change-feed")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._last <= after_seq:
                    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._waiters.add(waiter)
                    try:
                        await waiter
                    finally:
                        self._waiters.discard(waiter)
        return self._last

    async def close(self) -> None:
        """Stop polling. Waiters return when their timeout has passed."""
        if self._poller is not None:
            self._poller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._poller

    async def _poll(self) -> None:
        await asyncio.sleep(self._poll_seconds)
        while self._waiters:
            try:
                await self._read()
            except DatabaseError as error:
                log.warning("the change log cannot be read: %s", error)
            await asyncio.sleep(self._poll_seconds)

    async def _read(self) -> None:
        with seeing(None):
            self.notify(await last_change(self._database))
