"""What begins when an instance is stored: the deliveries that rules ask for, in the transaction of the instance itself.

Which rules match is asked of `gateway.routing` before that transaction. Rules about whole series and studies only move
a moment here; what happens then is in `settling.py`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

import msgspec

from gateway.archive.deliveries.following import Following
from gateway.archive.deliveries.table import Wish
from gateway.archive.heading import INDEX, LookedFor, looked_for
from gateway.config import Settings
from gateway.config.routes import Rule
from gateway.dicom.encode import DataSet
from gateway.edit.change_set import ChangeSet
from gateway.index.record import InstanceRecord
from gateway.index.store import Origin, Placement
from gateway.routing.conditions import Facts
from gateway.routing.router import Router


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

    def follow(self, record: InstanceRecord, placement: Placement, origin: Origin, attributes: DataSet) -> Following:
        """What the rules want done with an instance that is about to be stored."""
        routes = self.routes
        if not routes.router:
            return Following(record, placement, origin, (), {}, self._clock)
        facts = Facts(origin.calling_aet, origin.called_aet, origin.peer, origin.via, origin.received_at, attributes)
        wishes: dict[tuple[str, str], Wish] = {}
        settling: dict[str, Rule] = {}
        for name, rule in routes.router.route(facts):
            if rule.each == "instance":
                for wish in routes.wishes(name, rule, origin.calling_aet):
                    wishes.setdefault((wish.destination, wish.changes), wish)
            elif rule.destinations:
                settling[name] = rule
        return Following(record, placement, origin, tuple(wishes.values()), settling, self._clock)
