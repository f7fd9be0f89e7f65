"""Settings of the whole process, which everything else stands on."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys

_DESCRIPTORS = 65536
"""Open files that we ask for, where the hard limit allows: two for each instance on its way, one a connection."""
_KEPT_MEMORY = 64 << 20
"""Bytes that are free and not given back, at most, in each of two arenas."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # <malloc.h>


def prepare_process() -> None:
    """Settings of the process that everything else stands on."""
    # sqlite3 gives up the interpreter lock at every row; with the default of 5 ms a busy loop starves it.
    sys.setswitchinterval(0.0005)
    _keep_freed_memory()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _keep_freed_memory() -> None:
    """Have glibc keep what is freed for what comes next, as far as _KEPT_MEMORY.

    It would give every piece of a file back to the kernel, and get the next in fresh pages: of the 575 us of CPU that
    sending 512 KB took, 90 were page faults.
    """
    with contextlib.suppress(AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _KEPT_MEMORY // 2)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_MEMORY)
        mallopt(_M_ARENA_MAX, 2)
