"""One worker among the others: balancing of connections, limits over all workers, and totals of all workers.

Messages to and from the parent belong to `gateway/workers/`; here they are callables.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import msgspec

from gateway import telemetry
from gateway.net.association_record import AssociationRecord
from gateway.net.associations import OpenAssociations, read_records
from gateway.net.session import AssociationStatus
from gateway.processes.board import DICOM, HTTP, MAX_REPORT_BYTES, Scoreboard
from gateway.processes.sockets import Sockets

log = logging.getLogger(__name__)

_STEP_S = 0.002
"""Delay of a new connection for each connection more than the least busy worker has: 8 associations fell 4:4."""
_MAX_DELAY_S = 0.05
_REPORT_EVERY_S = 0.5
"""Seconds between reports to the other workers."""
_MAX_REPORTED = 2000
"""Associations in one worker's report."""


class WorkerReport(msgspec.Struct):
    """The report of a worker to the others."""

    bytes: float = 0.0
    instances: float = 0.0
    associations: list[AssociationStatus] = []
    records: list[msgspec.Raw] = []
    """Records of open and ended associations (`net/associations.py`)."""


class Turn:
    """The balancer of one kind of connection among workers: a `net.accepting.AcceptBalancer`."""

    def __init__(self, board: Scoreboard, kind: int) -> None:
        self._board = board
        self._kind = kind
        self._held = 0

    def note(self, held: int) -> None:
        self._held = held
        self._board.note(self._kind, held)

    def delay(self) -> float:
        least = min(self._board.others(self._kind), default=self._held)
        return min(_MAX_DELAY_S, _STEP_S * max(0, self._held - least))


@dataclass(slots=True)
class Group:
    """Worker `number`, from 1, of `count`, with the means to act as one gateway with the others."""

    number: int
    count: int
    board: Scoreboard
    sockets: Sockets
    failures: list[str]
    """The failures of durability known when this worker started."""
    report_failure: Callable[[str], None]
    """Reports to the others, through the parent, that this worker can no longer store durably."""
    report_job: Callable[[], None]
    """Wakes the worker that runs the jobs: a job has been added."""
    report_systems: Callable[[], None] = lambda: None
    """Tells the other workers that a system was added, changed or removed over REST."""
    report_verbosity: Callable[[str, str], None] = telemetry.set_verbosity
    """Sets how much all workers log, of a category or ('') of all."""
    main_process: int = field(default_factory=os.getpid)
    """The process that takes the signals for all."""
    open_associations: OpenAssociations = field(default_factory=OpenAssociations)
    """The associations of this worker."""
    _soon: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def does_jobs(self) -> bool:
        """Whether this worker runs the jobs. One runs all: so connections and bandwidth of a destination are counted in
        one place."""
        return self.number == 1

    def numbers_after(self, last: int) -> Iterator[int]:
        """The numbers of this worker's associations, above that of an earlier run; no two workers share a number."""
        return itertools.count(-(-last // self.count) * self.count + self.number, self.count)

    @property
    def dicom_turns(self) -> Turn:
        """The balancer of DICOM connections."""
        return Turn(self.board, DICOM)

    @property
    def web_turns(self) -> Turn:
        """The balancer of HTTP connections."""
        return Turn(self.board, HTTP)

    def association_slots(self) -> AbstractContextManager[Counter[str]]:
        """The open associations of all workers, as `scp.admission.Seats` wants them."""
        self._soon.set()
        return self.board.association_slots(self.open_associations.established())

    def changed(self) -> None:
        """Enter this worker's associations again: one has ended."""
        self.board.enter(self.open_associations.established())
        self._soon.set()

    def all_associations(self) -> list[AssociationStatus]:
        """The associations of all workers; those of other workers as of their last report."""
        associations = [
            *self.open_associations.statuses(),
            *(each for report in self._reports() for each in report.associations),
        ]
        return sorted(associations, key=lambda each: each.since)

    def all_records(self) -> list[AssociationRecord]:
        """The records of all workers, newest first; those of other workers as of their last report."""
        raw = [*self.open_associations.records(), *(each for report in self._reports() for each in report.records)]
        return read_records(raw)

    def intake(self) -> tuple[float, float]:
        """Bytes and instances received by all living workers."""
        own, instances = telemetry.intake()
        others = self._reports()
        return own + sum(each.bytes for each in others), instances + sum(each.instances for each in others)

    def _reports(self) -> list[WorkerReport]:
        reports = []
        for data in self.board.reports():
            with contextlib.suppress(msgspec.DecodeError):  # The worker was killed while writing.
                reports.append(msgspec.json.decode(data, type=WorkerReport))
        return reports

    async def report_forever(self) -> None:
        """WorkerReport to the other workers, soon after associations begin or end, for ever."""
        while True:
            open_now = self.open_associations
            records = list(map(msgspec.Raw, open_now.records()))
            report = WorkerReport(*telemetry.intake(), open_now.statuses()[:_MAX_REPORTED], records)
            data = msgspec.json.encode(report)
            if len(data) > MAX_REPORT_BYTES:
                data = msgspec.json.encode(msgspec.structs.replace(report, associations=[]))
            self.board.report(data)
            self._soon.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_REPORT_EVERY_S):
                    await self._soon.wait()
            await asyncio.sleep(0.02)
