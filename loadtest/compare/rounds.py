"""The rounds: every server in turn, for every row.

All servers run from beginning to end but get work one at a time; dirty pages of one are written before the next begins
(`disk.py`). The order rotates, so that none always follows the same one.
"""

from __future__ import annotations

import contextlib
import datetime
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gateway.errors import GatewayError
from loadtest.compare import disk
from loadtest.compare.measures import Stand
from loadtest.compare.row import Row
from loadtest.compare.table import SINK, Comparison, Measured, RowResult, entries, outcomes
from loadtest.machine import describe
from loadtest.peers import ALONE, OTHER_BUILD, PEERS, NotInstalled, Peer, Start, Wiring, about
from loadtest.run import open_files_to_the_limit

_WARM_UP = 8
"""The amount of work of each server, at most, before the first round of a row; not counted."""

Progress = Callable[[int, int, str], None]


def compare(
    rows: Sequence[Row],
    servers: Mapping[str, Start],
    rounds: int,
    scale: float,
    folder: Path,
    progress: Progress = lambda done, total, what: None,
) -> Comparison:
    """Start the servers, in folders below `folder`, and measure. Missing software is skipped with a remark.

    Raises NotStarted when an installed server does not start.
    """
    open_files_to_the_limit()
    disk.spread(folder)
    disk.touch_memory()
    began = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    machine = describe(folder)
    remarks = [] if disk.is_durable(folder) else ["the servers' folder is in memory: syncing costs nothing there"]
    if scale != 1:
        remarks.append(f"the amount of work is {scale:g} times that of the titles")
    destinations: dict[str, int] = {}

    def start(name: str, place: str, wiring: Wiring | None = None) -> contextlib.AbstractContextManager[Peer]:
        return servers[name](folder / place, wiring or Wiring(destinations))

    versions: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        progress(0, 1, "starting the servers")
        # The sink comes first: it is the destination of the other servers' C-MOVE.
        sink = stack.enter_context(PEERS[SINK](folder / SINK, ALONE))
        destinations[sink.aet] = sink.port
        peers: dict[str, Peer] = {}
        for name in servers:
            try:
                if name == SINK:
                    peers[name] = sink
                elif name not in (*PEERS, OTHER_BUILD) or any(row.is_for(name) for row in rows):
                    peers[name] = stack.enter_context(start(name, name))
            except NotInstalled as error:
                remarks.append(f"left out: {error}")
        versions |= {name: about.version_of(peer) for name, peer in peers.items()}
        stand = Stand(folder, start, sink.aet)
        total = sum((1 if row.once else rounds) * len(_doing(row, peers)) for row in rows)
        done = 0
        results = []
        for row in rows:
            turns, doing = 1 if row.once else rounds, _doing(row, peers)
            try:
                runs = _rounds(row, doing, turns, scale, stand, _behind(progress, done, total))
            except NotInstalled as error:
                remarks.append(f"left out: {row.title}: {error}")
                continue
            done += turns * len(runs)
            found = entries(runs, less_is_better=row.less_is_better)
            results.append(
                RowResult(
                    name=row.name,
                    title=row.title,
                    unit=row.unit,
                    less_is_better=row.less_is_better,
                    entries=found,
                    outcomes=outcomes(row.goals, found),
                )
            )
    return Comparison(
        began=began,
        rounds=rounds,
        scale=scale,
        cpus=machine.cpus,
        remarks=remarks,
        rows=results,
        machine=machine,
        versions=versions,
    )


def _behind(progress: Progress, done: int, total: int) -> Callable[[int, str], None]:
    """The progress of a row, after the `done` runs of earlier rows."""
    return lambda more, what: progress(done + more, total, what)


def _doing(row: Row, peers: dict[str, Peer]) -> list[Peer]:
    return [peer for peer in peers.values() if row.is_for_peer(peer)]


def _rounds(
    row: Row, peers: Sequence[Peer], rounds: int, scale: float, stand: Stand, progress: Callable[[int, str], None]
) -> dict[str, list[Measured]]:
    """The runs of each server, round by round. Raises NotInstalled for a missing client."""
    count = max(1, round(row.count * scale))
    runs: dict[str, list[Measured]] = {peer.name: [] for peer in peers}
    if row.warm_up:
        for peer in peers:
            progress(0, f"{row.name}: warming up {peer.name}")
            _measure(row, stand, peer, min(count, _WARM_UP))
    for turn in range(rounds):
        first = turn % max(len(peers), 1)
        for at, peer in enumerate([*peers[first:], *peers[:first]]):
            progress(turn * len(peers) + at, f"{row.name}: round {turn + 1}, {peer.name}")
            runs[peer.name].append(_measure(row, stand, peer, count))
    return runs


def _measure(row: Row, stand: Stand, peer: Peer, count: int) -> Measured:
    try:
        if row.fresh:
            place = f"{peer.name}-{row.name}"
            try:
                with stand.start(peer.name, place) as fresh:
                    return row.measure(stand, fresh, count)
            finally:
                shutil.rmtree(stand.folder / place, ignore_errors=True)
        return row.measure(stand, peer, count)
    except NotInstalled:
        raise
    except GatewayError as error:
        return Measured(0.0, str(error))
