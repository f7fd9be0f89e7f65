"""The measurement of one run of a row: work of our own generator, or of a client of DCMTK.

A measure is called with the stand, a running server, and the amount of work; it returns one figure. `memory.py`
measures the memory of a server.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from loadtest import engine, peers
from loadtest.compare import dcmtk
from loadtest.compare.disk import Disk, forget_all
from loadtest.compare.drain import drain
from loadtest.compare.table import SINK, Measured
from loadtest.data import Instance, parse_size
from loadtest.scenario import Data, Kind, Scenario, Work
from loadtest.shelf import Place, Shelf
from loadtest.stats import Stats, Summary
from loadtest.target import Target, Web

_TIMEOUT_S = 60.0
_SINKS_OWN = Place("2.25.1", "2.25.2", "2.25.3", "1.2.840.10008.5.1.4.1.1.2")


class Starter(Protocol):
    """A function that starts a server of the comparison once more."""

    def __call__(
        self, name: str, place: str, wiring: peers.Wiring | None = None
    ) -> contextlib.AbstractContextManager[peers.Peer]: ...


@dataclasses.dataclass
class Stand:
    """State shared by the measures of a comparison."""

    folder: Path
    """Folder for files that clients send and receive, on the measured disk."""
    start: Starter
    """Starts a server by its name, in a folder of that name on the same disk."""
    destination: str = "SINK"
    """Destination of a C-MOVE."""
    disk: Disk = dataclasses.field(default_factory=Disk)
    stocks: dict[int, int] = dataclasses.field(default_factory=dict)
    """Small instances that servers have got, by process id."""
    _studies: dict[tuple[str, str, int], list[Place]] = dataclasses.field(default_factory=dict)

    def study(self, peer: peers.Peer, size: str, count: int, *, new: bool = False) -> list[Place]:
        """A study of `count` instances on the server, stored now unless it exists and `new` is false. Raises
        Unprepared."""
        if peer.name == SINK:
            return [_SINKS_OWN]
        key = (f"{peer.name}.{peer.pid}", size, count)
        if new or key not in self._studies:
            self._studies[key] = store_study(peer, size, count)
        return self._studies[key]


Measure = Callable[[Stand, peers.Peer, int], Measured]


def target_of(peer: peers.Peer) -> Target:
    web = Web.parse(peer.dicomweb) if peer.dicomweb else None
    return Target(peer.host, peer.port, peer.aet, web=web)


def store_study(peer: peers.Peer, size: str, count: int) -> list[Place]:
    """Store one study of `count` instances. Raises Unprepared."""
    shelf = Shelf()
    scenario = Scenario(
        title="study",
        about="",
        data={"study": Data(size=size, series=1, instances=count)},
        work=(Work(do="store", data="study", count=count),),
    )
    summary = run_work(scenario, target_of(peer), acknowledged=shelf.add)
    if not summary.complete:
        raise engine.Unprepared(f"{peer.name} did not store the study to be read: {trouble_of(summary)}")
    return shelf.study()


def run_work(
    scenario: Scenario,
    target: Target,
    *,
    places: Sequence[Place] = (),
    acknowledged: Callable[[Instance], None] = lambda instance: None,
    began: Callable[[Sequence[Stats]], None] = lambda stats: None,
) -> Summary:
    """Run a scenario of one piece of work to its end. `began` is called when the clock starts."""
    import uvloop

    (stats,) = uvloop.run(engine.run(scenario, target, places=places, acknowledged=acknowledged, began=began))
    return stats.summary()


def trouble_of(summary: Summary) -> str:
    """The first failure; empty for none."""
    return "" if summary.complete else next(iter(summary.failures), "not everything was done")


def intake(size: str, associations: int, *, window: int = 1) -> Measure:
    """C-STORE by our own sender, with new instances in each run. Instances a second."""

    def measure(stand: Stand, peer: peers.Peer, count: int) -> Measured:
        work = Work(do="store", data=size, count=max(count, associations), at_once=associations, window=window)
        stand.disk.rest(peer.folder)  # Dirty pages of others must not slow this run.
        summary = run_work(Scenario(title="intake", about="", work=(work,)), target_of(peer))
        return Measured(summary.instances_per_second, trouble_of(summary))

    return measure


def stow(size: str) -> Measure:
    """One STOW-RS request with all instances. Instances a second."""

    def measure(stand: Stand, peer: peers.Peer, count: int) -> Measured:
        work = Work(do="stow", data=size, count=1, batch=count)
        stand.disk.rest(peer.folder)
        summary = run_work(Scenario(title="stow", about="", work=(work,)), target_of(peer))
        return Measured(summary.instances_per_second, trouble_of(summary))

    return measure


def read(do: Kind, figure: str, *, size: str = "512KB", instances: int = 1, at_once: int = 1) -> Measure:
    """A kind of reading, `count` times, of a study of `instances` instances. The figure is an attribute of Summary."""

    def measure(stand: Stand, peer: peers.Peer, count: int) -> Measured:
        places = stand.study(peer, size, instances)
        work = Work(do=do, count=count, at_once=at_once)
        summary = run_work(Scenario(title=do, about="", work=(work,)), target_of(peer), places=places)
        return Measured(getattr(summary, figure), trouble_of(summary))

    return measure


def drained(instances: int) -> Measure:
    """WADO-RS of a study of `instances` instances of 512 KB by a reader that is not the limit. Megabytes a second."""

    def measure(stand: Stand, peer: peers.Peer, count: int) -> Measured:
        places = stand.study(peer, "512KB", instances)
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        found = drain(f"{peer.dicomweb}/studies/{places[0].study}", accept, _TIMEOUT_S)
        if not found.trouble and found.bytes < len(places) * (512 << 10):
            return Measured(0.0, "instances of the study are missing")
        return Measured(found.bytes / found.seconds / 1e6 if found.seconds else 0.0, found.trouble)

    return measure


def retrieved(do: Kind) -> Measure:
    """One C-MOVE to the sink, or one C-GET, of a study of `count` instances of 512 KB by our own requester. Seconds."""

    def measure(stand: Stand, peer: peers.Peer, count: int) -> Measured:
        places = stand.study(peer, "512KB", count)
        target = dataclasses.replace(target_of(peer), move_to=stand.destination)
        scenario = Scenario(title=do, about="", work=(Work(do=do, count=1),))
        summary = run_work(scenario, target, places=places)
        short = f"{summary.instances} of {count} instances arrived" if summary.instances < count else ""
        return Measured(summary.latency.p50 if summary.latency is not None else 0.0, trouble_of(summary) or short)

    return measure


def search(studies: int, at_once: int) -> Measure:
    """QIDO-RS for 25 studies, on a server that has at least `studies`. Answers a second."""

    def measure(stand: Stand, peer: peers.Peer, count: int) -> Measured:
        for number in range(studies):
            stand.study(peer, f"{64 + 2 * number}B", 1)
        work = Work(do="qido", count=count, at_once=at_once)
        summary = run_work(Scenario(title="qido", about="", work=(work,)), target_of(peer))
        return Measured(summary.operations_per_second, trouble_of(summary))

    return measure


def metadata(*, cold: bool, instances: int) -> Measure:
    """The metadata of a study: cold, never requested before and not in the page cache; or warm, requested before.
    Seconds for one answer; the median of `count` if warm.
    """

    def measure(stand: Stand, peer: peers.Peer, count: int) -> Measured:
        places = stand.study(peer, "512KB", instances, new=cold)
        scenario = Scenario(title="metadata", about="", work=(Work(do="metadata", count=1 if cold else count),))
        if cold:
            forget_all(peer.folder)
        summary = run_work(scenario, target_of(peer), places=places)
        latency = summary.latency
        return Measured(latency.p50 if latency is not None else 0.0, trouble_of(summary))

    return measure


def by_storescu(size: str) -> Measure:
    """One storescu. Seconds."""

    def measure(stand: Stand, peer: peers.Peer, count: int) -> Measured:
        files = stand.folder / "files"
        dcmtk.write_files(files, parse_size(size), count)
        stand.disk.rest(peer.folder)
        return dcmtk.storescu(peer, files)

    return measure


def by_findscu(stand: Stand, peer: peers.Peer, count: int) -> Measured:
    """One findscu that searches `count` times for one study. Searches a second."""
    return dcmtk.findscu(peer, stand.study(peer, "512KB", 20)[0].study, count, stand.folder / "query")


def by_movescu(stand: Stand, peer: peers.Peer, count: int) -> Measured:
    """One movescu for a study of `count` instances of 512 KB, to the sink. Seconds."""
    return dcmtk.movescu(peer, stand.study(peer, "512KB", count)[0].study, stand.destination)


def by_getscu(stand: Stand, peer: peers.Peer, count: int) -> Measured:
    """One getscu for a study of `count` instances of 512 KB. Seconds."""
    study = stand.study(peer, "512KB", count)[0].study
    return dcmtk.getscu(peer, study, count, stand.folder / "got")
