"""A consistent copy of an Orthanc's SQLite index, taken while Orthanc runs and without its noticing.

Orthanc holds its index in exclusive mode (observed on 1.10: a lock for good, a write-ahead log, no shared memory), so
nobody else can open it, and whoever would open it first would keep Orthanc from starting. Therefore the files are
copied as bytes. A checkpoint moves pages from the log to the database meanwhile, and then the log is begun anew; so the
log is followed while the database is copied (`log_follower.py`), and whatever was committed in that time is written
over the copy, which then is the index as it was at the last of these commits.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from gateway.errors import SourceError
from gateway.migration import queries
from gateway.migration.log_follower import LogFollower
from gateway.migration.refusals import reason_of

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
    try:
        files = [_stat(path) for path in (index, _beside(index, "-wal"), _beside(index, "-journal"))]
        header = _beginning(index, _DATABASE_HEADER) + _beginning(_beside(index, "-wal"), _LOG_HEADER)
    except OSError as error:
        raise SourceError(f"{error.filename or index}: it cannot be read: {reason_of(error)}") from None
    return IndexState(tuple(files), header)


def copy_index(index: Path, target: Path, *, pause: Callable[[float], None] = time.sleep) -> IndexState:
    """Write a consistent copy of the index to `target`, as one file; returns the state that was copied. Blocks.

    Raises: SourceError when there is no index, it is damaged, or it is written so fast that no copy is consistent.
    """
    try:
        is_there = index.is_file()
    except OSError as error:
        raise SourceError(f"{index}: it cannot be read: {reason_of(error)}") from None
    if not is_there:
        raise SourceError(f"{index}: there is no index of Orthanc here (IndexDirectory, or else StorageDirectory)")
    try:
        for ending in ("", "-wal", "-journal", "-frames"):
            _beside(target, ending).unlink(missing_ok=True)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for _ in range(_ATTEMPTS):
            state = index_state(index)
            if _copied(index, target):
                _fold(target, index)
                return state
            pause(_PAUSE_S)
    except OSError as error:
        raise SourceError(f"{index}: cannot be copied to {target}: {error.strerror}") from None
    raise SourceError(f"{index}: it is written faster than it can be copied; stop Orthanc, or what it receives")


def _copied(index: Path, target: Path) -> bool:
    """Whether the copy that is made here is consistent."""
    journal = _beside(index, "-journal")
    mode, _ = before = _identity(index)
    if mode == _WRITE_AHEAD:
        return _copied_with_log(index, target)
    if _stat(journal)[0]:
        return _copied_with_journal(index, target)
    _copy(index, target)
    return _identity(index) == before and not _stat(journal)[0]


def _copied_with_log(index: Path, target: Path) -> bool:
    """Copy a database with a write-ahead log, whose pages are written over the copy in the end."""
    log, frames = _beside(index, "-wal"), _beside(target, "-frames")
    if not _stat(log)[0]:
        before = _stat(index)
        _copy(index, target)
        return _stat(index) == before and not _stat(log)[0]
    try:
        with _new_file(frames) as file, LogFollower(log, file) as follower:
            if not _copy(index, target, follower.follow):
                return False
            with target.open("r+b") as copy:
                follower.apply(copy)
    finally:
        frames.unlink(missing_ok=True)
    return True


def _copied_with_journal(index: Path, target: Path) -> bool:
    """Copy a database whose transaction is open, or was broken off: the journal takes the copy back before it."""
    journal = _beside(index, "-journal")
    before = (_stat(index), _stat(journal))
    _copy(index, target)
    _copy(journal, _beside(target, "-journal"))
    return (_stat(index), _stat(journal)) == before


def _identity(index: Path) -> tuple[bytes, bytes]:
    """The kind of journal, and the counter of changes, which changes with every transaction that has a journal."""
    header = _beginning(index, _DATABASE_HEADER)
    return header[18:20], header[24:28]


def _fold(target: Path, index: Path) -> None:
    """Apply the log to the copy, and check it. Raises: SourceError."""
    try:
        connection = sqlite3.connect(target, isolation_level=None)
        try:
            connection.execute(queries.FOLD_LOG)
            ((answer,),) = connection.execute(queries.CHECK).fetchall()
        finally:
            connection.close()
    except (sqlite3.Error, ValueError) as error:
        raise SourceError(
            f"{index}: it cannot be read as the index of an Orthanc: {error}; --index names the folder of its index"
        ) from None
    if answer != "ok":
        raise SourceError(f"{index}: Orthanc's index is damaged: {answer}")


def _copy(source: Path, target: Path, between: Callable[[], bool] = lambda: True) -> bool:
    """Make `target` equal to `source`, writing only the pieces that differ; no file for no file.

    `between` is called before each piece, and after the last one; returns False as soon as it does.
    """
    try:
        origin = source.open("rb")
    except FileNotFoundError:
        target.unlink(missing_ok=True)
        return True
    with origin, os.fdopen(os.open(target, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as copy:
        at = 0
        while between():
            piece = origin.read(_PIECE_BYTES)
            if not piece:
                copy.truncate(at)
                return True
            copy.seek(at)
            if copy.read(len(piece)) != piece:
                copy.seek(at)
                copy.write(piece)
            at += len(piece)
    return False


def _new_file(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "w+b")


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
