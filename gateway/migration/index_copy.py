"""A consistent copy of an Orthanc's SQLite index, taken while Orthanc runs and without its noticing.

Orthanc holds its index in exclusive mode (observed on 1.10: a lock for good, a write-ahead log, no shared memory), so
nobody else can open it, and whoever would open it first would keep Orthanc from starting. Therefore the files are
copied as bytes: first the database, then its log. Pages that a checkpoint moves from the log to the database meanwhile
are in the copy of the log too, as long as the log is not begun anew; its header tells, whose salts change then
(https://www.sqlite.org/fileformat2.html#the_write_ahead_log). If it was, the pieces that differ are copied again.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.errors import SourceError
from gateway.migration import queries

_PIECE_BYTES: Final = 1 << 20
_LOG_HEADER: Final = 32
_DATABASE_HEADER: Final = 100
_WRITE_AHEAD: Final = b"\x02\x02"
"""Bytes 18 and 19 of a database whose journal is a write-ahead log."""
_ATTEMPTS: Final = 50
_PAUSE_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class IndexState:
    """The state of the files of an index: two that are equal mean that nothing has been written."""

    files: tuple[tuple[int, int], ...]
    """Size and time of each file that is there."""
    header: bytes


def index_state(index: Path) -> IndexState:
    """The present state of an index. Raises: SourceError."""
    files = [_stat(path) for path in (index, _beside(index, "-wal"), _beside(index, "-journal"))]
    return IndexState(
        tuple(files), _beginning(index, _DATABASE_HEADER) + _beginning(_beside(index, "-wal"), _LOG_HEADER)
    )


def copy_index(index: Path, target: Path, *, pause: Callable[[float], None] = time.sleep) -> IndexState:
    """Write a consistent copy of the index to `target`, as one file; returns the state that was copied. Blocks.

    Raises: SourceError when there is no index, it is damaged, or it is written so fast that no copy is consistent.
    """
    if not index.is_file():
        raise SourceError(f"{index}: there is no index of Orthanc here (IndexDirectory, or else StorageDirectory)")
    try:
        for ending in ("", "-wal", "-journal"):
            _beside(target, ending).unlink(missing_ok=True)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for _ in range(_ATTEMPTS):
            state = index_state(index)
            if _copied(index, target):
                _fold(target)
                return state
            pause(_PAUSE_S)
    except OSError as error:
        raise SourceError(f"{index}: cannot be copied to {target}: {error.strerror}") from None
    raise SourceError(f"{index}: it is written faster than it can be copied; stop Orthanc, or what it receives")


def _copied(index: Path, target: Path) -> bool:
    """Whether the copy that is made here is consistent."""
    log, journal = _beside(index, "-wal"), _beside(index, "-journal")
    before = _identity(index)
    if before[0] != _WRITE_AHEAD and _stat(journal)[0]:
        return _copied_with_journal(index, target)
    _copy(index, target)
    _copy(log, _beside(target, "-wal"))
    return _identity(index) == before and not (before[0] != _WRITE_AHEAD and _stat(journal)[0])


def _copied_with_journal(index: Path, target: Path) -> bool:
    """Copy a database whose transaction is open, or was broken off: the journal takes the copy back before it."""
    journal = _beside(index, "-journal")
    before = (_stat(index), _stat(journal))
    _copy(index, target)
    _copy(journal, _beside(target, "-journal"))
    return (_stat(index), _stat(journal)) == before


def _identity(index: Path) -> tuple[bytes, bytes]:
    """The kind of journal, and what changes when a copy of the files would not be of one state."""
    header = _beginning(index, _DATABASE_HEADER)
    mode = header[18:20]
    if mode == _WRITE_AHEAD or not header:
        return mode, _beginning(_beside(index, "-wal"), _LOG_HEADER)
    return mode, header[24:28]


def _fold(target: Path) -> None:
    """Apply the log to the copy, and check it. Raises: SourceError."""
    try:
        connection = sqlite3.connect(target, isolation_level=None)
        try:
            connection.execute(queries.FOLD_LOG)
            ((answer,),) = connection.execute(queries.CHECK).fetchall()
        finally:
            connection.close()
    except (sqlite3.Error, ValueError) as error:
        raise SourceError(f"{target.name}: the copy of Orthanc's index cannot be read: {error}") from None
    if answer != "ok":
        raise SourceError(f"{target.name}: Orthanc's index is damaged: {answer}")


def _copy(source: Path, target: Path) -> None:
    """Make `target` equal to `source`, writing only the pieces that differ; no file for no file."""
    try:
        origin = source.open("rb")
    except FileNotFoundError:
        target.unlink(missing_ok=True)
        return
    with origin, os.fdopen(os.open(target, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as copy:
        at = 0
        while piece := origin.read(_PIECE_BYTES):
            copy.seek(at)
            if copy.read(len(piece)) != piece:
                copy.seek(at)
                copy.write(piece)
            at += len(piece)
        copy.truncate(at)


def _beginning(path: Path, length: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(length)
    except FileNotFoundError:
        return b""


def _stat(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)
