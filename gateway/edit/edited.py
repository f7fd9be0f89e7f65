"""What comes of a change: another data set, that is read as a stored one."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gateway.dicom.source import Read
from gateway.edit.deid.rules import Change
from gateway.errors import OutOfSpace, StorageFailed

_IN_MEMORY: Final = 16 << 20


@dataclass(slots=True)
class Edited:
    """`read` it as a stored one, by one reader at a time, while its source is open; then `close` it."""

    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    length: int
    """Bytes."""
    read: Read
    """From offset 0."""
    _changes: Callable[[], tuple[Change, ...]]
    _close: Callable[[], None] = field(default=lambda: None)

    @property
    def changes(self) -> tuple[Change, ...]:
        """What became of what. Reads the original once more, so while that is there."""
        return self._changes()

    def close(self) -> None:
        self._close()


def spool(edited: Edited, pieces: Iterator[bytes], folder: Path | None) -> None:
    """Have what comes in pieces in its place: it waits in memory, or where it is large in `folder`."""
    file = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(folder) if folder is not None else None)  # noqa: SIM115 - closed with what it holds
    try:
        for piece in pieces:
            file.write(piece)
    except OSError as error:
        file.close()
        kind = OutOfSpace if error.errno in (errno.ENOSPC, errno.EDQUOT) else StorageFailed
        raise kind(f"what an object has become cannot be kept: {error}") from error
    except BaseException:
        file.close()
        raise

    def read(offset: int, length: int) -> bytes:
        file.seek(offset)
        return file.read(length)

    before = edited._close

    def close() -> None:
        file.close()
        before()

    edited.length, edited.read, edited._close = file.tell(), read, close
