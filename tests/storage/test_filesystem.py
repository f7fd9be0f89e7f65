"""Layout, store, incoming files, rejected objects: what is on disk after each step, and after each failure."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from gateway.errors import NoSuchObject, OutOfSpace, StorageError, StorageFailed
from gateway.storage import group_sync
from gateway.storage.disk import LOCAL
from gateway.storage.filesystem import FileStore
from gateway.storage.group_sync import GroupSync
from gateway.storage.incoming import IncomingFile, IncomingFolder
from gateway.storage.layout import Layout, is_key, new_key
from gateway.storage.rejected import RejectedFolder
from gateway.storage.workers import abandoned, incoming_keys, remove_if_empty, try_lock


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    for path in (layout.store, layout.incoming, layout.rejected):
        path.mkdir()
    return layout


@pytest.fixture
def store(layout: Layout) -> FileStore:
    return FileStore(layout)


@pytest.fixture
def incoming(layout: Layout, store: FileStore) -> Iterator[IncomingFolder]:
    folder = IncomingFolder(layout, store, "worker")
    yield folder
    folder.close()


class TestLayout:
    def test_keys_are_unique_and_sort_by_time(self) -> None:
        keys = [new_key(millisecond) for millisecond in range(1, 2000)]
        assert len(set(keys)) == len(keys)
        assert keys == sorted(keys)
        assert all(map(is_key, keys))

    @pytest.mark.parametrize(
        "name", ["", "../x", "/abs", "..", "a\0b", "A" * 25, "A" * 27, "a" * 26, "IIIIIIIIIIIIIIIIIIIIIIIIII"]
    )
    def test_nothing_but_a_key_becomes_a_path(self, layout: Layout, name: str) -> None:
        with pytest.raises(StorageError):
            layout.stored(name)
        with pytest.raises(StorageError):
            layout.rejected_files(name)


def finish(file: IncomingFile, views: Sequence[bytes]) -> None:
    """What a commit does to each of its files."""
    file.append(views)
    file.place()
    file.sync()


def leave_nothing(incoming: IncomingFolder, file: IncomingFile) -> None:
    file.discard()
    if file.folder is not None:
        incoming.make_durable([(file.key, file.folder)])


class TestStore:
    def test_exists(self, store: FileStore, incoming: IncomingFolder) -> None:
        file = incoming.new_file()
        finish(file, [b"x"])
        assert store.exists(file.key)
        assert not store.exists(new_key(5))


class TestIncoming:
    def test_an_instance_has_both_names_until_it_is_settled(
        self, layout: Layout, store: FileStore, incoming: IncomingFolder
    ) -> None:
        file = incoming.new_file()
        file.append([b"head", memoryview(b"middle")])
        finish(file, [b"end"])
        assert file.folder is not None
        assert Path(file.path).read_bytes() == b"headmiddleend"
        assert Path(layout.stored(file.key)).read_bytes() == b"headmiddleend"
        incoming.make_durable([(file.key, file.folder)])
        assert incoming_keys(LOCAL, incoming.path) == []
        opened = store.open(file.key)
        assert (opened.size, opened.read(4, 6), opened.read(12, 100)) == (13, b"middle", b"d")
        opened.close()
        assert list(store.keys()) == [file.key]

    def test_the_incoming_name_goes_when_the_one_in_the_store_is_durable(
        self, incoming: IncomingFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A power cut in between must leave one of both, or recovery knows nothing of the file."""
        placed: list[tuple[str, str]] = []
        synced: list[tuple[str, int]] = []
        for _ in range(2):
            file = incoming.new_file()
            finish(file, [b"x"])
            assert file.folder is not None
            placed.append((file.key, file.folder))

        def fsync(descriptor: int) -> None:
            path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
            synced.append((path, len(incoming_keys(LOCAL, incoming.path))))

        monkeypatch.setattr(os, "fsync", fsync)
        incoming.make_durable(placed)
        assert {folder for _, folder in placed} <= {path for path, _ in synced}
        assert {left for _, left in synced} == {2}
        assert incoming_keys(LOCAL, incoming.path) == []

    def test_a_discarded_instance_leaves_nothing(self, store: FileStore, incoming: IncomingFolder) -> None:
        for is_whole in (False, True):
            file = incoming.new_file()
            file.append([b"x"])
            if is_whole:
                finish(file, [])
            leave_nothing(incoming, file)
            assert incoming_keys(LOCAL, incoming.path) == []
            with pytest.raises(NoSuchObject):
                store.open(file.key)
        incoming.new_file().discard()

    def test_the_incoming_name_outlives_the_one_in_the_store(self, store: FileStore, incoming: IncomingFolder) -> None:
        """Until that has gone for good, the incoming name says that nobody was told of this file."""
        file = incoming.new_file()
        finish(file, [b"x"])
        file.discard()
        assert (list(store.keys()), incoming_keys(LOCAL, incoming.path)) == ([], [file.key])

    def test_readers_outlive_a_removal(self, store: FileStore, incoming: IncomingFolder) -> None:
        file = incoming.new_file()
        finish(file, [b"kept"])
        opened = store.open(file.key)
        store.remove(file.key)
        store.remove(file.key)
        assert opened.read(0, 10) == b"kept"
        opened.close()
        opened.close()

    def test_what_is_expected_need_not_be_there(self, store: FileStore, incoming: IncomingFolder) -> None:
        file = incoming.new_file()
        finish(file, [b"data"])
        for key in (file.key, new_key(5)):
            store.prefetch(key)  # the fixture of every test looks for descriptors that are left

    def test_another_process_finishes_what_it_is_handed(
        self, layout: Layout, store: FileStore, incoming: IncomingFolder
    ) -> None:
        """One in stock, one half written, one that is not made: whoever shares the lock goes on with them."""
        other = IncomingFolder(layout, store, "worker", lock=os.dup(incoming.lock))
        fresh = incoming.new_file()
        incoming.preallocate()
        stocked, begun = incoming.new_file(), incoming.new_file()
        begun.append([b"begun "])
        for file, expected in ((fresh, (False, False)), (stocked, (True, True)), (begun, (True, True))):
            key, made, named = file.hand_over()
            assert (key, (made, named)) == (file.key, expected)
            theirs = IncomingFile(other, key, made=made, named=named)
            finish(theirs, [b"end"])
            assert theirs.folder == file.folder
            assert Path(layout.stored(key)).read_bytes() == (b"begun end" if file is begun else b"end")
            file.discard()
        assert list(store.keys()) == []
        other.names.close()
        os.close(other.lock)

    def test_more_views_than_one_writev_takes(self, incoming: IncomingFolder) -> None:
        file = incoming.new_file()
        views = [bytes([index % 256]) for index in range(3000)]
        finish(file, views)
        assert Path(file.path).read_bytes() == b"".join(views)
        assert file.size == 3000

    def test_short_writes_are_continued(self, incoming: IncomingFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        real = os.writev
        monkeypatch.setattr(os, "writev", lambda fd, views: real(fd, [bytes(views[0])[:1]]))
        file = incoming.new_file()
        finish(file, [b"abc", b"", b"def"])
        assert Path(file.path).read_bytes() == b"abcdef"

    @pytest.mark.parametrize(
        ("call", "number", "expected"),
        [
            ("writev", errno.ENOSPC, OutOfSpace),
            ("writev", errno.EDQUOT, OutOfSpace),
            ("writev", errno.EIO, StorageError),
            ("link", errno.ENOSPC, OutOfSpace),
            ("fdatasync", errno.ENOSPC, OutOfSpace),
            ("fdatasync", errno.EIO, StorageFailed),
            ("fsync", errno.EIO, StorageFailed),
        ],
    )
    def test_a_failing_call_is_told_apart_and_leaves_nothing(
        self,
        layout: Layout,
        store: FileStore,
        incoming: IncomingFolder,
        monkeypatch: pytest.MonkeyPatch,
        call: str,
        number: int,
        expected: type[Exception],
    ) -> None:
        def fail(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        file = incoming.new_file()
        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            with pytest.raises(expected) as caught:
                finish(file, [b"data"])
        assert type(caught.value) is expected
        leave_nothing(incoming, file)
        assert incoming_keys(LOCAL, incoming.path) == []
        assert list(store.keys()) == []


class TestStock:
    """Empty files whose names are durable before an instance needs them."""

    def test_their_names_are_synced_once_and_not_again(
        self, incoming: IncomingFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        syncs: list[int] = []
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", syncs.append)
            assert incoming.is_low
            incoming.preallocate()
            assert not incoming.is_low
            for _ in range(3):
                file = incoming.new_file()
                finish(file, [b"data"])
                assert Path(file.path).read_bytes() == b"data"
            assert len(syncs) == 1
            while not incoming.is_low:
                incoming.new_file().discard()
            incoming.preallocate()
            assert len(syncs) == 2

    @pytest.mark.parametrize(
        ("call", "number", "expected"),
        [("open", errno.ENOSPC, OutOfSpace), ("open", errno.EMFILE, StorageError), ("fsync", errno.EIO, StorageFailed)],
    )
    def test_a_failure_leaves_no_stock(
        self,
        incoming: IncomingFolder,
        monkeypatch: pytest.MonkeyPatch,
        call: str,
        number: int,
        expected: type[Exception],
    ) -> None:
        def fail(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            with pytest.raises(expected):
                incoming.preallocate()
        assert incoming.is_low
        assert incoming_keys(LOCAL, incoming.path) == []

    def test_what_was_not_needed_goes_with_the_worker(self, layout: Layout, store: FileStore) -> None:
        folder = IncomingFolder(layout, store, "one")
        folder.preallocate()
        folder.close()
        assert list(layout.incoming.iterdir()) == []


class TestGroupSync:
    def test_waiters_share_one_sync_that_begins_after_they_came(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        running, go, calls = threading.Event(), threading.Event(), []
        waiting = threading.Semaphore(0)

        class Counted(threading.Condition):
            """Counts who waits, while it is held: who wakes them comes after."""

            def wait(self, timeout: float | None = None) -> bool:
                waiting.release()
                return super().wait(timeout)

        monkeypatch.setattr(group_sync, "threading", SimpleNamespace(Condition=Counted))

        def fsync(descriptor: int) -> None:
            calls.append(descriptor)
            running.set()
            assert go.wait(10)

        monkeypatch.setattr(os, "fsync", fsync)
        group = GroupSync(LOCAL, str(tmp_path))
        threads = [threading.Thread(target=group.sync) for _ in range(8)]
        threads[0].start()
        assert running.wait(10)
        for thread in threads[1:]:
            thread.start()
        for _ in threads[1:]:
            assert waiting.acquire(timeout=10)
        go.set()
        for thread in threads:
            thread.join(10)
        assert len(calls) == 2
        group.close()

    def test_a_failure_is_for_everyone_and_for_good(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        group = GroupSync(LOCAL, str(tmp_path))
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error")))
            with pytest.raises(StorageFailed):
                group.sync()
        with pytest.raises(StorageFailed):
            group.sync()
        group.close()


class TestWorkers:
    def test_a_folder_is_adopted_only_when_its_worker_has_gone(self, layout: Layout, store: FileStore) -> None:
        alive = IncomingFolder(layout, store, "alive")
        dead = IncomingFolder(layout, store, "dead")
        file = dead.new_file()
        file.append([b"half"])
        file.close()
        os.close(dead.lock)
        found = list(abandoned(layout))
        assert [Path(folder).name for folder, _ in found] == ["dead"]
        remove_if_empty(LOCAL, found[0][0])
        assert layout.worker("dead").exists()
        os.close(found[0][1])
        dead.names.close()
        alive.close()
        assert not layout.worker("alive").exists()

    def test_a_lock_is_held_once(self, layout: Layout, store: FileStore) -> None:
        folder = IncomingFolder(layout, store, "one")
        assert try_lock(LOCAL, folder.path) is None
        with pytest.raises(StorageError, match="in use"):
            IncomingFolder(layout, store, "one")
        folder.close()

    def test_who_shares_the_lock_keeps_the_folder(self, layout: Layout, store: FileStore) -> None:
        """A keeper that outlives its gateway: what it may yet commit is nobody else's."""
        dead = IncomingFolder(layout, store, "dead")
        dead.names.close()
        shared = os.dup(dead.lock)
        os.close(dead.lock)
        assert list(abandoned(layout)) == []
        os.close(shared)
        ((_, lock),) = abandoned(layout)
        os.close(lock)

    def test_a_new_folder_that_is_taken_away_is_made_again(
        self, layout: Layout, store: FileStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who recovers may find it before it is locked: locked by them, without its lock, or gone."""
        makedirs, made = os.makedirs, 0

        def taken_away(path: str, mode: int, exist_ok: bool) -> None:
            nonlocal made
            made += 1
            makedirs(path, mode, exist_ok=exist_ok)
            if made <= 3:
                ((folder, lock),) = abandoned(layout)
                assert folder == path
                if made == 1:
                    held.append(lock)
                    return
                remove_if_empty(LOCAL, folder)
                os.close(lock)

        held: list[int] = []
        monkeypatch.setattr(os, "makedirs", taken_away)
        monkeypatch.setattr("time.sleep", lambda seconds: os.close(held.pop()) if held else None)
        folder = IncomingFolder(layout, store, "new")
        assert made == 4
        assert try_lock(LOCAL, folder.path) is None
        folder.close()

    def test_one_that_others_look_at_meanwhile_is_left_to_them(
        self, layout: Layout, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        layout.worker("dead").mkdir()
        ((folder, lock),) = abandoned(layout)
        unlink, others = os.unlink, []

        def and_look(path: str) -> None:
            unlink(path)
            others.extend(abandoned(layout))

        monkeypatch.setattr(os, "unlink", and_look)
        remove_if_empty(LOCAL, folder)
        monkeypatch.undo()
        os.close(lock)
        ((same, theirs),) = others
        assert same == folder
        remove_if_empty(LOCAL, same)
        os.close(theirs)
        assert list(layout.incoming.iterdir()) == []


class TestRejected:
    def test_an_object_is_kept_with_its_reason(
        self, layout: Layout, store: FileStore, incoming: IncomingFolder
    ) -> None:
        rejected = RejectedFolder(layout, 1000)
        file = incoming.new_file()
        finish(file, [b"junk"])
        rejected.add(file, {"reason": "it is junk"})
        data, note = layout.rejected_files(file.key)
        assert data.read_bytes() == b"junk"
        assert msgspec.json.decode(note.read_bytes()) == {"reason": "it is junk"}
        assert incoming_keys(LOCAL, incoming.path) == list(store.keys()) == []

    def test_the_oldest_go_when_the_quota_is_reached(self, layout: Layout, incoming: IncomingFolder) -> None:
        for _ in range(2):  # The second folder finds what the first has left.
            rejected = RejectedFolder(layout, 10)
            keys = []
            for _ in range(4):
                file = incoming.new_file()
                finish(file, [b"1234"])
                rejected.add(file, {})
                keys.append(file.key)
            assert sorted(path.stem for path in layout.rejected.glob("*.dcm")) == sorted(keys[-2:])
            assert len(list(layout.rejected.iterdir())) == 4

    def test_one_over_the_quota_is_not_kept(self, layout: Layout, incoming: IncomingFolder) -> None:
        file = incoming.new_file()
        file.append([b"12345678901"])
        RejectedFolder(layout, 10).add(file, {})
        assert list(layout.rejected.iterdir()) == []
        assert incoming_keys(LOCAL, incoming.path) == []

    def test_what_was_left_counts_with_its_own_size(self, layout: Layout, incoming: IncomingFolder) -> None:
        """And not with that of its reason, which is longer here."""
        for size, kept in ((4, 1), (4, 2), (2, 3), (1, 3)):
            file = incoming.new_file()
            finish(file, [bytes(size)])
            RejectedFolder(layout, 10).add(file, {"reason": "x" * 20})
            assert len(list(layout.rejected.glob("*.dcm"))) == kept


class TestKeys:
    @pytest.fixture
    def keys(self, layout: Layout) -> list[str]:
        """Of two objects of one moment and two of other hours, oldest first."""
        keys = sorted(new_key(at) for at in (1, 1, 1 << 26, 1 << 28))
        for key in keys:
            path = Path(layout.stored(key))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return keys

    def test_in_both_orders(self, store: FileStore, keys: list[str]) -> None:
        assert list(store.keys()) == keys
        assert list(store.newest_keys()) == keys[::-1]

    def test_of_where_something_changed_last(self, layout: Layout, store: FileStore, keys: list[str]) -> None:
        """Not where the newest key is, which a clock that was ahead has made."""
        changed = Path(layout.stored(keys[0])).parent
        os.utime(changed, (4e9, 4e9))
        os.utime(changed.parent, (4e9, 4e9))
        assert store.last_changed(10) == keys[1::-1]
        assert store.last_changed(1) == [keys[1]]

    def test_of_an_empty_store(self, store: FileStore) -> None:
        assert store.last_changed(10) == []
        assert list(store.newest_keys()) == []

    def test_strays_are_passed_over_and_named(self, layout: Layout, store: FileStore, keys: list[str]) -> None:
        folder = Path(layout.stored(keys[0])).parent
        misplaced = folder / keys[-1]
        strays = [layout.store / ".DS_Store", layout.store / "0000I", folder.parent / "backup", folder / "x", misplaced]
        for path in strays[:1] + strays[3:]:
            path.touch()
        strays[1].symlink_to(folder.parent)
        strays[2].mkdir()
        found: list[str] = []
        assert list(store.keys(found)) == keys
        assert sorted(found) == sorted(map(str, strays))
