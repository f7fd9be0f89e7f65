"""The double of a disk answers as the file system does; and loses what it may lose, and nothing else."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.storage.disk import LOCAL, Disk, sync_folder, write_all
from tests.support.memory_disk import Fault, MemoryDisk, PowerCut
from tests.support.memory_files import BLOCK

BASE = "/base"
NAMES = ("a", "b", "c/a", "c/b", "c", "d/e")
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
APPEND = os.O_WRONLY | os.O_APPEND

paths = st.sampled_from(NAMES)
flags = st.sampled_from((os.O_RDONLY, NEW, APPEND, os.O_RDWR | os.O_CREAT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
data = st.binary(max_size=20)
steps = st.one_of(
    st.tuples(st.just("write"), paths, flags, data, data),
    st.tuples(st.sampled_from(("link", "rename")), paths, paths),
    st.tuples(st.sampled_from(("unlink", "makedirs", "rmdir", "listdir", "scandir", "stat", "sync")), paths),
    st.tuples(st.just("resize"), paths, st.integers(0, 30), st.integers(0, 30)),
    st.tuples(st.just("locks"), paths),
)


def do(disk: Disk, base: str, step: tuple[Any, ...]) -> object:
    """One step, with what can be seen of it."""
    kind, name, *more = step
    path = f"{base}/{name}"
    try:
        if kind in ("link", "rename"):
            if kind == "rename" and isinstance(disk, MemoryDisk) and _is_folder(disk, path):
                return IsADirectoryError  # which the store never does
            if kind == "rename" and not isinstance(disk, MemoryDisk) and Path(path).is_dir():
                return IsADirectoryError
            return getattr(disk, kind)(path, f"{base}/{more[0]}")
        if kind == "listdir":
            return sorted(disk.listdir(path))
        if kind == "scandir":
            with disk.scandir(path) as entries:
                return sorted(
                    (entry.name, entry.is_dir(), entry.is_file(), entry.path[len(base) :]) for entry in entries
                )
        if kind == "stat":
            status = disk.stat(path)
            return _is_folder(disk, path) or (status.st_size, status.st_nlink)
        if kind == "sync":
            return sync_folder(disk, path)
        if kind in ("unlink", "makedirs", "rmdir"):
            return getattr(disk, kind)(path)
        return _opened(disk, path, kind, more)
    except OSError as error:
        return error.errno


def _is_folder(disk: Disk, path: str) -> bool:
    try:
        disk.listdir(path)
    except OSError:
        return False
    return True


def _opened(disk: Disk, path: str, kind: str, more: list[Any]) -> object:
    descriptor = disk.open(path, {"write": more[0], "locks": os.O_RDONLY}.get(kind, os.O_RDWR) if more else os.O_RDONLY)
    try:
        if kind == "locks":
            other = disk.open(path, os.O_RDONLY)
            try:
                return disk.lock(descriptor), disk.lock(other), disk.lock(descriptor)
            finally:
                disk.close(other)
        if kind == "resize":
            disk.truncate(descriptor, more[0])
            disk.allocate(descriptor, max(1, more[1]))
        else:
            write_all(disk, descriptor, more[1:])
        disk.fdatasync(descriptor)
        disk.fsync(descriptor)
        return disk.fstat(descriptor).st_size
    finally:
        disk.close(descriptor)


def content(disk: Disk, base: str) -> dict[str, object]:
    found: dict[str, object] = {}
    with disk.scandir(base) as entries:
        for entry in list(entries):
            if entry.is_dir():
                found[entry.name] = content(disk, entry.path)
            else:
                descriptor = disk.open(entry.path, os.O_RDONLY)
                with disk.reader(descriptor) as file:
                    found[entry.name] = disk.read(descriptor, 100, 0)
                    assert file.read() == found[entry.name]
                disk.close(descriptor)
    return found


@settings(max_examples=150)
@given(st.lists(steps, max_size=12))
def test_the_double_does_what_the_file_system_does(todo: list[tuple[Any, ...]]) -> None:
    folder, double = tempfile.mkdtemp(), MemoryDisk()
    try:
        double.makedirs(BASE)
        for step in todo:
            assert do(double, BASE, step) == do(LOCAL, folder, step), step
        assert content(double, BASE) == content(LOCAL, folder)
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def disk() -> MemoryDisk:
    disk = MemoryDisk()
    disk.makedirs(BASE)
    sync_folder(disk, "/")
    return disk


def written(disk: MemoryDisk, name: str, data: bytes, *, file: bool = True, folder: bool = True) -> None:
    """A file with bytes; `file` and `folder` are synced."""
    descriptor = disk.open(f"{BASE}/{name}", NEW)
    disk.write(descriptor, [data])
    if file:
        disk.fdatasync(descriptor)
    disk.close(descriptor)
    if folder:
        sync_folder(disk, BASE)


def seen(disk: MemoryDisk, look: Callable[[MemoryDisk], object], power_cut: bool = True) -> set[object]:
    """What is left in any of many ends of the power."""
    return {look(disk.after(Random(seed), power_cut=power_cut)) for seed in range(200)}


class TestPowerCut:
    def test_what_was_synced_is_there(self, disk: MemoryDisk) -> None:
        written(disk, "a", b"bytes")
        disk.link(f"{BASE}/a", f"{BASE}/b")
        sync_folder(disk, BASE)
        disk.unlink(f"{BASE}/a")
        sync_folder(disk, BASE)
        assert seen(disk, lambda after: str(after.files(BASE))) == {str({f"{BASE}/b": b"bytes"})}

    def test_names_that_were_not_synced_may_be_there(self, disk: MemoryDisk) -> None:
        written(disk, "a", b"1")
        disk.unlink(f"{BASE}/a")
        for name in "bc":
            written(disk, name, b"2", folder=False)
        assert len(seen(disk, lambda after: str(sorted(after.files(BASE))))) == 8

    def test_bytes_that_were_not_synced_may_be_there(self, disk: MemoryDisk) -> None:
        old, new = b"o" * BLOCK, b"n" * 3 * BLOCK
        written(disk, "a", old)
        descriptor = disk.open(f"{BASE}/a", os.O_WRONLY)
        disk.write(descriptor, [new])
        found = {bytes(data) for data in seen(disk, lambda after: after.files(BASE)[f"{BASE}/a"])}  # type: ignore[call-overload]
        assert {old, new, bytes(old) + bytes(2 * BLOCK), b"o" * BLOCK + b"n" * 2 * BLOCK} <= found
        assert all(set(data) <= set(b"on\0") for data in found)

    def test_a_folder_without_a_durable_name_goes_with_all_in_it(self, disk: MemoryDisk) -> None:
        disk.makedirs(f"{BASE}/c")
        written(disk, "c/a", b"1", folder=False)
        sync_folder(disk, f"{BASE}/c")
        assert seen(disk, lambda after: str(after.files(BASE))) == {"{}", str({f"{BASE}/c/a": b"1"})}

    def test_a_rename_is_there_whole_or_not(self, disk: MemoryDisk) -> None:
        disk.makedirs(f"{BASE}/c")
        sync_folder(disk, BASE)
        written(disk, "a", b"1")
        disk.rename(f"{BASE}/a", f"{BASE}/c/b")
        assert seen(disk, lambda after: str(sorted(after.files(BASE)))) == {f"['{BASE}/a']", f"['{BASE}/c/b']"}

    def test_processes_that_are_killed_lose_nothing_yet(self, disk: MemoryDisk) -> None:
        written(disk, "a", b"1", file=False, folder=False)
        assert seen(disk, lambda after: str(after.files(BASE)), False) == {str({f"{BASE}/a": b"1"})}
        assert "{}" in seen(disk.after(Random(1), power_cut=False), lambda after: str(after.files(BASE)))

    def test_after_it_no_call_returns(self, disk: MemoryDisk) -> None:
        descriptor = disk.open(f"{BASE}/a", NEW)
        disk.off_at = len(disk.calls) + 1
        for _ in range(2):
            with pytest.raises(PowerCut):
                disk.write(descriptor, [b"1"])
        with pytest.raises(PowerCut):
            disk.listdir(BASE)


class TestFaults:
    def test_the_second_call_of_a_kind(self, disk: MemoryDisk) -> None:
        disk.faults.append(Fault("write", errno.ENOSPC, at=2))
        descriptor = disk.open(f"{BASE}/a", NEW)
        assert disk.write(descriptor, [b"1"]) == 1
        with pytest.raises(OSError, match="No space"):
            disk.write(descriptor, [b"2"])
        assert disk.write(descriptor, [b"3"]) == 1
        assert disk.files(BASE) == {f"{BASE}/a": b"13"}

    def test_a_full_disk_writes_what_there_is_room_for(self, disk: MemoryDisk) -> None:
        disk.free = 3
        descriptor = disk.open(f"{BASE}/a", NEW)
        with pytest.raises(OSError, match="No space"):
            write_all(disk, descriptor, [b"12", b"34"])
        assert disk.files(BASE) == {f"{BASE}/a": b"123"}

    @pytest.mark.parametrize("call", ["fdatasync", "fsync"])
    def test_a_sync_that_fails_says_so_once_and_what_it_was_for_is_never_synced(
        self, disk: MemoryDisk, call: str
    ) -> None:
        descriptor = disk.open(f"{BASE}/a", NEW) if call == "fdatasync" else disk.open(BASE, os.O_RDONLY)
        if call == "fdatasync":
            sync_folder(disk, BASE)
            disk.write(descriptor, [b"1"])
        else:
            written(disk, "a", b"1", folder=False)
        disk.faults.append(Fault(call, errno.EIO))
        with pytest.raises(OSError, match="Input/output"):
            getattr(disk, call)(descriptor)
        getattr(disk, call)(descriptor)
        assert len(seen(disk, lambda after: str(after.files(BASE)))) >= 2
