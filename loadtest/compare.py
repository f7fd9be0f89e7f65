"""The same work against several servers on this machine, in turn, round after round.

Servers run side by side from beginning to end but are given work one at a time; what one has left to be written is
written before the next begins. Starting them is `peers.py`'s, showing the result `report.py`'s.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from loadtest import storescu
from loadtest.data import Preset, Synthetic
from loadtest.peers import PEERS, NotInstalled, Peer, find
from loadtest.send import Target, send
from loadtest.stats import Stats, Summary

GATEWAY, SINK = "gateway", "sink"
_NEAR_CEILING = 0.8
_WARM_UP = 8
"""Instances sent to each server before the first round, not counted."""


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """`count` instances: by one unmodified storescu, or over `associations` associations of our own."""

    preset: Preset
    count: int
    associations: int = 1
    by_storescu: bool = False

    @property
    def name(self) -> str:
        if self.by_storescu:
            return f"storescu, {self.count} x {self.preset.name}"
        plural = "" if self.associations == 1 else "s"
        return f"{self.associations} association{plural}, {self.preset.name}"


class Spread(msgspec.Struct, frozen=True):
    """One figure over all rounds."""

    median: float
    min: float
    max: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """None of nothing."""
        found = list(values)
        return cls(statistics.median(found), min(found), max(found)) if found else None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One server at one work. Figures are over the runs in which everything was acknowledged."""

    peer: str
    instances_per_second: Spread | None
    megabytes_per_second: Spread | None
    p50: Spread | None
    p99: Spread | None
    gateway_times: Spread | None
    """How many times this server's rate the gateway reached in the same round; None for the gateway and the sink."""
    notes: list[str]
    runs: list[Summary]


class WorkResult(msgspec.Struct, frozen=True):
    name: str
    rows: list[Row]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    rounds: int
    cpus: int
    remarks: list[str]
    """What a reader should know before believing the figures."""
    works: list[WorkResult]

    @property
    def complete(self) -> bool:
        """Every run of every server acknowledged everything."""
        return all(run.complete for work in self.works for row in work.rows for run in row.runs)


def compare(
    works: Sequence[Work],
    names: Sequence[str],
    rounds: int,
    folder: Path,
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> Comparison:
    """Start the servers named, in folders below `folder`, and measure. What is not installed is left out and said.

    Raises NotStarted when a server that is installed does not come up.
    """
    remarks = [] if _is_durable(folder) else [f"{folder} lies in memory: syncing costs nothing there"]
    works = list(works)
    if any(work.by_storescu for work in works):
        try:
            find("storescu", package="dcmtk")
        except NotInstalled as error:
            remarks.append(f"left out: {error}")
            works = [work for work in works if not work.by_storescu]
    with contextlib.ExitStack() as stack:
        peers = []
        for name in names:
            progress(0, 1, f"starting {name}")
            try:
                peers.append(stack.enter_context(PEERS[name](folder / name)))
            except NotInstalled as error:
                remarks.append(f"left out: {error}")
        results = []
        total = len(works) * rounds * len(peers)
        for number, work in enumerate(works):
            runs: dict[str, list[Summary]] = {peer.name: [] for peer in peers}
            for peer in peers:
                progress(number * rounds * len(peers), total, f"{work.name}: warming up {peer.name}")
                _run(dataclasses.replace(work, count=max(_WARM_UP, work.associations)), peer, folder)
            for turn in range(rounds):
                first = turn % max(len(peers), 1)  # Nobody always comes after the same one.
                for place, peer in enumerate(peers[first:] + peers[:first]):
                    done = (number * rounds + turn) * len(peers) + place
                    progress(done, total, f"{work.name}: round {turn + 1}, {peer.name}")
                    runs[peer.name].append(_run(work, peer, folder))
            results.append(WorkResult(work.name, evaluate(runs)))
    return Comparison(rounds=rounds, cpus=os.cpu_count() or 1, remarks=remarks, works=results)


def evaluate(runs: dict[str, list[Summary]]) -> list[Row]:
    """The rows of one work from the runs of each server, round by round."""
    ceiling = Spread.of(run.instances_per_second for run in runs.get(SINK, []) if run.complete)
    rows = []
    for name, own in runs.items():
        good = [run for run in own if run.complete]
        rate = Spread.of(run.instances_per_second for run in good)
        notes = []
        if len(good) < len(own):
            kinds = next((list(run.failures) for run in own if run.failures), ["not everything was sent"])
            notes.append(f"{len(own) - len(good)} of {len(own)} runs failed ({kinds[0]})")
        if rate and ceiling and name != SINK and rate.median > _NEAR_CEILING * ceiling.median:
            share = rate.median / ceiling.median
            notes.append(f"at {share:.0%} of what the sender can do: the server may be faster")
        rows.append(
            Row(
                peer=name,
                instances_per_second=rate,
                megabytes_per_second=Spread.of(run.megabytes_per_second for run in good),
                p50=Spread.of(run.latency.p50 for run in good if run.latency),
                p99=Spread.of(run.latency.p99 for run in good if run.latency),
                gateway_times=None if name in (GATEWAY, SINK) else _ratio(runs.get(GATEWAY, []), own),
                notes=notes,
                runs=own,
            )
        )
    return rows


def _ratio(ours: Sequence[Summary], theirs: Sequence[Summary]) -> Spread | None:
    """Round by round, where both were complete."""
    return Spread.of(
        our.instances_per_second / their.instances_per_second
        for our, their in zip(ours, theirs, strict=False)
        if our.complete and their.complete
    )


def _run(work: Work, peer: Peer, folder: Path) -> Summary:
    """One run, with new instances, on a disk at rest."""
    if work.by_storescu:
        files = folder / "files"
        size = storescu.write_files(files, work.preset, work.count)
        os.sync()
        return storescu.run(peer, files, work.count, size)
    import uvloop

    source = Synthetic(work.preset, max(1, work.count // work.associations))
    os.sync()
    stats = Stats(source.total(work.associations))
    uvloop.run(send(Target(peer.host, peer.port, peer.aet), source, work.associations, stats))
    return stats.summary()


def _is_durable(folder: Path) -> bool:
    """Whether the folder's file system outlives the power; true where that cannot be told."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return True
    path = folder.resolve()
    over = [(len(mount), kind) for mount, kind in mounts if path.is_relative_to(mount)]
    return not over or max(over)[1] not in ("tmpfs", "ramfs")
