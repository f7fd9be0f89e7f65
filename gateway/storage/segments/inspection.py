"""Checking, listing and extracting what segments hold, without an index: the files say it all. Everything blocks."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from gateway.errors import NotFound, StorageError
from gateway.storage.disk import LOCAL
from gateway.storage.layout import Layout
from gateway.storage.segments.folder import SegmentFolder
from gateway.storage.segments.frame import FrameHeader, FrameKind
from gateway.storage.segments.keys import is_name, key_at
from gateway.storage.segments.scan import Damage, SegmentScan

_PIECE_BYTES = 1 << 20
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class SegmentItem:
    """One object of a segment. `written_at`: seconds since 1970; `size`: bytes of its Part 10 file."""

    key: str
    size: int
    written_at: float
    notes: str
    """Where it came from: a JSON object."""


@dataclass(slots=True)
class Report:
    """Counts of whole and of erased objects, their bytes, and what is damaged."""

    objects: int = 0
    bytes: int = 0
    erased: int = 0
    damaged: list[str] = field(default_factory=list)
    """Places, as segment and offsets."""


class SegmentFile:
    """One segment as a file, with the name that it has in the store."""

    def __init__(self, path: Path) -> None:
        """Raises: NotFound where there is none."""
        if not is_name(path.name) or not path.is_file():
            raise NotFound(f"{path}: there is no segment here: a file of the folder segments, under its own name")
        self.path = path

    def items(self) -> Iterator[SegmentItem]:
        """Yield its objects in their order. Raises: OSError; StorageError."""
        with self._opened() as scan:
            for frame in _objects(scan):
                key, notes = key_at(self.path.name, frame.offset), scan.notes(frame).decode("utf-8", "replace")
                yield SegmentItem(key, frame.object_length, frame.written_at, notes)

    def check(self, report: Report) -> None:
        """Compare every checksum, and count in the report. Raises: OSError; StorageError."""
        with self._opened() as scan:
            for frame in scan.walk():
                if isinstance(frame, Damage):
                    report.damaged.append(f"{self.path} from {frame.start} to {frame.end}")
                elif frame.kind is FrameKind.ERASED:
                    report.erased += 1
                else:
                    report.objects += 1
                    report.bytes += frame.object_length

    def extract(self, create: Callable[[str], BinaryIO], key: str = "") -> int:
        """Write its objects, or the one with the key, to files that `create` makes for keys; returns their number.

        Raises: OSError; NotFound; StorageError.
        """
        written = 0
        with self._opened() as scan:
            for frame in _objects(scan):
                own = key_at(self.path.name, frame.offset)
                if key in ("", own):
                    with create(own) as file:
                        for at in range(0, frame.object_length, _PIECE_BYTES):
                            length = min(_PIECE_BYTES, frame.object_length - at)
                            file.write(scan.read(length, frame.object_offset + at))
                    written += 1
        if key and not written:
            raise NotFound(f"{self.path} holds no object {key}")
        return written

    @contextlib.contextmanager
    def _opened(self) -> Iterator[SegmentScan]:
        descriptor = LOCAL.open(str(self.path), os.O_RDONLY)
        try:
            scan = SegmentScan(LOCAL, descriptor, self.path.name)
            if scan.segment_id is None:
                raise StorageError(f"{self.path} has no header: it is no segment, or was renamed")
            yield scan
        finally:
            LOCAL.close(descriptor)


def _objects(scan: SegmentScan) -> Iterator[FrameHeader]:
    for frame in scan.walk():
        if isinstance(frame, FrameHeader) and frame.kind is FrameKind.INSTANCE:
            yield frame


def segments_of(data: Path) -> list[SegmentFile]:
    """The segments of a data folder, oldest first. Raises: OSError."""
    folder = SegmentFolder(Layout(data))
    return [SegmentFile(Path(folder.path_of(name))) for name in folder.names()]


def check_all(segments: list[SegmentFile], progress: Progress = lambda done, total: None) -> Report:
    """Compare every checksum in segments. Raises: OSError."""
    report = Report()
    for done, segment in enumerate(segments):
        progress(done, len(segments))
        try:
            segment.check(report)
        except StorageError as error:
            report.damaged.append(str(error))
    return report
