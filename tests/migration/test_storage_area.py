"""Files of a storage area: read as Orthanc received them, or not at all."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import random
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import SourceError
from gateway.migration.orthanc_index import SourceAttachment
from gateway.migration.storage_area import AttachmentReader, StorageArea

UUID = "0b2c3d4e-0000-4000-8000-000000000000"


def attachment(content: bytes, stored: bytes, *, compressed: bool) -> SourceAttachment:
    digests = [hashlib.md5(each).hexdigest() for each in (stored, content)]
    return SourceAttachment(UUID, compressed, len(stored), len(content), *digests)


def compress(content: bytes) -> bytes:
    return len(content).to_bytes(8, "little") + zlib.compress(content)


def read(reader: AttachmentReader, length: int = 1000) -> bytes:
    found = io.BytesIO()
    with reader:
        while piece := reader.read(length):
            assert len(piece) <= length
            found.write(piece)
    return found.getvalue()


@settings(deadline=None, max_examples=50)
@given(
    size=st.integers(0, 5000) | st.sampled_from([1 << 18, (1 << 18) - 8, 700_001]),
    compressed=st.booleans(),
    even=st.booleans(),
    length=st.sampled_from([1, 7, 1000, 1 << 20]),
)
def test_what_went_in_comes_out(
    size: int, compressed: bool, even: bool, length: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytes(size) if even else random.Random(size).randbytes(size)
    length = max(length, size // 2000, 1)
    stored = compress(content) if compressed else content
    path = tmp_path_factory.mktemp("area") / "file"
    path.write_bytes(stored)
    assert read(AttachmentReader(path, attachment(content, stored, compressed=compressed)), length) == content


def test_its_place(tmp_path: Path) -> None:
    area = StorageArea(tmp_path)
    wanted = attachment(b"x", b"x", compressed=False)
    assert area.path(wanted) == tmp_path / "0b" / "2c" / UUID
    with pytest.raises(SourceError, match="cannot be opened: No such file"):
        area.open(wanted)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("change", ["flip", "cut", "more", "empty", "size"])
def test_damage_is_seen_before_the_end(tmp_path: Path, change: str, compressed: bool) -> None:
    content = random.Random(1).randbytes(300_000)
    stored = compress(content) if compressed else content
    wanted = attachment(content, stored, compressed=compressed)
    damaged = {
        "flip": stored[:200_000] + bytes([stored[200_000] ^ 1]) + stored[200_001:],
        "cut": stored[:-1],
        "more": stored + b"\0" * 400_000,
        "empty": b"",
        "size": b"\x01" + stored[1:],
    }[change]
    (tmp_path / "file").write_bytes(damaged)
    with pytest.raises(SourceError, match="is damaged"):
        read(AttachmentReader(tmp_path / "file", wanted), 1 << 16)


def test_a_bomb_ends_where_its_size_does(tmp_path: Path) -> None:
    """A stream of a gigabyte, of which the index says that it is a kilobyte."""
    packer = zlib.compressobj()
    stored = (
        (1024).to_bytes(8, "little") + b"".join(packer.compress(bytes(1 << 20)) for _ in range(1024)) + packer.flush()
    )
    (tmp_path / "file").write_bytes(stored)
    reader = AttachmentReader(tmp_path / "file", SourceAttachment(UUID, True, len(stored), 1024, "", ""))
    with pytest.raises(SourceError, match="more than the 1024 bytes"):
        read(reader)


def test_without_md5(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    assert read(AttachmentReader(tmp_path / "file", SourceAttachment(UUID, False, 7, 7, "", ""))) == b"content"


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("change", [-1, 1])
def test_without_md5_the_size_is_compared(tmp_path: Path, compressed: bool, change: int) -> None:
    stored = compress(b"content") if compressed else b"content"
    (tmp_path / "file").write_bytes(stored)
    with pytest.raises(SourceError, match="is damaged"):
        read(AttachmentReader(tmp_path / "file", SourceAttachment(UUID, compressed, len(stored) + change, 7, "", "")))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "file")
    with pytest.raises(SourceError, match="is no regular file"):
        AttachmentReader(tmp_path / "file", attachment(b"a", b"a", compressed=False))


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", "file")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(SourceError, match="Permission denied; run this as root or as Orthanc's user"):
        AttachmentReader(tmp_path / "file", attachment(b"a", b"a", compressed=False))
