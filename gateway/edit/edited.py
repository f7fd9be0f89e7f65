"""The result of a change: another data set, read like a stored one."""

from __future__ import annotations

import contextlib
import errno
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gateway.dicom.source import Read
from gateway.edit.deid.rules import Change
from gateway.errors import OutOfSpace, StorageFailed
from gateway.storage.disk import LOCAL
from gateway.storage.erasure import erase_open

_IN_MEMORY: Final = 16 << 20


@dataclass(slots=True)
class Edited:
    """A changed data set. `read` is for one reader at a time, while the source is open; `close` afterwards."""

    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    length: int
    """Bytes."""
    read: Read
    """Reads from offset 0."""
    _changes: Callable[[], tuple[Change, ...]]
    _close: Callable[[], None] = field(default=lambda: None)

    @property
    def changes(self) -> tuple[Change, ...]:
        """Every change, with the values before and after. Reads the source again, which must still be open."""
        return self._changes()

    def close(self) -> None:
        self._close()


def spool(edited: Edited, pieces: Iterator[bytes], folder: Path | None) -> None:
    """Replace the content of `edited` with `pieces`, spooled in memory or, when large, in `folder`."""
    file = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(folder) if folder is not None else None)  # noqa: SIM115 - closed with what it holds
    try:
        for piece in pieces:
            file.write(piece)
    except OSError as error:
        file.close()
        kind = OutOfSpace if error.errno in (errno.ENOSPC, errno.EDQUOT) else StorageFailed
        raise kind(f"a changed object cannot be spooled: {error}") from error
    except BaseException:
        file.close()
        raise

    def read(offset: int, length: int) -> bytes:
        file.seek(offset)
        return file.read(length)

    before = edited._close

    def close() -> None:
        if edited.length > _IN_MEMORY:
            with contextlib.suppress(OSError):
                erase_open(LOCAL, file.fileno())
        file.close()
        before()

    edited.length, edited.read, edited._close = file.tell(), read, close
