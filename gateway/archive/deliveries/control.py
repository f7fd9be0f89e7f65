"""What a person sees of deliveries and does about them: pages of them, destinations, resend, cancel, hold, release.

A request may be about an instance, a series, a study or a whole destination; it is done page by page, each in a
transaction of its own, so that a hundred thousand of them block nobody.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, get_args

from gateway.archive.deliveries import queries
from gateway.archive.deliveries.proof import prove_again
from gateway.archive.deliveries.table import LANE, Delivery, State, deliveries, priority_of, send_again
from gateway.config import Settings
from gateway.database.database import Database, Query, Script
from gateway.errors import BadRequest, NotFound
from gateway.jobs import table as jobs

_PAGE: Final = 500
STATES: Final[tuple[State, ...]] = get_args(State)
_JOB_STATES: Final = {"waiting": "waiting", "sending": "running", "held": "held"}

Action = Literal["resend", "cancel", "hold", "release"]
ACTIONS: Final[dict[Action, frozenset[State]]] = {
    "resend": frozenset({"delivered", "refused", "dead", "cancelled", "waiting"}),
    "cancel": frozenset({"waiting", "sending", "held"}),
    "hold": frozenset({"waiting", "sending"}),
    "release": frozenset({"held"}),
}
"""What may be done to deliveries in which states; others are left as they are."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which deliveries: all that fit every field that is set."""

    destination: str = ""
    study: str = ""
    """Public id, as the two after it; with a series its study is named too."""
    series: str = ""
    instance: str = ""
    state: State | Literal[""] = ""


@dataclass(frozen=True, slots=True)
class DestinationStatus:
    """How it stands with a destination."""

    name: str
    configured: bool
    """False where only deliveries are left of it."""
    held: bool
    paused_until: float
    """Seconds since 1970; 0 or past: not paused."""
    failures: int
    """How often in a row nobody answered there."""
    reason: str
    waiting: int
    sending: int
    held_deliveries: int
    refused: int
    dead: int

    def state(self, now: float) -> Literal["held", "unknown", "paused", "active"]:
        """In a word."""
        if self.held:
            return "held"
        if not self.configured:
            return "unknown"
        return "paused" if self.paused_until > now else "active"


@dataclass(frozen=True, slots=True)
class Stretch:
    """What ended in a stretch of time, which begins at `at`, seconds since 1970."""

    destination: str
    outcome: str
    at: float
    count: int
    sent: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Page:
    deliveries: list[Delivery]
    before: int | None
    """Where the next page begins; None where there is none."""


