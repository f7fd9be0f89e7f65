"""The engine: prepares a scenario, starts every piece of work in its time, and counts until all are done.

`work/` has the operations, `pace.py` their timing, `stats.py` the counters. `run.py` starts servers, watches them and
verifies afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from gateway.errors import ConfigurationError
from gateway.net.buffers import BlockPool
from loadtest import sources
from loadtest.data import Instance, Source
from loadtest.network import Shape, shaped
from loadtest.pace import Closed, Open, Pace, arrivals
from loadtest.scenario import READS, WRITES, Kind, Scenario, Work, bits, span
from loadtest.shelf import Place, Shelf
from loadtest.stats import Stats
from loadtest.target import Target, Web
from loadtest.work import Exhausted, Failed, Ground, Worker, needs, worker
from loadtest.work.base import TROUBLES, describe

_BLOCKS = 256
_RETRY = 1.0
"""Seconds before a refused connection is retried."""


class Unprepared(ConfigurationError):
    """The scenario cannot begin with this target; the text says why."""


async def run(
    scenario: Scenario,
    target: Target,
    *,
    acknowledged: Callable[[Instance], None] = lambda instance: None,
    received: Callable[[], int] = lambda: 0,
    began: Callable[[Sequence[Stats]], None] = lambda stats: None,
    places: Sequence[Place] = (),
    source: Source | None = None,
) -> list[Stats]:
    """Do all work; returns the counters of each piece, in order. Failures are counted and never raised.

    `acknowledged` is called for each instance that the server acknowledges, `began` with the counters once the clock
    starts. `places` are existing instances for reading; `source` replaces the scenario's data for storing. Cancellation
    stops everything at once. Raises Unprepared.
    """
    check(scenario, target)
    shelf = Shelf(scenario.seed)
    for place in places:
        shelf.put(place)
    reading = any(work.do in (*READS, "find") or work.keys for work in scenario.work)

    def note(instance: Instance) -> None:
        if reading:
            shelf.add(instance)
        acknowledged(instance)

    ground = Ground(target, BlockPool(_BLOCKS), shelf, note, received)
    for prepare in scenario.prepare:
        await _prepare(scenario, prepare.data, prepare.studies, ground)
    if reading and not shelf and not any(work.do in WRITES for work in scenario.work):
        raise Unprepared("there is nothing to read: `prepare` data in the scenario, or name a server that has some")
    async with _network(scenario, target) as through:
        ground.target = through
        return await _run(scenario, ground, began, source)


def check(scenario: Scenario, target: Target) -> None:
    """Raise Unprepared when the target lacks something that the scenario needs."""
    for work in scenario.work:
        if needs(work) == "dicom" and not target.port:
            raise Unprepared(f"{work.title!r} needs a DICOM node: name one with --to AET@HOST:PORT")
        if needs(work) == "web" and target.web is None:
            raise Unprepared(f"{work.title!r} needs a DICOMweb service: name one with --web URL")
        if work.do == "move" and not target.move_to:
            raise Unprepared(f"{work.title!r} needs a destination that the server knows: name it with --move-to AET")
    if scenario.prepare and not target.port and target.web is None:
        raise Unprepared("there is nothing to prepare: name a server with --to or --web")


async def _prepare(scenario: Scenario, data: str, count: int, ground: Ground) -> None:
    """Store `count` studies. Raises Unprepared on failure."""
    instances = sources.study_size(scenario, data) * count
    do: Kind = "store" if ground.target.port else "stow"
    work = Work(do=do, data=data, count=instances if do == "store" else -(-instances // 10), at_once=4)
    stats = Stats("prepare", do, work.count)
    # A single feed for all connections, so that studies are complete.
    source = sources.source_of(scenario, data)
    feed = itertools.islice(source.feed(0, 1), instances)
    pace = Closed(work.count, None)
    async with asyncio.TaskGroup() as group:
        for _ in range(work.at_once):
            group.create_task(_connection(worker(ground, work, source, feed), pace, stats, ground.target.timeout))
    if stats.failures:
        raise Unprepared(f"the data to be read could not be stored: {next(iter(stats.failures))}")


async def _run(
    scenario: Scenario, ground: Ground, began: Callable[[Sequence[Stats]], None], instead: Source | None
) -> list[Stats]:
    start = time.perf_counter()
    duration = scenario.seconds
    end = None if duration is None else start + duration
    pieces: list[tuple[Work, Pace, Source | None, Stats]] = []
    for at, work in enumerate(scenario.work):
        source = (instead or sources.source_of(scenario, work.data)) if work.do in WRITES else None
        pace = _pace(work, scenario, at, start, end)
        pieces.append((work, pace, source, Stats(work.title, work.do, pace.planned, start)))
    counted = [stats for *_, stats in pieces]
    began(counted)
    async with asyncio.TaskGroup() as group:
        for work, pace, source, stats in pieces:
            group.create_task(_work(work, pace, source, ground, stats))
    return counted


def _pace(work: Work, scenario: Scenario, at: int, start: float, end: float | None) -> Pace:
    begin = start + span(work.start)
    if work.rate is None:
        return Closed(work.count, end, span(work.pause))
    remaining = None if end is None else max(0.0, end - begin)
    chance = random.Random(f"{scenario.seed}.{at}") if work.arrivals == "random" else None
    return Open(arrivals(work.rate, work.count, remaining, work.profile, chance), begin, end)


async def _work(work: Work, pace: Pace, source: Source | None, ground: Ground, stats: Stats) -> None:
    """Run all connections of one piece of work to their end."""
    if (wait := span(work.start)) > 0:
        await asyncio.sleep(wait)
    async with asyncio.TaskGroup() as group:
        for number in range(work.at_once):
            feed = source.feed(number, work.at_once) if source is not None else iter(())
            group.create_task(_connection(worker(ground, work, source, feed), pace, stats, ground.target.timeout))


async def _connection(worker: Worker, pace: Pace, stats: Stats, timeout: float) -> None:
    """Run one connection, reopened when it is lost, as long as there is work and the server accepts it.

    If time and not a count ends the work, a refused connection is retried after a while.
    """
    while not pace.over:
        try:
            async with asyncio.timeout(timeout):
                width = await worker.open()
        except TROUBLES as error:
            stats.trouble(describe(error))
            if pace.planned is not None and not isinstance(pace, Open):
                return
            await asyncio.sleep(_RETRY)
            continue
        lost = False
        try:
            doing = [_operations(worker, pace, stats) for _ in range(width)]
            for outcome in await asyncio.gather(*doing, return_exceptions=True):
                if isinstance(outcome, _Lost):
                    lost = True
                elif isinstance(outcome, BaseException):
                    raise outcome
        except BaseException:
            with contextlib.suppress(*TROUBLES):
                await worker.close(True)
            raise
        try:
            await worker.close(lost)
        except TROUBLES as error:
            stats.trouble(describe(error))
        if not lost:
            return


class _Lost(Exception):
    """The connection is lost. Its operations in progress have been counted as failed."""


async def _operations(worker: Worker, pace: Pace, stats: Stats) -> None:
    while (since := await pace.next()) is not None:
        stats.began(since)
        try:
            await worker.do(stats, since)
        except Exhausted:
            pace.put_back()
            return
        except Failed as failed:
            stats.failure(str(failed))
        except TROUBLES as error:
            stats.failure(describe(error))
            with contextlib.suppress(*TROUBLES):
                await worker.close(True)  # Ends its concurrent operations at once.
            raise _Lost from error


@contextlib.asynccontextmanager
async def _network(scenario: Scenario, target: Target) -> AsyncIterator[Target]:
    """The target as reached through the scenario's network. Raises Unprepared."""
    if (network := scenario.network) is None:
        yield target
        return
    shape = Shape(bits(network.bandwidth), span(network.latency), span(network.jitter), scenario.seed)
    async with contextlib.AsyncExitStack() as stack:
        changes: dict[str, Any] = {}
        if target.port:
            port = await stack.enter_async_context(shaped(target.host, target.port, shape))
            changes |= {"host": "127.0.0.1", "port": port}
        if target.web is not None:
            changes["web"] = await stack.enter_async_context(_shaped_web(target.web, shape))
        yield dataclasses.replace(target, **changes)


@contextlib.asynccontextmanager
async def _shaped_web(web: Web, shape: Shape) -> AsyncIterator[Web]:
    parts = urlsplit(web.url)
    if parts.scheme != "http" or parts.hostname is None:
        raise Unprepared("a shaped network supports http: only; with https: the certificate would name another host")
    async with shaped(parts.hostname, parts.port or 80, shape) as port:
        yield Web(f"http://127.0.0.1:{port}{parts.path}", web.user, web.password, host=parts.netloc)
