"""Settings of the whole process: interpreter, C library, open files."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import resource
import sys

log = logging.getLogger(__name__)

_MAX_DESCRIPTORS = 65536
"""Open files to ask for, if the hard limit allows: two for each incoming instance, one for a connection."""
RESERVED_DESCRIPTORS = 256
"""Open files that connections leave to the database, to incoming and outgoing files, and to our own associations."""
_MAX_FREE_BYTES = 64 << 20
"""Free bytes that each of two malloc arenas may retain."""
_COLLECTED_AFTER = (10_000, 20, 20)
"""Objects made (more than freed) between two looks for cycles, and looks between two longer ones. Python's 700 look a
dozen times into one page of rows, which has no cycles: making 1000 changes of rows took 510 us, and takes 180."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # <malloc.h>


def prepare_process() -> None:
    """Apply the settings of the process; call it first."""
    # sqlite3 releases the interpreter lock at every row; with the default of 5 ms a busy loop starves it.
    sys.setswitchinterval(0.0005)
    gc.set_threshold(*_COLLECTED_AFTER)
    _retain_freed_memory()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MAX_DESCRIPTORS)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connections_within(*wanted: int) -> list[int]:
    """The number of connections of each kind: as wanted, or their share of the limit on open files, of which
    RESERVED_DESCRIPTORS, or at most half, are left to other uses.
    """
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = max(soft - RESERVED_DESCRIPTORS, soft // 2)
    if sum(wanted) <= room:
        return list(wanted)
    log.warning(
        "the limit of %d open files leaves room for %d connections; %d are configured: raise it (ulimit -n)",
        *(soft, room, sum(wanted)),
    )
    return [max(1, each * room // sum(wanted)) for each in wanted]


def _retain_freed_memory() -> None:
    """Have glibc retain freed memory for the next allocation, up to _MAX_FREE_BYTES.

    By default it returns every piece of a file to the kernel, and gets the next in new pages: of the 575 us of CPU that
    sending 512 KB took, 90 were page faults.
    """
    with contextlib.suppress(AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _MAX_FREE_BYTES // 2)
        mallopt(_M_TRIM_THRESHOLD, _MAX_FREE_BYTES)
        mallopt(_M_ARENA_MAX, 2)