class Deliveries:
    """The deliveries of one gateway."""

    def __init__(
        self,
        database: Database,
        settings: Callable[[], Settings],
        *,
        wake: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`wake` tells the runner of jobs that there is something to do."""
        self._database = database
        self._settings = settings
        self._wake = wake
        self._clock = clock

    async def get(self, number: int) -> Delivery:
        rows = await self._database.fetch(queries.GET, number)
        if not rows:
            raise NotFound(f"there is no delivery {number}")
        return Delivery(*rows[0])

    async def page(self, selection: Selection, *, before: int = 2**62, limit: int = 100) -> Page:
        """A page, newest first, out of `limit` that were looked at."""
        query, parameters = _chosen(selection)
        found = deliveries(await self._database.fetch(query, before, limit, *parameters))
        more = found[-1].id if len(found) == limit else None
        return Page([each for each in found if _fits(each, selection)], more)

    async def queue(self, destination: str, state: State = "waiting", *, limit: int = 100) -> list[Delivery]:
        """Those that are waiting, being sent or held, in the order in which they will go."""
        rows = await self._database.fetch(queries.QUEUE, _JOB_STATES[state], LANE + destination, limit)
        return deliveries(rows)

    async def destinations(self) -> list[DestinationStatus]:
        """Those of the settings, and those that are not in them any more but still have something to be sent."""
        lanes = await jobs.list_lanes(self._database)
        counts = await jobs.count_lanes(self._database, LANE)
        configured = self._settings().destinations
        left = {lane.removeprefix(LANE) for lane, _state in counts}
        found = []
        for name in [*configured, *sorted(left - configured.keys())]:
            lane = lanes.get(LANE + name, jobs.Lane(LANE + name, False, 0.0, 0, ""))
            lost: dict[str, int] = dict(await self._database.fetch(queries.LOST, name))
            waiting, running, held = (counts.get((lane.name, state), 0) for state in ("waiting", "running", "held"))
            found.append(
                DestinationStatus(
                    name,
                    name in configured,
                    lane.held,
                    lane.paused_until,
                    lane.failures,
                    lane.reason,
                    waiting,
                    running,
                    held,
                    lost.get("refused", 0),
                    lost.get("dead", 0),
                )
            )
        return found

    async def rates(self, since: float, stretch: float) -> list[Stretch]:
        """What ended since a moment, counted in stretches of so many seconds."""
        rows = await self._database.fetch(queries.RATES, since, stretch)
        return [Stretch(name, outcome, number * stretch, count, sent) for name, outcome, number, count, sent in rows]

    async def hold_destination(self, name: str) -> None:
        """Send nothing more to a destination until it is released; what is being sent goes on."""
        self._known(name)
        await self._database.write(lambda: jobs.hold_lane(LANE + name))

    async def release_destination(self, name: str) -> None:
        """Go on at once, whether it was held or paused because nobody answered."""
        self._known(name)
        await self._database.write(lambda: jobs.release_lane(LANE + name))
        self._wake()

    async def prove(self, destination: str, study: str) -> None:
        """Ask a destination now about everything of a study, by public id, that it has taken (`proof.py`)."""
        self._known(destination)
        await self._database.write(lambda: prove_again(destination, study, self._clock()))
        self._wake()

    async def act(self, action: Action, selection: Selection) -> int:
        """Do it to every delivery of a selection that is in a state for it; how many."""
        if selection == Selection():
            raise BadRequest("say which deliveries: name a destination, a study, a series or an instance")
        query, parameters = _chosen(selection)
        before, changed = 2**62, 0
        while found := deliveries(await self._database.fetch(query, before, _PAGE, *parameters)):
            before = found[-1].id
            some = [each.id for each in found if _fits(each, selection) and each.state in ACTIONS[action]]
            changed += await self._database.write(lambda some=some: self._act(action, some))  # type: ignore[misc]
            self._wake()
        return changed

    async def act_on(self, action: Action, number: int) -> bool:
        """Do it to one delivery. False where it is in no state for that."""
        await self.get(number)
        changed = await self._database.write(lambda: self._act(action, [number]))
        self._wake()
        return bool(changed)

    def _act(self, action: Action, numbers: list[int]) -> Script[int]:
        changed, now = 0, self._clock()
        for number in numbers:
            rows = yield queries.GET, (number,)
            if rows and Delivery(*rows[0]).state in ACTIONS[action]:
                yield from self._change(action, Delivery(*rows[0]), now)
                changed += 1
        return changed

    def _change(self, action: Action, delivery: Delivery, now: float) -> Script[None]:
        if action == "cancel":
            yield from jobs.cancel_job(delivery.job, now)
            yield queries.CANCEL, (delivery.id, now, "cancelled by hand")
        elif action == "hold":
            yield from jobs.hold_job(delivery.job)
        elif delivery.state in ("waiting", "held"):
            yield from jobs.release_job(delivery.job, now)
        else:
            yield from send_again(delivery, priority_of(delivery, self._settings()), now)

    def _known(self, name: str) -> None:
        if name not in self._settings().destinations:
            raise NotFound(f"there is no destination {name}")


def _chosen(selection: Selection) -> tuple[Query, tuple[str, ...]]:
    """The statement that finds the least of what may fit."""
    if selection.instance:
        return queries.OF_INSTANCE, (selection.instance,)
    if selection.series and selection.study:
        return queries.OF_SERIES, (selection.study, selection.series)
    if selection.study:
        return queries.OF_STUDY, (selection.study,)
    if selection.series:
        raise BadRequest("name the study of the series too")
    if selection.destination:
        if selection.state:
            outcome = "" if selection.state in _JOB_STATES else selection.state
            return queries.OF_OUTCOME, (selection.destination, outcome)
        return queries.OF_DESTINATION, (selection.destination,)
    return queries.ALL, ()


def _fits(delivery: Delivery, selection: Selection) -> bool:
    return selection.destination in ("", delivery.destination) and selection.state in ("", delivery.state)
