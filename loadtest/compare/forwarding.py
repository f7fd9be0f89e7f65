"""Forwarding: instances come in over several associations, and each goes out to one DICOM destination, its own sink.

A rate is that of the whole way, from the first instance sent to the last delivery that the sink has acknowledged.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

from loadtest import peers
from loadtest.compare.measures import Measure, Stand, run_work, target_of, trouble_of
from loadtest.compare.table import Measured
from loadtest.scenario import Scenario, Work

_WARM_UP = 32
_PATIENCE_S = 120
"""Seconds after the last instance has come in, in which the last delivery must be acknowledged."""


def deliveries(size: str, associations: int) -> Measure:
    """Deliveries of `count` instances. Deliveries a second."""

    def measure(stand: Stand, peer: peers.Peer, count: int) -> Measured:
        return _forwarded(stand, peer, size, associations, count)

    return measure


def share_of_intake(size: str, associations: int) -> Measure:
    """The rate of deliveries as a share of the rate of intake alone, by the same build. 1 is all of it."""

    def measure(stand: Stand, peer: peers.Peer, count: int) -> Measured:
        with _started(stand, peer, None) as alone:
            _store(alone, size, associations, _WARM_UP)
            stand.disk.rest(alone.folder)
            _, rate, trouble = _store(alone, size, associations, count)
        forwarded = _forwarded(stand, peer, size, associations, count)
        return Measured(forwarded.value / rate if rate else 0.0, trouble or forwarded.trouble)

    return measure


def _forwarded(stand: Stand, peer: peers.Peer, size: str, associations: int, count: int) -> Measured:
    place = stand.folder / "forwarding-sink"
    with peers.sink(place) as sink, _started(stand, peer, sink) as server:
        _, _, trouble = _store(server, size, associations, _WARM_UP)
        if trouble or _received(sink, _WARM_UP) < _WARM_UP:
            return Measured(0.0, trouble or "nothing is delivered")
        stand.disk.rest(server.folder)
        began, _, trouble = _store(server, size, associations, count)
        arrived = _received(sink, _WARM_UP + count) - _WARM_UP
        seconds = time.perf_counter() - began
    if arrived < count:
        return Measured(0.0, trouble or f"{arrived} of {count} deliveries in {_PATIENCE_S} s")
    return Measured(count / seconds, trouble)


@contextlib.contextmanager
def _started(stand: Stand, peer: peers.Peer, sink: peers.Peer | None) -> Iterator[peers.Peer]:
    """The server once more and empty, told to send everything on to a sink if there is one."""
    wiring = peers.ALONE if sink is None else peers.Wiring({sink.aet: sink.port}, sink.aet)
    place = f"{peer.name}-forwarding"
    try:
        with stand.start(peer.name, place, wiring) as server:
            yield server
    finally:
        shutil.rmtree(stand.folder / Path(place), ignore_errors=True)


def _store(peer: peers.Peer, size: str, associations: int, count: int) -> tuple[float, float, str]:
    """When the clock started, instances a second, and the first failure."""
    starts: list[float] = []
    work = Work(do="store", data=size, count=count, at_once=associations)
    summary = run_work(
        Scenario(title="forwarding", about="", work=(work,)),
        target_of(peer),
        began=lambda stats: starts.append(time.perf_counter()),
    )
    return starts[0], summary.instances_per_second, trouble_of(summary)


def _received(sink: peers.Peer, count: int) -> int:
    """How many instances a sink has, once it has `count` of them or our patience ends."""
    url = f"{sink.url}/received?at_least={count}&within={_PATIENCE_S}"
    with urlopen(url, timeout=2 * _PATIENCE_S) as answer:
        return int(json.load(answer)["instances"])
