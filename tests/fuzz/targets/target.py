"""What a target is, and what several of them use."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

from gateway.dicom import uids
from gateway.dicom.source import Read

MAX_SIZE = 1024
"""Bytes of an input: what is longer takes longer, and finds little more."""
MAX_CPU_S = 1.0
"""Of one input, which is a thousand times what most take: what is not linear shows."""
MAX_GROWTH_KIB = 128 << 10
"""By which the most memory that this process ever had may grow with one input."""

IMPLICIT, EXPLICIT = uids.IMPLICIT_VR_LITTLE_ENDIAN.uid, uids.EXPLICIT_VR_LITTLE_ENDIAN.uid
SYNTAXES = (IMPLICIT, EXPLICIT, uids.EXPLICIT_VR_BIG_ENDIAN.uid, uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN.uid)


@dataclass(frozen=True)
class Target:
    """A parser of foreign bytes, as a fuzzer runs it."""

    judge: Callable[[bytes], None]
    """Raises where the bytes show a fault."""
    seeds: Callable[[], list[bytes]]

    def run(self, data: bytes) -> None:
        """Judge one input, and what it costs: AssertionError where that is more than any of MAX_SIZE may."""
        began, before = time.thread_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.judge(data)
        spent, grown = time.thread_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert spent < MAX_CPU_S, f"{spent:.1f} s for {len(data)} bytes"
        assert grown < MAX_GROWTH_KIB, f"{grown} KiB for {len(data)} bytes"


def source_of(data: bytes) -> Read:
    """`read` of an object that is these bytes."""

    def read(offset: int, length: int) -> bytes:
        return data[offset : offset + length] if length > 0 <= offset else b""

    return read
