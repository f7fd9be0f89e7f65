"""The clock of this machine, as its kernel judges it: whether anything keeps it right (adjtimex(2)).

NTP and PTP daemons tell the kernel that they keep the clock. In a container it is the clock of the host.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Final

_UNSYNCHRONIZED: Final = 5
"""TIME_ERROR: nothing keeps the clock."""


class _Timex(ctypes.Structure):
    """`struct timex`, of which only the first fields are read; the kernel may write all of it."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("rest", ctypes.c_byte * 512),
    )


@dataclass(frozen=True, slots=True)
class HostClock:
    """The state of the machine's clock."""

    is_kept: bool
    """Whether NTP or PTP keeps it."""
    error_s: float
    """The largest error that the kernel reckons with."""


def host_clock() -> HostClock | None:
    """The state of the clock; None where the kernel does not say."""
    call = _adjtimex()
    if call is None:
        return None
    timex = _Timex()  # modes = 0: nothing is set
    state = call(ctypes.byref(timex))
    return HostClock(state != _UNSYNCHRONIZED, timex.maxerror / 1e6) if state >= 0 else None


@cache
def _adjtimex() -> ctypes._CFuncPtr | None:  # type: ignore[name-defined]
    return getattr(ctypes.CDLL(None), "adjtimex", None)
