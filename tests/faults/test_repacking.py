"""`storage repack` on an archive of an older layout, killed again and again: nothing is lost, and all of it moves."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.index.queries.store import LIST_FILES
from gateway.storage.segments.keys import is_in_segment
from tests.admin.test_repack import fill
from tests.ingest.test_replay import opened, stored
from tests.support.processes import ROOT

KILLS, INSTANCES = 20, 200
_REPACK = """
import asyncio, os, signal, sys, threading
from gateway.admin import repack
from tests.ingest.test_replay import storage

pages, delay_s, done = int(sys.argv[2]), float(sys.argv[3]), []

def count(*_):
    done.append(0)
    if len(done) == pages:
        threading.Timer(delay_s, os.kill, (os.getpid(), signal.SIGKILL)).start()

repack._PAGE = 2
asyncio.run(repack.repack(storage(sys.argv[1]), progress=count))
"""


def repack(path: Path, pages: int, delay_s: float) -> int:
    """Run it, with a kill -9 some moments after so many pages; its exit code."""
    command = [sys.executable, "-c", _REPACK, str(path), str(pages), str(delay_s)]
    return subprocess.run(command, cwd=ROOT).returncode


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(500)
async def test_killed_twenty_times(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    before = await fill(tmp_path, INSTANCES)
    for number in range(KILLS):
        code = await asyncio.to_thread(repack, tmp_path, chance.randint(1, 2), chance.random() * 0.004)
        assert code == -signal.SIGKILL, "there was more to do"
        if number % 5 == 4:
            async with opened(tmp_path) as (folder, _):
                assert sorted(await stored(folder)) == before, f"after kill {number}, seed {seed}"
    assert await asyncio.to_thread(repack, tmp_path, 0, 0.0) == 0
    async with opened(tmp_path) as (folder, _):
        assert sorted(await stored(folder)) == before, f"seed {seed}"
        keys = [key for key, _ in await folder.database.fetch(LIST_FILES, "", 1000)]
        assert len(keys) == INSTANCES
        assert all(map(is_in_segment, keys))
    print(f"{KILLS} kills, {INSTANCES} instances, 0 lost")
