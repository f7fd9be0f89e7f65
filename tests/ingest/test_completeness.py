"""An index that says less than the store stops the start before anything is deleted; `reindex` is the remedy."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway import config
from gateway.admin.deletion import Removal
from gateway.admin.reindex import reindex
from gateway.errors import ConfigurationError
from gateway.ingest.data_folder import open_folder
from tests.support.intake import file_intake as intake
from tests.support.traffic import Traffic


def storage(path: Path) -> config.Storage:
    return config.Storage(path=str(path), min_free=0, pack_below=0)


async def fill(data: Path, count: int) -> None:
    async with intake(data) as running:
        await Traffic(random.Random(count), sizes=(500, 5000)).send(*running.acceptor.address, count)


def files(data: Path) -> set[str]:
    """Names of all instances, in the store and on their way into it."""
    return {path.name for part in ("store", "incoming") for path in (data / part).rglob("*") if path.is_file()}


def leave_unsettled(data: Path) -> None:
    """As a gateway does that is killed a moment after it has acknowledged the newest instance."""
    newest = max(path for path in (data / "store").rglob("*") if path.is_file())
    worker = data / "incoming" / "1-dead"
    worker.mkdir()
    (worker / "lock").touch()
    (worker / newest.name).hardlink_to(newest)


def empty(data: Path) -> None:
    (data / "database.sqlite").write_bytes(b"")


def missing(data: Path) -> None:
    (data / "database.sqlite").unlink()


def without_rows(data: Path) -> None:
    shutil.copyfile(data.with_name("other") / "empty.sqlite", data / "database.sqlite")


def of_another_archive(data: Path) -> None:
    shutil.copyfile(data.with_name("other") / "database.sqlite", data / "database.sqlite")


def older(data: Path) -> None:
    shutil.copyfile(data / "before.sqlite", data / "database.sqlite")


@pytest.mark.case("broken 36 an index that says less than the store stops the start, and nothing is deleted")
@pytest.mark.parametrize("lose", [empty, missing, without_rows, of_another_archive, older])
async def test_the_start_is_refused_and_nothing_is_deleted(tmp_path: Path, lose: Callable[[Path], None]) -> None:
    data, other = tmp_path / "data", tmp_path / "other"
    async with open_folder(storage(other)):
        pass
    shutil.copyfile(other / "database.sqlite", other / "empty.sqlite")
    await fill(other, 3)
    await fill(data, 4)
    shutil.copyfile(data / "database.sqlite", data / "before.sqlite")
    await fill(data, 5)
    leave_unsettled(data)
    lose(data)
    before = files(data)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="dicom-gateway reindex"):
            async with open_folder(storage(data)):
                pass
        assert files(data) == before
    assert (await reindex(storage(data))).instances == 9
    async with open_folder(storage(data)) as folder:
        assert set(folder.store.keys()) == before - {"lock"}


async def test_what_cannot_be_read_is_known_after_a_reindex(tmp_path: Path) -> None:
    await fill(tmp_path, 4)
    newest = max(path for path in (tmp_path / "store").rglob("*") if path.is_file())
    newest.write_bytes(b"rotten")
    report = await reindex(storage(tmp_path))
    assert (report.instances, [path for path, _ in report.unreadable]) == (3, [str(newest)])
    async with open_folder(storage(tmp_path)):
        pass
    assert newest.read_bytes() == b"rotten"


async def test_deleted_files_that_are_still_there_are_known(tmp_path: Path) -> None:
    """A restart within the time for which the files of what is deleted stay."""
    async with intake(tmp_path) as running:
        traffic = Traffic(random.Random(1), sizes=(500,))
        await traffic.send(*running.acceptor.address, 2)
        await Removal(running.ingest).by_uid([next(iter(traffic.sent.values())).study])
    async with open_folder(storage(tmp_path)):
        pass
