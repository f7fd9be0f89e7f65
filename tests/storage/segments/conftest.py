"""Segments on a disk in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.storage.disk import sync_folder
from gateway.storage.layout import Layout
from gateway.storage.segments import folder as module
from gateway.storage.segments.folder import SegmentFolder
from gateway.storage.segments.frame import FrameHeader
from gateway.storage.segments.writer import SegmentWriter
from tests.support.memory_disk import MemoryDisk


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> MemoryDisk:
    monkeypatch.setattr(module, "MIN_BYTES", 1 << 16)
    monkeypatch.setattr(module, "MAX_BYTES", 1 << 18)
    disk = MemoryDisk()
    disk.makedirs("/data/segments")
    for above in ("/", "/data"):
        sync_folder(disk, above)
    return disk


@pytest.fixture
def folder(disk: MemoryDisk) -> SegmentFolder:
    return SegmentFolder(Layout(Path("/data"), disk))


@pytest.fixture
def writer(folder: SegmentFolder) -> SegmentWriter:
    return SegmentWriter(folder)


def append(writer: SegmentWriter, *objects: bytes, notes: bytes = b"{}") -> list[str]:
    """Write one batch; returns the keys."""
    writer.reserve([(len(notes), len(each)) for each in objects])
    keys = [writer.stage(notes, [each], 1000.5) for each in objects]
    writer.flush()
    writer.recorded()
    return keys


def frames(folder: SegmentFolder) -> Sequence[FrameHeader]:
    return [frame for name in folder.names() for frame in folder.frames(name)]
