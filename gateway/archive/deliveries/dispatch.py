"""What begins when an instance is stored: the deliveries that rules ask for, in the transaction of the instance itself.

Which rules match is asked of `gateway.routing` before that transaction. Rules about whole series and studies only move
a moment here; what happens then is in `settling.py`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from gateway.archive.deliveries import queries
from gateway.archive.deliveries.table import Deliverable, Wish, add_delivery, supersede
from gateway.archive.heading import INDEX, LookedFor, looked_for
from gateway.config import Settings
from gateway.config.routes import Rule
from gateway.database.database import Script
from gateway.dicom.encode import DataSet
from gateway.edit.change_set import ChangeSet
from gateway.index.locate import START, Located
from gateway.index.record import InstanceRecord
from gateway.index.store import Origin, Placement, Stored
from gateway.jobs.table import add_job, move_jobs
from gateway.routing.conditions import Facts
from gateway.routing.router import Router

SETTLING: Final = "settling"
"""Kind and lane of the jobs that wait until a series or study has no more news."""

Follow = Callable[[Stored], Script[None]]
"""What else the transaction of an instance does, once it is entered."""


class Routes:
    """The rules and changes of one snapshot of the settings, made ready. Raises ConfigurationError, with the place.

    Reads the files that changes name, so it blocks.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.router = Router(settings.rules)
        self.looked_for: LookedFor = looked_for(self.router.wanted) if self.router.wanted else INDEX
        self.change_sets = {name: ChangeSet.build(name, section) for name, section in settings.changes.items()}
        said = [settings.rules, settings.destinations, {name: each.version for name, each in self.change_sets.items()}]
        self.generation = hashlib.sha256(msgspec.json.encode(said, order="sorted")).hexdigest()[:12]

    def wishes(self, name: str, rule: Rule, calling_aet: str) -> list[Wish]:
        """Where a rule sends what this application entity brought: not back to it."""
        return [
            Wish(
                destination,
                rule.changes,
                name,
                rule.priority + self.settings.destinations[destination].priority,
                rule.newest_first,
                self.generation,
            )
            for destination in rule.destinations
            if not self.is_origin(destination, calling_aet)
        ]

    def is_origin(self, destination: str, calling_aet: str) -> bool:
        """Whether a destination is the node that calls itself so."""
        modality = self.settings.modalities.get(getattr(self.settings.destinations[destination], "modality", ""))
        return modality is not None and bool(calling_aet) and modality.aet.strip() == calling_aet.strip()


class Dispatch:
    """Asks the rules of now about each instance."""

    def __init__(self, settings: Callable[[], Settings], *, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._routes: Routes | None = None
        self.wake: Callable[[], None] = lambda: None
        """Tells the runner of jobs that there is something to do."""

    def use(self, routes: Routes) -> None:
        """Those that a thread has made ready for the snapshot to come."""
        self._routes = routes

    @property
    def routes(self) -> Routes:
        """Those of the snapshot of now. Blocks where `use` has not brought them."""
        settings = self._settings()
        if self._routes is None or self._routes.settings is not settings:
            self._routes = Routes(settings)
        return self._routes

    @property
    def looked_for(self) -> LookedFor:
        """What has to be picked of each header."""
        return self.routes.looked_for

    def follow(
        self, record: InstanceRecord, placement: Placement, origin: Origin, attributes: DataSet
    ) -> Follow | None:
        """What the rules want done with an instance that is about to be stored."""
        routes = self.routes
        if not routes.router:
            return _supersede(record, self._clock)
        facts = Facts(origin.calling_aet, origin.called_aet, origin.peer, origin.via, origin.received_at, attributes)
        wishes: dict[tuple[str, str], Wish] = {}
        settling: dict[str, Rule] = {}
        for name, rule in routes.router.route(facts):
            if rule.each == "instance":
                for wish in routes.wishes(name, rule, origin.calling_aet):
                    wishes.setdefault((wish.destination, wish.changes), wish)
            elif rule.destinations:
                settling[name] = rule
        if not wishes and not settling:
            return _supersede(record, self._clock)

        def script(stored: Stored) -> Script[None]:
            now = self._clock()
            if stored.version > 1:
                yield from supersede(record.public_id, stored.version, now)
            if wishes:
                item = yield from _item(record, placement, origin, stored.version, wishes.values())
                for wish in wishes.values():
                    yield from add_delivery(wish, item, now)
            for name, rule in settling.items():
                yield from _settle_later(name, rule, record, now)

        return script


def _supersede(record: InstanceRecord, clock: Callable[[], float]) -> Follow:
    def script(stored: Stored) -> Script[None]:
        if stored.version > 1:
            yield from supersede(record.public_id, stored.version, clock())

    return script


def _item(
    record: InstanceRecord, placement: Placement, origin: Origin, version: int, wishes: Iterable[Wish]
) -> Script[Deliverable]:
    parents = record.parents
    began = origin.received_at
    if any(wish.newest_first for wish in wishes):
        ((began,),) = yield queries.STUDY_BEGAN, (parents.study_public_id,)
    located = Located(
        0,
        parents.study_instance_uid,
        parents.series_instance_uid,
        record.sop_instance_uid,
        record.sop_class_uid,
        placement.transfer_syntax_uid,
        placement.key,
        placement.size,
        placement.data_set_offset,
        version,
        START,
    )
    return Deliverable(
        located,
        parents.study_public_id,
        parents.series_public_id,
        record.public_id,
        origin.calling_aet,
        began,
        origin.received_at,
        origin.via,
        origin.called_aet,
        origin.peer,
    )


def _settle_later(name: str, rule: Rule, record: InstanceRecord, now: float) -> Script[None]:
    """There is news of a series or study that a rule waits for: it waits anew."""
    whole = record.parents.study_public_id if rule.each == "study" else record.parents.series_public_id
    chain, due = f"{SETTLING}:{whole}:{name}", now + rule.stable_after
    if not (yield from move_jobs(chain, due)):
        payload = {"rule": name, "level": rule.each, "id": whole}
        yield from add_job(SETTLING, payload, now, chain=chain, due_at=due)
