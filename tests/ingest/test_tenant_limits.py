"""gateway/ingest/tenant_limits: what each tenant may have, and how fast it may bring it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.config import Tenant
from gateway.database.sqlite import SQLite
from gateway.errors import OutOfSpace
from gateway.ingest.tenant_limits import TenantLimits
from tests.support.index import data_set, origin, placement, store


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SQLite]:
    opened = await SQLite.open(tmp_path / "index.db")
    try:
        yield opened
    finally:
        await opened.close()


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_instances(database: SQLite) -> None:
    clock = Clock()
    limits = TenantLimits(database, lambda: {"a": Tenant(max_instances=3)}, clock=clock)
    await store(database, data_set("1.1"), placement(size=10), origin(tenant="a"))
    await limits.admit("a", 10)
    await limits.admit("a", 10)
    with pytest.raises(OutOfSpace, match="tenant a has 3 instances and may have 3"):
        await limits.admit("a", 10)
    clock.now += 6  # None of the admitted ones has come to be stored.
    await limits.admit("a", 10)
    await limits.admit("b", 10)


async def test_bytes(database: SQLite) -> None:
    limits = TenantLimits(database, lambda: {"a": Tenant(max_size=100), "b": Tenant()})
    await store(database, data_set("1.1"), placement(size=60), origin(tenant="a"))
    await store(database, data_set("1.2"), placement(size=1000), origin(tenant="b"))
    await limits.admit("a", 40)
    with pytest.raises(OutOfSpace, match="tenant a has 100 bytes and may have 100: 1 more are too many"):
        await limits.admit("a", 1)
    await limits.admit("b", 1000)
    await limits.admit("", 1000)


async def test_rate(database: SQLite) -> None:
    """Of two processes each has half of it; closing lets go whoever waits."""
    limits = TenantLimits(database, lambda: {"a": Tenant(max_rate=1000)}, workers=2)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await limits.pace("a", 50)
    await limits.pace("b", 10_000)
    assert 0.09 < loop.time() - began < 5
    waiting = asyncio.create_task(limits.pace("a", 10_000))
    await asyncio.sleep(0)
    assert not waiting.done()
    limits.close()
    async with asyncio.timeout(5):
        await waiting
