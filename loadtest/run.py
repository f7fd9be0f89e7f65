"""A run from its beginning to its end: the ceiling of the generator, the scenario, the server's use of the machine, and
the verification. Its outcome is a `Result`, which `report/` shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from gateway.errors import GatewayError
from loadtest import engine, peers, watch
from loadtest.data import Instance, Source
from loadtest.scenario import Scenario, Work
from loadtest.shelf import Place
from loadtest.sink import Sink, open_sink
from loadtest.stats import Stats, Summary
from loadtest.target import Target, Web
from loadtest.verify import Acknowledged, Verification, VerifyFailed

NEAR_CEILING = 0.8
"""Share of the generator's own ceiling from which a result may be limited by the generator."""
_CEILING_SECONDS = 1.0
_CEILING_KINDS = ("echo", "store", "find", "stow", "qido", "study", "metadata", "frames", "rendered")
_A_PLACE = Place("2.25.1", "2.25.2", "2.25.3", "1.2.840.10008.5.1.4.1.1.2")
"""The instance to read from the sink, which answers for every UID."""


class Ceiling(msgspec.Struct, frozen=True):
    """The ceiling of the generator: its rate at the same work, against a server that answers at once."""

    operations_per_second: float
    megabytes_per_second: float


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one run."""

    title: str
    about: str
    target: str
    began: str
    """ISO 8601, with the offset."""
    seconds: float
    cpus: int
    works: list[Summary]
    ceilings: list[Ceiling | None]
    """The ceiling of each of `works`; None if not measured."""
    usage: watch.Usage | None
    """Processor time and memory of the server; None unless the server is on this machine."""
    verification: Verification | None
    troubles: list[str]
    """Errors that interrupted the run, or that left its outcome unknown."""
    remarks: list[str]
    """Remarks for the reader about how far the figures can be trusted."""

    @property
    def good(self) -> bool:
        """Whether the run finished, without a failure and without a missing instance."""
        failed = any(work.failures for work in self.works)
        return not failed and not self.troubles and (self.verification is None or self.verification.good)


@dataclasses.dataclass(slots=True)
class Options:
    verify: bool = False
    ceiling: bool = False
    pid: int | None = None
    """Process id of the server; without it, the process on this machine that listens on the port is used."""
    budget: int | None = None
    """Bytes of memory that the server may use."""
    listen: tuple[str, int] | None = None
    """Host and port on which instances of a C-MOVE are received."""
    acknowledged: Callable[[Instance], None] | None = None
    began: Callable[[Sequence[Stats]], None] = lambda stats: None
    places: Sequence[Place] = ()
    """Instances that are in the server before the run."""
    source: Source | None = None
    """The instances to store, instead of those that the scenario names."""


async def run(scenario: Scenario, target: Target, options: Options) -> Result:
    """Do a run; if cancelled during the work, return the result so far. Raises Unprepared, NotStarted, OSError."""
    engine.check(scenario, target)
    open_files_to_the_limit()
    troubles: list[str] = []
    ceilings: list[Ceiling | None] = [None] * len(scenario.work)
    if options.ceiling:
        ceilings = await _ceilings(scenario)
    kept = Acknowledged()
    notes = ([kept.add] if options.verify else []) + ([options.acknowledged] if options.acknowledged else [])

    def note(instance: Instance) -> None:
        for each in notes:
            each(instance)

    began = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    counted: list[Stats] = []

    pid = options.pid or _pid(target)
    watching = watch.Watch(pid, options.budget) if pid is not None else None

    def start(stats: Sequence[Stats]) -> None:
        counted.extend(stats)
        if watching is not None:
            watching.start()
        options.began(stats)

    clock = time.perf_counter()
    async with contextlib.AsyncExitStack() as stack:
        sink = Sink()
        if options.listen is not None:
            acceptor = open_sink(*options.listen, sink)
            stack.push_async_callback(acceptor.stop, 0)
        if watching is not None:
            stack.push_async_callback(watching.stop)
        try:
            await engine.run(
                scenario,
                target,
                acknowledged=note,
                received=sink.take_count,
                began=start,
                places=options.places,
                source=options.source,
            )
        except asyncio.CancelledError:
            troubles.append("interrupted before its end")
    seconds = time.perf_counter() - clock
    verification = None
    if options.verify:
        try:
            verification = await kept.verify(target)
        except VerifyFailed as error:
            troubles.append(str(error))
    works = [stats.summary() for stats in counted]
    ceilings = ceilings[: len(works)]  # A run interrupted while it prepares has no works.
    remarks = [remark for work, ceiling in zip(works, ceilings, strict=True) if (remark := near(work, ceiling))]
    return Result(
        title=scenario.title,
        about=scenario.about,
        target=str(target),
        began=began,
        seconds=seconds,
        cpus=os.cpu_count() or 1,
        works=works,
        ceilings=ceilings,
        usage=watching.usage if watching is not None else None,
        verification=verification,
        troubles=troubles,
        remarks=remarks,
    )


def near(work: Summary, ceiling: Ceiling | None) -> str:
    """A warning if a result is so near to the generator's ceiling that the server may be faster; otherwise empty."""
    if ceiling is None or not work.operations:
        return ""
    share = work.operations_per_second / ceiling.operations_per_second if ceiling.operations_per_second else 0.0
    if work.kind in ("study", "metadata", "frames", "rendered"):
        # The sink's answers differ in size from the server's: bytes can be compared, answers cannot.
        share = work.megabytes_per_second / ceiling.megabytes_per_second if ceiling.megabytes_per_second else 0.0
    if share < NEAR_CEILING:
        return ""
    return f"{work.name}: at {share:.0%} of what the generator itself can do; the server may be faster"


def open_files_to_the_limit() -> None:
    """Raise the limit of open files as far as the system allows: every connection is an open file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _ceilings(scenario: Scenario) -> list[Ceiling | None]:
    """Measure each work by itself against the sink, as fast as possible, for `_CEILING_SECONDS`."""
    with tempfile.TemporaryDirectory(prefix="loadtest-") as folder, peers.sink(Path(folder)) as sink:
        return [await ceiling(scenario, work, sink) for work in scenario.work]


async def ceiling(scenario: Scenario, work: Work, sink: peers.Peer) -> Ceiling | None:
    if work.do not in _CEILING_KINDS:
        return None
    free = msgspec.structs.replace(work, count=None, rate=None, start=0.0, pause=0.0, profile=(1.0,))
    alone = msgspec.structs.replace(
        scenario, work=(free,), duration=_CEILING_SECONDS, prepare=(), network=None, title="ceiling"
    )
    target = Target(sink.host, sink.port, sink.aet, web=Web.parse(sink.dicomweb))
    try:
        (stats,) = await engine.run(alone, target, places=[_A_PLACE])
    except GatewayError:
        return None
    summary = stats.summary()
    return Ceiling(summary.operations_per_second, summary.megabytes_per_second) if summary.operations else None


def _pid(target: Target) -> int | None:
    if target.port:
        return watch.listening(target.host, target.port)
    if target.web is not None:
        host, _, port = target.web.url.partition("://")[2].partition("/")[0].rpartition(":")
        return watch.listening(host or port, int(port)) if port.isdigit() else None
    return None
