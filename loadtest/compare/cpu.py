"""The processor time that a server spends on an instance, in all its processes, read from /proc.

Work that a server puts off counts too: the clock is read once it has come to rest.
"""

from __future__ import annotations

import time

from loadtest import peers, watch
from loadtest.compare.measures import Measure, Stand, run_work, target_of, trouble_of
from loadtest.compare.table import Measured
from loadtest.scenario import Scenario, Work

_LOOK_S = 0.25
_QUIET = 0.04
"""A server that uses less than this share of a processor is at rest: idle, a gateway of one worker uses about 0.01."""
_PATIENCE_S = 10.0


def per_instance(size: str, associations: int) -> Measure:
    """C-STORE of `count` instances. Milliseconds of processor time for each."""

    def measure(stand: Stand, peer: peers.Peer, count: int) -> Measured:
        work = Work(do="store", data=size, count=count, at_once=associations)
        stand.disk.rest(peer.folder)
        before = watch.cpu_seconds(peer.pid)
        summary = run_work(Scenario(title="cpu", about="", work=(work,)), target_of(peer))
        spent = _at_rest(peer.pid) - before
        return Measured(1000 * spent / max(1, summary.instances), trouble_of(summary))

    return measure


def _at_rest(pid: int) -> float:
    """The seconds that a server has used once it uses hardly any more, or when our patience ends."""
    end = time.monotonic() + _PATIENCE_S
    used = watch.cpu_seconds(pid)
    while time.monotonic() < end:
        time.sleep(_LOOK_S)
        now = watch.cpu_seconds(pid)
        if now - used < _QUIET * _LOOK_S:
            return now
        used = now
    return used
