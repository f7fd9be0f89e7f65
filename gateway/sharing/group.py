"""One worker's place among the others: turns at connections, limits that hold for all, and what all together hold.

Messages to and from the parent are `gateway/workers/`'s; here they are callables.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import msgspec

from gateway import telemetry
from gateway.net.session import AssociationStatus
from gateway.sharing.board import DICOM, HTTP, LONGEST_REPORT, Board

log = logging.getLogger(__name__)

_STEP = 0.002
"""Seconds that a connection is left to the others for each that we hold more: with it 8 associations fell 4:4."""
_LONGEST = 0.05
_EVERY = 0.5
"""Seconds between reports to the others."""
_MOST_TOLD = 2000
"""Associations that one worker tells of."""


class Report(msgspec.Struct):
    """What a worker tells the others."""

    bytes: float = 0.0
    instances: float = 0.0
    associations: list[AssociationStatus] = []


class Turn:
    """The turns of one kind of connection; as `net.accepting.Turns`."""

    def __init__(self, board: Board, kind: int) -> None:
        self._board = board
        self._kind = kind
        self._held = 0

    def note(self, held: int) -> None:
        self._held = held
        self._board.note(self._kind, held)

    def delay(self) -> float:
        least = min(self._board.others(self._kind), default=self._held)
        return min(_LONGEST, _STEP * max(0, self._held - least))


@dataclass(slots=True)
class Group:
    """Worker `number`, from 1, of `count`."""

    number: int
    count: int
    board: Board
    dicom: socket.socket
    tls: socket.socket | None
    web: socket.socket
    failures: list[str]
    """Why the gateway could vouch for nothing when we were started."""
    tell_failure: Callable[[str], None]
    """Tells the others, by way of the parent, that we can vouch for nothing any more."""
    tell_jobs: Callable[[], None]
    """Tells the worker that does the jobs that there is one more."""
    wake_jobs: Callable[[], None] = lambda: None
    """We are that worker, and have been told."""
    associations: Callable[[], list[AssociationStatus]] = list
    established: Callable[[], Counter[str]] = Counter
    _soon: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def does_jobs(self) -> bool:
        """One does them for all: so connections to a destination and its bandwidth are counted in one place."""
        return self.number == 1

    @property
    def numbers(self) -> Iterator[int]:
        """What our associations are called, so that no two of different workers are called alike."""
        return itertools.count(self.number, self.count)

    @property
    def dicom_turns(self) -> Turn:
        """Whose turn it is at an association."""
        return Turn(self.board, DICOM)

    @property
    def web_turns(self) -> Turn:
        """Whose turn it is at a connection to the web."""
        return Turn(self.board, HTTP)

    def seats(self) -> AbstractContextManager[Counter[str]]:
        """As `scp.admission.Seats`, over all workers."""
        self._soon.set()
        return self.board.seats(self.established())

    def changed(self) -> None:
        """An association of ours has ended."""
        self.board.enter(self.established())
        self._soon.set()

    def all_associations(self) -> list[AssociationStatus]:
        """Those of all workers, the others' as of their last report."""
        found = [*self.associations(), *(each for report in self._reports() for each in report.associations)]
        return sorted(found, key=lambda each: each.since)

    def intake(self) -> tuple[float, float]:
        """Bytes and instances taken in by all workers that are alive."""
        own, instances = telemetry.intake()
        others = self._reports()
        return own + sum(each.bytes for each in others), instances + sum(each.instances for each in others)

    def _reports(self) -> list[Report]:
        found = []
        for data in self.board.reports():
            with contextlib.suppress(msgspec.DecodeError):  # it was killed while it wrote
                found.append(msgspec.json.decode(data, type=Report))
        return found

    async def keep_reporting(self) -> None:
        """Report to the others, soon where associations come and go, for ever."""
        while True:
            report = Report(*telemetry.intake(), self.associations()[:_MOST_TOLD])
            data = msgspec.json.encode(report)
            if len(data) > LONGEST_REPORT:
                data = msgspec.json.encode(msgspec.structs.replace(report, associations=[]))
            self.board.report(data)
            self._soon.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EVERY):
                    await self._soon.wait()
            await asyncio.sleep(0.02)
