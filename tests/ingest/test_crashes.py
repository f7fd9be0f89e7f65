"""The promises of the intake, over thousands of ends of its power: see `tests/support/crash_world.py`.

A seed that fails fails again: `World(seed).run(LIVES)`, and its last calls are in `world.disk.calls`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.errors import ConfigurationError, NoSuchObject
from gateway.ingest import replay
from gateway.storage import filesystem
from gateway.storage.filesystem import FileStore
from gateway.storage.group_sync import GroupSync
from gateway.storage.incoming import IncomingFile, IncomingFolder
from tests.support.crash_world import World

LIVES = 8


def live(seeds: range) -> None:
    acknowledged = cuts = 0
    for seed in seeds:
        world = World(seed)
        try:
            world.run(LIVES)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        acknowledged += world.acknowledged
        cuts += world.cuts
    assert acknowledged > len(seeds)
    assert cuts > len(seeds) * LIVES


def test_what_is_acknowledged_is_there_and_nothing_else_is_left() -> None:
    live(range(40))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("start", range(1000, 2000, 200))
def test_over_ten_thousand_lives(start: int) -> None:
    live(range(start, start + 200))


def test_a_seed_says_all() -> None:
    first, second = (World(7) for _ in range(2))
    for world in (first, second):
        world.run(LIVES)
    assert (first.disk.calls, first.now, first.acknowledged) == (second.disk.calls, second.now, second.acknowledged)


def _commit_unsynced(file: IncomingFile) -> None:
    file.close()


def _discard_at_once(file: IncomingFile) -> None:
    file.close()
    for name in (file.path, file._folder.store.where(file.key)):
        try:
            file._disk.unlink(name)
        except FileNotFoundError:
            pass


@pytest.mark.parametrize(
    ("where", "name", "broken"),
    [
        pytest.param(IncomingFile, "sync", _commit_unsynced, id="committed before it is synced"),
        pytest.param(IncomingFile, "discard", _discard_at_once, id="discarded without a sync between its names"),
        pytest.param(GroupSync, "sync", lambda _: None, id="incoming names are not synced"),
        pytest.param(FileStore, "sync", lambda _, folders: None, id="names in the store are not synced"),
        pytest.param(FileStore, "remove", lambda _, key: None, id="what is deleted stays"),
        pytest.param(replay, "add_job", lambda *_, **__: iter(()), id="deliveries are not written again"),
        pytest.param(IncomingFolder, "make_durable", lambda _, placed: None, id="incoming names stay"),
        pytest.param(filesystem, "sync_folder", lambda disk, path: None, id="no folder of the store is synced"),
    ],
)
def test_what_is_broken_is_found(
    monkeypatch: pytest.MonkeyPatch, where: object, name: str, broken: Callable[..., Any]
) -> None:
    monkeypatch.setattr(where, name, broken)
    with pytest.raises((AssertionError, ConfigurationError, NoSuchObject, ExceptionGroup)):
        live(range(60))
