"""Files without a name: what is added is read back anywhere, and nothing is left of them."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.errors import OutOfDescriptors, OutOfSpace, StorageError
from gateway.storage.disk import LOCAL
from gateway.storage.scratch import Scratch
from tests.support.memory_disk import Fault, MemoryDisk

PATH = "/incoming"


@pytest.fixture
def disk() -> MemoryDisk:
    disk = MemoryDisk()
    disk.makedirs(PATH)
    return disk


@pytest.fixture
def scratch(disk: MemoryDisk) -> Iterator[Scratch]:
    scratch = Scratch(disk, f"{PATH}/1.tmp")
    yield scratch
    scratch.close()


def test_what_is_added_is_read_anywhere(scratch: Scratch) -> None:
    scratch.append([b"abc", memoryview(b"def")])
    scratch.append([b"ghi"])
    assert scratch.size == 9
    assert scratch.read(0, 9) == b"abcdefghi"
    assert scratch.read(2, 5) == b"cdefg"
    assert scratch.read(7, 100) == b"hi"
    assert scratch.read(9, 1) == b""


def test_it_has_no_name_from_the_beginning(disk: MemoryDisk, scratch: Scratch) -> None:
    scratch.append([b"abc"])
    assert disk.listdir(PATH) == []
    assert Scratch(disk, f"{PATH}/1.tmp").size == 0


def test_begins_anew_once_cleared(scratch: Scratch) -> None:
    scratch.append([b"abcdef"])
    scratch.clear()
    assert scratch.size == 0
    assert scratch.read(0, 10) == b""
    scratch.append([b"xy"])
    assert scratch.read(0, 10) == b"xy"
    assert scratch.size == 2


def test_a_real_one_is_gone_with_its_descriptor(tmp_path: Path) -> None:
    scratch = Scratch(LOCAL, str(tmp_path / "1.tmp"))
    assert list(tmp_path.iterdir()) == []
    scratch.append([b"abc", bytearray(b"def")])
    with scratch.file() as file:
        assert file.read(4) == b"abcd"
        scratch.close()  # The file object has a descriptor of its own.
        assert file.read() == b"ef"


def test_a_file_object_begins_at_the_beginning(scratch: Scratch) -> None:
    scratch.append([b"abcdef"])
    for _ in range(2):
        with scratch.file() as file:
            assert file.read() == b"abcdef"
    assert scratch.read(0, 6) == b"abcdef"


class TestClosed:
    @pytest.mark.parametrize(
        "use",
        [
            lambda scratch: scratch.append([b"x"]),
            lambda scratch: scratch.read(0, 1),
            lambda scratch: scratch.clear(),
            lambda scratch: scratch.file(),
        ],
        ids=["append", "read", "clear", "file"],
    )
    def test_is_of_no_more_use(self, scratch: Scratch, use: Callable[[Scratch], object]) -> None:
        scratch.append([b"abc"])
        scratch.close()
        with pytest.raises(StorageError, match="closed already"):
            use(scratch)

    def test_twice_closes_nobody_elses_descriptor(self, tmp_path: Path) -> None:
        scratch = Scratch(LOCAL, str(tmp_path / "1.tmp"))
        number = scratch._descriptor
        scratch.close()
        other = os.open(tmp_path, os.O_RDONLY)
        try:
            assert other == number
            scratch.close()
            os.fstat(other)
        finally:
            os.close(other)

    def test_a_read_that_is_under_way_ends_first(self, disk: MemoryDisk, scratch: Scratch) -> None:
        """A thread that nobody waits for any more must not meet a descriptor that is closed, or somebody else's."""
        scratch.append([b"abc"])
        reading, go_on = threading.Event(), threading.Event()
        read, found = disk.read, list[bytes]()

        def slow(descriptor: int, length: int, offset: int) -> bytes:
            reading.set()
            assert go_on.wait(10)
            return read(descriptor, length, offset)

        disk.read = slow  # type: ignore[method-assign]
        reader = threading.Thread(target=lambda: found.append(scratch.read(0, 3)))
        reader.start()
        assert reading.wait(10)
        closer = threading.Thread(target=scratch.close)
        closer.start()
        assert scratch._descriptor >= 0
        go_on.set()
        reader.join(10)
        closer.join(10)
        assert found == [b"abc"]


class TestFailures:
    @pytest.mark.parametrize(
        ("number", "error"),
        [(errno.ENOSPC, OutOfSpace), (errno.EDQUOT, OutOfSpace), (errno.EIO, StorageError)],
    )
    def test_of_writing(self, disk: MemoryDisk, scratch: Scratch, number: int, error: type[Exception]) -> None:
        disk.faults.append(Fault("write", number))
        with pytest.raises(error, match="writing a temporary file"):
            scratch.append([b"abc"])

    def test_of_making_it(self, disk: MemoryDisk) -> None:
        disk.faults.append(Fault("open", errno.EMFILE))
        with pytest.raises(OutOfDescriptors, match="making a temporary file"):
            Scratch(disk, f"{PATH}/1.tmp")

    def test_another_file_of_that_name_stays_as_it_is(self, disk: MemoryDisk) -> None:
        descriptor = disk.open(f"{PATH}/1.tmp", os.O_CREAT | os.O_WRONLY)
        disk.write(descriptor, [b"theirs"])
        disk.close(descriptor)
        with pytest.raises(StorageError):
            Scratch(disk, f"{PATH}/1.tmp")
        assert disk.files(PATH) == {f"{PATH}/1.tmp": b"theirs"}
