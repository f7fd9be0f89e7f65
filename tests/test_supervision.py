"""Work that lasts is begun again after a fault of the program, and the log says so."""

from __future__ import annotations

import asyncio
import logging

import pytest

from gateway import supervision
from gateway.supervision import Deaths, lasting


def test_what_dies_at_once_waits_longer_each_time_and_not_for_ever() -> None:
    deaths = Deaths()
    assert [deaths.after(0.1) for _ in range(9)] == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert deaths.after(10.5) == 0.0, "after a steady life it is the first death again"
    assert (deaths.after(9.5), deaths.count) == (0.5, 2)


@pytest.mark.case("item 2 a task that dies of an error is said aloud and begun again")
async def test_it_is_begun_again_and_said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "_FIRST_S", 0.001)
    begun = 0

    async def work() -> None:
        nonlocal begun
        begun += 1
        await asyncio.sleep(0)
        if begun < 4:
            raise ZeroDivisionError(f"number {begun}")

    async with asyncio.timeout(10):
        await lasting("counting", work)
    assert begun == 4
    said = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert [record.getMessage().partition(" and ")[0] for record in said] == [
        "counting has ended by a fault of the program"
    ] * 3
    assert "number 3" in caplog.text, "with its traceback"


async def test_it_ends_when_it_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(lasting("waiting", work))
    async with asyncio.timeout(10):
        await begun.wait()
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()
    assert not caplog.records
