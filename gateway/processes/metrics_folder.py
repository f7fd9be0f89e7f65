"""The folder in which the metrics of several processes are added up; folders of killed gateways are removed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "dicom-gateway-metrics-"
_LOCK = "lock"


class MetricsFolder:
    """A temporary folder, locked while its gateway lives. Everything blocks."""

    def __init__(self) -> None:
        """Make a folder, and remove those of killed gateways."""
        _remove_abandoned(Path(tempfile.gettempdir()))
        self.path = tempfile.mkdtemp(prefix=_PREFIX)
        self._lock = _locked(Path(self.path))

    def close(self) -> None:
        """Remove the folder with its contents."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)


def _remove_abandoned(parent: Path) -> None:
    """Remove abandoned folders of ours: others may write in the folder for temporary files too."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                continue
            if (lock := _locked(folder)) is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _locked(folder: Path) -> int | None:
    """The descriptor that holds a folder's lock; None where a living gateway has it. Raises: OSError."""
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock
