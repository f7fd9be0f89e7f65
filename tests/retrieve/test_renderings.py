"""retrieve/renderings.py: one picture for all who wait for it, none for those who have gone, the loop is free."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import NotFound
from gateway.imaging.cache import FrameCache
from gateway.index.locate import Located, located_page
from gateway.render.rendering import RenderOptions, Subject
from gateway.retrieve import renderings
from gateway.retrieve.renderings import Renderer
from tests.support.web import House, house
from tests.web.test_rendered import image


@contextlib.asynccontextmanager
async def painter(folder: Path, threads: int = 2) -> AsyncIterator[tuple[Renderer, House]]:
    async with house(folder) as made:
        with ThreadPoolExecutor(threads) as executor:
            yield Renderer(made.database, made.use_cases.retrieval, executor, FrameCache(1 << 20)), made


async def stored(gateway: House, **values: Any) -> Located:
    await gateway.add(image("1.1", "1.1.1", "1.1.1.1", **values))
    return (await located_page(gateway.database, "1.1"))[0]


class Gate:
    """In place of what makes a picture: waits until it is opened, and counts."""

    def __init__(self) -> None:
        self.made: list[RenderOptions] = []
        self.entered, self.opened = threading.Event(), threading.Event()

    def __call__(self, _subject: Subject, _read: object, _frame: int, options: RenderOptions) -> bytes:
        self.entered.set()
        assert self.opened.wait(10)
        self.made.append(options)
        return b"picture"


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    made = Gate()
    monkeypatch.setattr(renderings, "render_frame", made)
    return made


async def test_made_once_for_all_who_wait(tmp_path: Path, gate: Gate) -> None:
    async with asyncio.timeout(10), painter(tmp_path) as (made, gateway):
        found = await stored(gateway)
        waiting = [asyncio.create_task(made.render(found, None, RenderOptions())) for _ in range(20)]
        await asyncio.sleep(0)
        gate.opened.set()
        assert set(await asyncio.gather(*waiting)) == {b"picture"}
        assert await made.render(found, None, RenderOptions()) == b"picture"
        assert len(gate.made) == 1
        await made.render(found, None, RenderOptions(quality=1))
        assert len(gate.made) == 2


async def test_nothing_is_begun_for_who_has_gone(tmp_path: Path, gate: Gate) -> None:
    async with asyncio.timeout(10), painter(tmp_path, threads=1) as (made, gateway):
        found = await stored(gateway)
        waiting = [
            asyncio.create_task(made.render(found, None, RenderOptions(quality=number))) for number in range(1, 50)
        ]
        await asyncio.to_thread(gate.entered.wait, 10)  # the loop goes on although the only thread is busy
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        gate.opened.set()
        await made.render(found, None, RenderOptions(quality=99))
        assert [options.quality for options in gate.made] == [1, 99]


async def test_an_instance_that_has_moved_meanwhile(tmp_path: Path) -> None:
    async with asyncio.timeout(10), painter(tmp_path) as (made, gateway):
        old = await stored(gateway)
        await gateway.add(image("1.1", "1.1.1", "1.1.1.1", Rows=4, PixelData=bytes(64)), replaces=old.key)
        gateway.memory.remove(old.key)
        assert await made.frames(old) == 1
        assert (await made.render(old, 0, RenderOptions()))[:2] == b"\xff\xd8"


async def test_a_frame_that_there_is_not(tmp_path: Path) -> None:
    async with asyncio.timeout(10), painter(tmp_path) as (made, gateway):
        found = await stored(gateway, frames=2)
        for work in (made.render(found, 2, RenderOptions()), made.thumbnail(found, 2, RenderOptions(), ("none",))):
            with pytest.raises(NotFound, match="2 frames"):
                await work
