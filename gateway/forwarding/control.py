"""The view and control of deliveries: pages, destinations, resend, cancel, hold, release.

An action may name an instance, a series, a study or a whole destination. It runs page by page, each page in a
transaction of its own, so that an action on a hundred thousand deliveries blocks no other writer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, get_args

from gateway.config import Settings
from gateway.config.tenants import EVERYBODYS
from gateway.database.database import Database, Query, Script
from gateway.database.view import tenant_of_task
from gateway.errors import BadRequest, NotFound, SharedByTenants
from gateway.forwarding import queries
from gateway.forwarding.table import INCOMPLETE, QUEUE_PREFIX, Delivery, State, deliveries, priority_of, send_again
from gateway.forwarding.verification import verify_again
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
"""The states from which each action is possible; deliveries in any other state are left unchanged."""


@dataclass(frozen=True, slots=True)
class Selection:
    """A choice of deliveries: those that match every field that is set."""

    destination: str = ""
    study: str = ""
    """Public id, like `series` and `instance`. A series needs its study as well."""
    series: str = ""
    instance: str = ""
    state: State | Literal[""] = ""


@dataclass(frozen=True, slots=True)
class DestinationStatus:
    """The state of one destination, with the number of its deliveries in each state."""

    name: str
    configured: bool
    """False for a destination that was removed from the settings and still has deliveries."""
    held: bool
    paused_until: float
    """Seconds since 1970; 0 or past: not paused."""
    failures: int
    """Consecutive attempts in which the destination could not be reached."""
    reason: str
    waiting: int
    sending: int
    held_deliveries: int
    refused: int
    dead: int
    shared: bool = False
    """Whether several tenants use it and one of them asks, who may not hold it for all."""

    def state(self, now: float) -> Literal["held", "unknown", "paused", "active"]:
        """The state as one word."""
        if self.held:
            return "held"
        if not self.configured:
            return "unknown"
        return "paused" if self.paused_until > now else "active"


@dataclass(frozen=True, slots=True)
class Interval:
    """Deliveries to one destination that ended with one outcome in an interval beginning at `at`, seconds since
    1970."""

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
    """The id to pass as `before` for the next page; None on the last page."""


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
        """`wake` tells the job runner that a job may be due."""
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
        """A page of a selection, newest first. `limit` bounds the rows read, so a page may hold fewer."""
        query, parameters = _chosen(selection)
        found = deliveries(await self._database.fetch(query, before, limit, *parameters))
        more = found[-1].id if len(found) == limit else None
        return Page([each for each in found if _fits(each, selection)], more)

    async def queue(self, destination: str, state: State = "waiting", *, limit: int = 100) -> list[Delivery]:
        """The deliveries of a destination that are waiting, being sent or held, in the order of sending."""
        rows = await self._database.fetch(queries.QUEUE, _JOB_STATES[state], QUEUE_PREFIX + destination, limit)
        return deliveries(rows)

    async def destinations(self) -> list[DestinationStatus]:
        """Every destination of the settings, then every removed one that still has deliveries to send."""
        queues = await jobs.list_queues(self._database)
        counts = await jobs.count_queues(self._database, QUEUE_PREFIX)
        configured = self._settings().destinations
        queued = {queue.removeprefix(QUEUE_PREFIX) for queue, _state in counts}
        found = []
        for name in [*configured, *sorted(queued - configured.keys())]:
            queue = queues.get(QUEUE_PREFIX + name, jobs.QueueState(QUEUE_PREFIX + name, False, 0.0, 0, ""))
            lost: dict[str, int] = dict(await self._database.fetch(queries.LOST, name))
            waiting, running, held = (counts.get((queue.name, state), 0) for state in ("waiting", "running", "held"))
            found.append(
                DestinationStatus(
                    name,
                    name in configured,
                    queue.held,
                    queue.paused_until,
                    queue.failures,
                    queue.reason,
                    waiting,
                    running,
                    held,
                    lost.get("refused", 0),
                    lost.get("dead", 0),
                    self._is_shared(name),
                )
            )
        return found

    async def rates(self, since: float, interval: int) -> list[Interval]:
        """The deliveries that ended after `since`, counted in intervals of `interval` seconds."""
        rows = await self._database.fetch(queries.RATES, since, interval)
        return [Interval(name, outcome, number * interval, count, sent) for name, outcome, number, count, sent in rows]

    async def hold_destination(self, name: str) -> None:
        """Hold a destination: start no further delivery until it is released. Deliveries under way continue.

        Raises: NotFound; SharedByTenants, as `release_destination`.
        """
        self._own(name)
        await self._database.write(lambda: jobs.hold_queue(QUEUE_PREFIX + name))

    async def release_destination(self, name: str) -> None:
        """Resume a destination at once, whether it was held or paused for being unreachable."""
        self._own(name)
        await self._database.write(lambda: jobs.release_queue(QUEUE_PREFIX + name))
        self._wake()

    async def verify(self, destination: str, study: str) -> None:
        """Ask a destination now about every instance of a study, by public id, that it has accepted
        (`verification.py`). Raises: NotFound, also where it was sent none."""
        self._known(destination)

        def script() -> Script[bool]:
            if not (yield queries.SENT_OF_STUDY, (study, destination)):
                return False
            yield from verify_again(destination, study, self._clock())
            return True

        if not await self._database.write(script):
            raise NotFound(f"there is no delivery of study {study[:80]} to {destination}")
        self._wake()

    async def act(self, action: Action, selection: Selection) -> int:
        """Apply an action to every delivery of a selection whose state allows the action. Returns the number
        changed."""
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
        """Apply an action to one delivery. False where the state of the delivery does not allow the action."""
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

    def _own(self, name: str) -> None:
        self._known(name)
        if self._is_shared(name):
            raise SharedByTenants(f"destination {name} is there for every tenant, and not for one to hold or release")

    def _is_shared(self, name: str) -> bool:
        destination = self._settings().destinations.get(name)
        return bool(tenant_of_task()) and destination is not None and destination.tenant == EVERYBODYS


def hold_incomplete(instance: str, lacking: str, settings: Settings) -> Script[None]:
    """Hold the waiting deliveries of an instance, by public id, that was found to be incomplete.

    Deliveries of a rule with `incomplete = "send"` go on.
    """
    for delivery in deliveries((yield queries.OF_INSTANCE, (2**62, _PAGE, instance))):
        rule = settings.rules.get(delivery.rule)
        if delivery.state == "waiting" and (rule is None or rule.incomplete == "hold"):
            yield from jobs.hold_job(delivery.job, INCOMPLETE.format(lacking))


def _chosen(selection: Selection) -> tuple[Query, tuple[str, ...]]:
    """The query that reads the fewest rows among which the selection lies."""
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
