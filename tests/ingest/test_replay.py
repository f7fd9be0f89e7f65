"""gateway/ingest/replay.py by the letters of its table, segment_upkeep.py, and reindex, backup and restore of segments.

The promises as a whole are held in test_crashes.py."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway import config
from gateway.admin.backup import backup, restore
from gateway.admin.deletion import Removal
from gateway.admin.reindex import reindex
from gateway.database.database import Query
from gateway.errors import ConfigurationError, NoSuchObject
from gateway.index import segments as rows
from gateway.index import store as index
from gateway.index.queries.store import LIST_FILES
from gateway.index.store import Origin
from gateway.ingest import garbage, segment_upkeep
from gateway.ingest.data_folder import DataFolder, open_folder, open_ingest
from gateway.ingest.ingest import Ingest
from gateway.ingest.outcome import Outcome
from gateway.storage.disk import LocalDisk
from gateway.storage.segments import folder as segment_folder
from gateway.storage.segments.frame import FrameKind
from gateway.storage.segments.keys import place_of
from tests.support.datasets import CT, EXPLICIT, ct_header, encode
from tests.support.intake import undo
from tests.support.waiting import until

MiB = 1 << 20
_ORIGINS = Query("origins: of all", "SELECT calling_aet, called_aet, peer, received_at, via FROM instances")


def data_set(number: int, pixels: bytes = b"\7" * 5000) -> bytes:
    return encode(ct_header(SOPInstanceUID=f"1.2.3.{number}", PixelData=pixels), EXPLICIT)


def storage(path: Path, **changes: object) -> config.Storage:
    return config.Storage(path=str(path), min_free=0, keepers=0, **changes)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def opened(path: Path, **changes: object) -> AsyncIterator[tuple[DataFolder, Ingest]]:
    async with (
        asyncio.timeout(30),
        open_folder(storage(path, **changes)) as folder,
        open_ingest(folder) as ingest,
    ):
        yield folder, ingest


async def store(ingest: Ingest, number: int, pixels: bytes = b"\7" * 5000) -> Outcome:
    origin = Origin(calling_aet="CT1", called_aet="GW", peer="10.0.0.1", received_at=5.0, via="dimse")
    writer = ingest.begin(
        transfer_syntax_uid=EXPLICIT, sop_class_uid=CT, sop_instance_uid=f"1.2.3.{number}", origin=origin
    )
    writer.write(data_set(number, pixels), None)
    return (await writer.commit()).outcome


async def stored(folder: DataFolder) -> list[bytes]:
    """What the index names, as files."""
    found = []
    for key, size in await folder.database.fetch(LIST_FILES, "", 1000):
        with contextlib.closing(folder.store.open(key)) as file:
            assert file.size == size
            found.append(file.read(0, size))
    return found


@pytest.fixture
async def before(tmp_path: Path) -> Path:
    """A folder with the database as it was after the first instance; the second is stored since."""
    data, copy = tmp_path / "data", tmp_path / "copy"
    copy.mkdir()
    async with opened(data) as (folder, ingest):
        await store(ingest, 1)
        await folder.database.backup(copy / "database.sqlite")
        await store(ingest, 2)
    return tmp_path


class TestCases:
    async def test_c_frames_behind_the_mark_are_entered(self, before: Path) -> None:
        undo(before / "data", before / "copy")
        async with opened(before / "data") as (folder, _):
            assert sorted(file[-5000:] == b"\7" * 5000 for file in await stored(folder)) == [True, True]
            origins = set(await folder.database.fetch(_ORIGINS))
            assert origins == {("CT1", "GW", "10.0.0.1", 5.0, "dimse")}
            (segment,) = await rows.segments(folder.database)
            assert segment.ended
            assert segment.mark == max(frame.end for frame in folder.store.segments.frames(segment.name))
            assert segment.live == segment.mark - 4096

    async def test_c_frames_are_read_from_the_disk_and_not_from_the_page_cache(
        self, before: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls = list[str]()

        def noted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
            def noting(disk: LocalDisk, descriptor: int, *arguments: Any) -> Any:
                calls.append(f"{name} {Path(f'/proc/self/fd/{descriptor}').readlink().parent.name}")
                return call(disk, descriptor, *arguments)

            return noting

        undo(before / "data", before / "copy")
        for name in ("fsync", "drop_cache", "read"):
            monkeypatch.setattr(LocalDisk, name, noted(name, getattr(LocalDisk, name)))
        async with opened(before / "data"):
            pass
        at = calls.index("drop_cache segments")
        assert calls[at - 1] == "fsync segments", "what is dirty cannot be dropped"
        assert calls[at + 1] == "read segments"

    async def test_c_twice_changes_nothing(self, before: Path) -> None:
        for _ in range(2):
            undo(before / "data", before / "copy")
            async with opened(before / "data") as (folder, _):
                assert len(await stored(folder)) == 2
                assert await _garbage(folder) == []

    async def test_c_rows_that_a_dead_writer_still_commits(self, before: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A server may commit after its client has died, so that a frame has a row after all, and must stay."""
        async with opened(before / "data") as (folder, _):
            (segment,) = await rows.segments(folder.database)
            query, parameters = Query("back: the mark", "UPDATE segments SET ended = 0, mark = $1"), (4096,)
            await folder.database.write(lambda: (yield query, parameters))

        async def none_yet(_database: Any, _keys: Any) -> set[str]:
            return set()

        monkeypatch.setattr(index, "keys_known", none_yet)
        async with opened(before / "data") as (folder, _):
            assert (await rows.segments(folder.database)) == [segment]
            assert await _garbage(folder) == []
            assert len(await stored(folder)) == 2

    async def test_b_while_it_is_written(self, tmp_path: Path) -> None:
        async with opened(tmp_path) as (_, ingest):
            await store(ingest, 1)
            async with opened(tmp_path) as (folder, other):
                await store(other, 2)
                await store(ingest, 3)
                assert [segment.ended for segment in await rows.segments(folder.database)] == [False, False]
                assert len(await stored(folder)) == 3

    async def test_d_damage_behind_the_mark(self, before: Path, caplog: pytest.LogCaptureFixture) -> None:
        async with opened(before / "data") as (folder, ingest):
            await store(ingest, 3)
        undo(before / "data", before / "copy")
        name = folder.store.segments.names()[0]
        second = list(folder.store.segments.frames(name))[1]
        with Path(folder.store.segments.path_of(name)).open("r+b") as file:
            file.seek(second.object_offset + 200)
            file.write(b"\xff")
        async with opened(before / "data") as (folder, _):
            files = await stored(folder)
        assert len(files) == 2, "the first, and the third, which is in a segment of its own"
        assert "damage" not in caplog.text, "nothing says that the last frame of a segment was synced"

    async def test_e_a_missing_segment(self, before: Path, caplog: pytest.LogCaptureFixture) -> None:
        (path,) = (before / "data" / "segments").iterdir()
        path.unlink()
        async with opened(before / "data") as (folder, _):
            assert f"segment {path.name} of the store is missing" in caplog.text
            with pytest.raises(NoSuchObject):
                await stored(folder)
        caplog.clear()

    async def test_f_a_segment_without_a_frame(self, tmp_path: Path) -> None:
        async with opened(tmp_path) as (folder, _):
            begun = folder.store.segments.begin(100)
            os.close(begun.descriptor)
        async with opened(tmp_path) as (folder, _):
            assert folder.store.segments.names() == []

    async def test_g_the_first_batch_of_a_segment(self, tmp_path: Path) -> None:
        data, copy = tmp_path / "data", tmp_path / "copy"
        copy.mkdir()
        async with opened(data) as (folder, ingest):
            await folder.database.backup(copy / "database.sqlite")
            await store(ingest, 1)
        undo(data, copy)
        async with opened(data) as (folder, _):
            assert len(await stored(folder)) == 1

    async def test_h_an_index_that_is_older_than_the_store(self, tmp_path: Path) -> None:
        data, copy = tmp_path / "data", tmp_path / "copy"
        copy.mkdir()
        async with opened(data) as (folder, ingest):
            await folder.database.backup(copy / "database.sqlite")
            for number in range(3):
                await store(ingest, number)
        undo(data, copy)
        with pytest.raises(ConfigurationError, match="the index does not know"):
            async with opened(data):
                pass
        report = await reindex(storage(data))
        assert (report.instances, report.unreadable) == (3, [])
        async with opened(data) as (folder, _):
            assert len(await stored(folder)) == 3

    async def test_a_version_whose_transaction_was_undone(self, tmp_path: Path) -> None:
        """It was not acknowledged, since that would have been flushed: what is stored stays, the frame is erased."""
        data, copy = tmp_path / "data", tmp_path / "copy"
        copy.mkdir()
        async with opened(data, duplicates="overwrite") as (folder, ingest):
            await store(ingest, 1)
            await folder.database.backup(copy / "database.sqlite")
            assert await store(ingest, 1, b"\1" * 5000) is Outcome.REPLACED
        undo(data, copy)
        async with opened(data) as (folder, ingest):
            (file,) = await stored(folder)
            assert file.endswith(b"\7" * 5000)
            await _collect(ingest)
            assert len(list(folder.store.keys())) == 1

    async def test_what_cannot_be_read_any_more(
        self, before: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A release that reads more of a header than the one that stored it: known from then on, and kept."""
        from gateway.errors import DataSetError
        from gateway.ingest import replay

        def refuses(*_: object) -> None:
            raise DataSetError("it is odd")

        undo(before / "data", before / "copy")
        monkeypatch.setattr(replay, "read_stored_header", refuses)
        async with opened(before / "data") as (folder, _):
            assert len(await stored(folder)) == 1
        assert "cannot be entered in the index: it is odd" in caplog.text
        caplog.clear()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for readers."""
    monkeypatch.setattr(garbage, "GRACE_S", 0.0)
    monkeypatch.setattr(segment_upkeep, "READERS_S", 0.0)
    monkeypatch.setattr(index, "READERS_S", 0.0)


class TestRebuilding:
    async def test_reindex_without_a_database(self, before: Path) -> None:
        for file in (before / "data").glob("database.sqlite*"):
            file.unlink()
        report = await reindex(storage(before / "data"))
        assert (report.instances, report.superseded, report.unreadable) == (2, 0, [])
        async with opened(before / "data") as (folder, ingest):
            assert len(await stored(folder)) == 2
            assert await store(ingest, 2) is Outcome.IDENTICAL

    async def test_deleted_stays_deleted(self, before: Path, at_once: None) -> None:
        async with opened(before / "data") as (_, ingest):
            await _delete(ingest, 2)
            await _collect(ingest)
        for file in (before / "data").glob("database.sqlite*"):
            file.unlink()
        assert (await reindex(storage(before / "data"))).instances == 1

    @pytest.mark.parametrize("links", [True, False])
    async def test_backup_and_restore(self, before: Path, links: bool) -> None:
        report = await backup(storage(before / "data"), before / "backup", copy=not links)
        assert (report.instances, report.copied, report.lost) == (2, 2, [])
        back = await restore(before / "backup", storage(before / "back"))
        assert (back.instances, back.lost) == (2, [])
        async with opened(before / "back") as (folder, ingest):
            assert len(await stored(folder)) == 2
            await store(ingest, 3)
            assert len(await stored(folder)) == 3

    async def test_backup_of_a_segment_that_is_being_written(self, tmp_path: Path) -> None:
        async with opened(tmp_path / "data") as (_, ingest):
            await store(ingest, 1)
            report = await backup(storage(tmp_path / "data"), tmp_path / "backup")
            await store(ingest, 2)
        (copied,) = (tmp_path / "backup" / "segments").iterdir()
        assert report.instances == 1
        assert copied.stat().st_size < MiB
        async with opened(tmp_path / "backup") as (folder, _):
            assert len(await stored(folder)) == 1


class TestUpkeep:
    @pytest.fixture(autouse=True)
    def small(self, monkeypatch: pytest.MonkeyPatch, at_once: None) -> None:
        monkeypatch.setattr(segment_folder, "MIN_BYTES", 128 << 10)
        monkeypatch.setattr(segment_folder, "MAX_BYTES", 128 << 10)
        monkeypatch.setattr(segment_upkeep, "_WORTH_BYTES", 4096)

    async def test_what_is_deleted_is_erased(self, tmp_path: Path) -> None:
        async with opened(tmp_path) as (folder, ingest):
            await store(ingest, 1, b"secret pixels" * 400)
            await store(ingest, 2)
            await _delete(ingest, 1)
            await _collect(ingest)
            (path,) = (tmp_path / "segments").iterdir()
            assert b"secret pixels" not in path.read_bytes()
            assert len(await stored(folder)) == 1
            (segment,) = await rows.segments(folder.database)
            assert segment.live == sum(
                frame.length for frame in folder.store.segments.frames(segment.name) if frame.kind is FrameKind.INSTANCE
            )

    async def test_dead_segments_become_spare_files(self, tmp_path: Path) -> None:
        async with opened(tmp_path) as (folder, ingest):
            for number in range(60):
                await store(ingest, number)
            names = folder.store.segments.names()
            assert len(names) > 3
            for number in range(60):
                await _delete(ingest, number)
            await _collect(ingest)
            # The one that is being written; the collector of the archive may still be at another one.
            await until(lambda: folder.store.segments.names() == names[-1:])
            assert 1 <= len(folder.store.segments.spares()) <= 2
            for number in range(60):
                await store(ingest, number)
            assert len(await stored(folder)) == 60
            assert sum(file.stat().st_size for file in (tmp_path / "segments").iterdir()) < 60 * 8192 * 2 + (256 << 10)

    async def test_what_retention_empties_is_used_again(self, tmp_path: Path) -> None:
        """A gateway that is full, of which the oldest go as new ones come: the disk has little more than what lives."""
        living, at_once = 160, 5
        async with asyncio.timeout(120), open_folder(storage(tmp_path)) as folder, open_ingest(folder) as ingest:
            for first in range(0, 2 * living, at_once):
                some = range(first, first + at_once)
                await asyncio.gather(*(store(ingest, number, bytes([number % 251]) * 13_000) for number in some))
                if first >= living:
                    for number in some:
                        await _delete(ingest, number - living)
                    if first % 20 == 0:
                        await _collect(ingest)

            async def used() -> float:
                await _collect(ingest)
                blocks = 0
                for file in (tmp_path / "segments").iterdir():
                    with contextlib.suppress(FileNotFoundError):
                        blocks += file.stat().st_blocks
                return blocks * 512 / sum(size for _, size in await folder.database.fetch(LIST_FILES, "", 1000))

            async def is_little() -> bool:
                return await used() < 1.3

            await until(is_little, "more than 1.3 x of what lives")
            print(f"{await used():.2f} x of what lives")
            assert len(await stored(folder)) == living

    async def test_sparse_segments_are_moved_together(self, tmp_path: Path) -> None:
        async with opened(tmp_path) as (folder, ingest):
            for number in range(60):
                await store(ingest, number, bytes([number]) * 5000)
            for number in range(60):
                if number % 5:
                    await _delete(ingest, number)
            for _ in range(50):  # The collector of the archive is at it, too.
                await _collect(ingest)
                ended = [segment for segment in await rows.segments(folder.database) if segment.ended]
                if all(each.live * 4 >= each.mark * 3 or each.mark - each.live <= 4096 for each in ended):
                    break
            else:
                pytest.fail(f"sparse: {ended}")
            left = await stored(folder)
            assert sorted(file[-1] for file in left) == list(range(0, 60, 5))
            live = [place_of(key) for key, _ in await folder.database.fetch(LIST_FILES, "", 100) if key[16:17] == "-"]
            assert len(live) == 12
        async with opened(tmp_path) as (folder, _):
            assert sorted(await stored(folder)) == sorted(left)

    async def test_what_was_deleted_while_it_was_copied(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The copy is durable, and the power goes before the transaction that names it: it must not be replayed."""
        data, at_cut = tmp_path / "data", tmp_path / "cut"
        async with opened(data) as (folder, ingest):
            for number in range(6):
                await store(ingest, number, bytes([number]) * 5000)
        copied = segment_upkeep.SegmentUpkeep._copy

        def copy(*arguments: Any) -> Any:
            moved = copied(*arguments)
            if moved and not at_cut.exists():
                at_cut.mkdir()
                with contextlib.closing(sqlite3.connect(data / "database.sqlite")) as database:
                    database.execute("VACUUM INTO ?", (str(at_cut / "database.sqlite"),))
                shutil.copytree(data / "segments", at_cut / "segments")
            return moved

        monkeypatch.setattr(segment_upkeep.SegmentUpkeep, "_copy", copy)
        async with opened(data) as (folder, ingest):
            for number in (2, 3):
                await _delete(ingest, number)
            monkeypatch.setattr(garbage, "GRACE_S", 60.0)  # Its frame is whole when the others are copied.
            await _delete(ingest, 4)
            await _collect(ingest)
        async with opened(at_cut) as (folder, ingest):
            assert len(folder.store.segments.names()) == 2
            assert sorted(file[-1] for file in await stored(folder)) == [0, 1, 5]

    async def test_what_is_damaged_is_not_moved(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A copy would have a checksum that is right, and nobody would ever know."""
        async with opened(tmp_path) as (folder, ingest):
            for number in range(6):
                await store(ingest, number, bytes([number]) * 5000)
        async with opened(tmp_path) as (folder, ingest):
            (name,) = folder.store.segments.names()
            second = list(folder.store.segments.frames(name))[1]
            with Path(folder.store.segments.path_of(name)).open("r+b") as file:
                file.seek(second.object_offset + 3000)
                file.write(b"\xff\x00\xff")
            for number in (2, 3, 4):
                await _delete(ingest, number)

            async def two_are_moved() -> bool:
                await _collect(ingest)
                keys = [key for key, _ in await folder.database.fetch(LIST_FILES, "", 100)]
                return sorted(place_of(key)[0] == name for key in keys) == [False, False, True]

            await until(two_are_moved)  # The collector of the archive is at it, too.
            assert f"segment {name} is damaged at {second.offset}" in caplog.text
            assert len(await stored(folder)) == 3
        caplog.clear()

    async def test_a_counter_that_is_wrong_deletes_nothing(self, tmp_path: Path) -> None:
        async with opened(tmp_path) as (folder, ingest):
            await store(ingest, 1)
        async with opened(tmp_path) as (folder, ingest):
            (segment,) = await rows.segments(folder.database)
            await folder.database.write(lambda: rows.erased(segment.name, 1 << 20))
            await _collect(ingest)
            assert len(await stored(folder)) == 1
            assert [each.live for each in await rows.segments(folder.database)] == [segment.live]


async def _delete(ingest: Ingest, number: int) -> None:
    header = ct_header()
    await Removal(ingest).by_uid((header.StudyInstanceUID, header.SeriesInstanceUID, f"1.2.3.{number}"))


async def _collect(ingest: Ingest) -> None:
    await ingest.garbage.collect()


async def _garbage(folder: DataFolder) -> list[str]:
    from gateway.index import store as index

    return await index.garbage(folder.database, older_than=1e12)
