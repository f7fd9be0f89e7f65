"""gateway/use_cases.py: one of each, for DICOM and for the web."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from gateway import config
from gateway.admin.anonymization import Anonymizing
from gateway.retrieve.read_ahead import CHUNK, MEMORY
from gateway.retrieve.renderings import Renderer
from gateway.use_cases import open_use_cases
from gateway.web import authentication
from gateway.web.dicomweb.resources import RENDERER, RETRIEVAL
from gateway.web.rest.changing import ANONYMIZING
from gateway.web.rest.mpps import STEPS
from gateway.web.rest.worklists import WORKLISTS
from tests.support.web import archive


@pytest.mark.case("item 1 every use case is built once: one memory, one look at the worklist folder, one count")
async def test_the_web_has_those_that_dicom_has(tmp_path: Path) -> None:
    async with asyncio.timeout(30), archive(tmp_path) as gateway:
        app, made = gateway.client.app, gateway.use_cases
        assert app is not None
        assert app[RETRIEVAL] is made.retrieval
        assert app[WORKLISTS] is made.worklists
        assert app[STEPS] is made.steps
        assert app[authentication.AUTHENTICATOR] is made.authenticator
        renderer, anonymizing = app[RENDERER], app[ANONYMIZING]
        assert isinstance(renderer, Renderer)
        assert isinstance(anonymizing, Anonymizing)
        assert renderer._retrieval is anonymizing._retrieval is made.retrieval


async def test_threads_end_with_them(tmp_path: Path) -> None:
    async with asyncio.timeout(30), archive(tmp_path) as gateway:
        made = gateway.use_cases
        assert await made.retrieval.run(lambda: 1) == 1
    with pytest.raises(RuntimeError, match="shutdown"):
        await made.retrieval.run(lambda: 1)


@pytest.mark.case("item 9 the memory for slow readers is one budget for all workers")
@pytest.mark.parametrize("workers", [1, 3])
async def test_slow_readers_of_all_workers_share_one_budget(tmp_path: Path, workers: int) -> None:
    settings = config.load(environment={}, overrides={"storage.path": str(tmp_path)})
    nothing = cast(Any, object())
    async with open_use_cases(lambda: settings, nothing, nothing, nothing, workers=workers) as made:
        memory = made.retrieval.memory
        memory.change(MEMORY // workers - 16 * CHUNK)
        assert not memory.under_pressure
        memory.change(16)
        assert memory.under_pressure
