"""Rate limiting and byte counts: a wrapper around an instance, for every kind of destination."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from gateway.scu.transfer import Choose, Content, Instance


class Bandwidth:
    """Bytes per second, shared by all transfers. Belongs to one event loop."""

    def __init__(
        self,
        rate: int,
        *,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`rate` 0: unlimited."""
        self._rate = rate
        self._clock = clock or asyncio.get_running_loop().time
        self._sleep = sleep
        self._free_at = 0.0

    async def take(self, size: int) -> None:
        """Wait until `size` bytes may be sent after those of earlier calls."""
        if not self._rate:
            return
        now = self._clock()
        self._free_at = max(self._free_at, now) + size / self._rate
        if self._free_at > now:
            await self._sleep(self._free_at - now)


class RateLimited:
    """An instance whose bytes are counted, and limited to a bandwidth."""

    def __init__(self, instance: Instance, bandwidth: Bandwidth) -> None:
        self._instance = instance
        self._bandwidth = bandwidth
        self.sent = 0
        """Bytes read for sending."""

    @property
    def name(self) -> str:
        return self._instance.name

    @property
    def sop_class_uid(self) -> str:
        return self._instance.sop_class_uid

    @property
    def sop_instance_uid(self) -> str:
        return self._instance.sop_instance_uid

    @property
    def transfer_syntax_uid(self) -> str:
        return self._instance.transfer_syntax_uid

    async def prepare(self, choose: Choose) -> Content:
        return _RateLimitedContent(self, await self._instance.prepare(choose), self._bandwidth)


class _RateLimitedContent:
    def __init__(self, owner: RateLimited, content: Content, bandwidth: Bandwidth) -> None:
        self._owner = owner
        self._content = content
        self._bandwidth = bandwidth

    @property
    def transfer_syntax_uid(self) -> str:
        return self._content.transfer_syntax_uid

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._content.chunks()) as chunks:
            async for chunk in chunks:
                await self._bandwidth.take(len(chunk))
                self._owner.sent += len(chunk)
                yield chunk

    def close(self) -> None:
        self._content.close()
