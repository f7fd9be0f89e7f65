"""What holds for every test: the loop is uvloop, nothing leaks, and missing peers are said aloud."""

from __future__ import annotations

import gc
import logging
import shutil
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import uvloop

from gateway.database import sqlite
from tests.support import peers
from tests.support.postgres import TEMPLATE, make_template, new_database, postgresql

FDS = Path("/proc/self/fd")

hypothesis.settings.register_profile("gateway", deadline=None, print_blob=True)
hypothesis.settings.load_profile("gateway")


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], Any]]:
    """Tests run on the loop that the product runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session", autouse=True)
def libuv_is_up() -> None:
    """The pipe that libuv opens once for its process is no leak of whichever test comes first."""

    async def nothing() -> None:
        pass

    uvloop.run(nothing())


@pytest.fixture(scope="session")
def migrated_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty index with the schema of this release."""
    path = tmp_path_factory.mktemp("index") / "index.db"

    async def make() -> None:
        await (await sqlite.SQLite.open(path)).close()

    uvloop.run(make())
    return path


@pytest.fixture(autouse=True)
def new_indexes(monkeypatch: pytest.MonkeyPatch, migrated_index: Path) -> None:
    """A new index begins as a copy of a migrated one: thousands of tests open one, and migrating takes 10 ms of CPU and
    several syncs. `tests/database` migrates each.
    """
    prepare = sqlite._prepare

    def copy(path: Path, lock_path: Path) -> sqlite3.Connection:
        if path.parent.is_dir() and not path.exists():
            shutil.copyfile(migrated_index, path)
        return prepare(path, lock_path)

    monkeypatch.setattr(sqlite, "_prepare", copy)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The folder of the socket of a PostgreSQL with a database `migrated`, which has the schema of this release."""
    with postgresql() as sockets:
        uvloop.run(make_template(sockets))
        yield sockets


@pytest.fixture
async def postgres_url(postgres_server: str) -> AsyncIterator[str]:
    """The URL of a database that is empty but for its schema."""
    async with new_database(postgres_server, template=TEMPLATE) as url:
        yield url


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """A test leaves no descriptor open and no thread running that it did not find."""
    descriptors, threads = _descriptors(), set(threading.enumerate())
    yield
    left = _leaks(descriptors, threads)
    deadline = time.monotonic() + 2.0
    while left and time.monotonic() < deadline:  # what is being closed gets its moment
        gc.collect()
        threading.Event().wait(0.01)
        left = _leaks(descriptors, threads)
    if left:
        pytest.fail("left behind: " + ", ".join(left))


def _leaks(descriptors: Mapping[int, str], threads: set[threading.Thread]) -> list[str]:
    now = _descriptors()
    opened = [f"fd {number} ({now[number]})" for number in now if descriptors.get(number) != now[number]]
    return opened + [f"thread {thread.name}" for thread in threading.enumerate() if thread not in threads]


def _descriptors() -> dict[int, str]:
    """Open sockets, pipes and files by descriptor: what a leak is made of."""
    found = {}
    for entry in FDS.iterdir() if FDS.is_dir() else ():
        try:
            target = str(entry.readlink())
        except OSError:  # the listing's own descriptor
            continue
        if not target.startswith(("/dev/", "anon_inode:[eventpoll]")) and ".hypothesis" not in target:
            found[int(entry.name)] = target
    return found


def pytest_terminal_summary(terminalreporter: Any) -> None:
    lines = peers.report()
    if not lines:
        return
    terminalreporter.section("NOT TESTED AGAINST: these peers are not on this machine", sep="!", red=True, bold=True)
    for line in lines:
        terminalreporter.line(line)


@pytest.fixture
def handlers() -> Iterator[None]:
    """Whatever a test makes of the root logger is undone."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
