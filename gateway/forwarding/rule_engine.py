"""The rule engine: the deliveries that rules add in the transaction of an instance.

`gateway.routing` decides before the transaction which rules match. A rule about a whole series or study only moves a
timer here; `stability.py` adds its deliveries.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import msgspec

from gateway import tracing
from gateway.config import Settings
from gateway.config.routes import Rule
from gateway.dicom.encode import DataSet
from gateway.edit.change_set import ChangeSet
from gateway.forwarding.outbox import OutboxEntry
from gateway.forwarding.table import DeliveryTarget
from gateway.index.record import InstanceRecord
from gateway.index.store import FileLocation, Origin
from gateway.ingest.header_scan import WantedTags, wanted_tags
from gateway.routing.conditions import Facts
from gateway.routing.router import Router


class DeliveryPlan(NamedTuple):
    """The deliveries that the rules want of one instance."""

    targets: tuple[DeliveryTarget, ...]
    """Its own deliveries."""
    stability_rules: Mapping[str, Rule]
    """The rules, by name, that wait for its series or study to be stable."""


NO_PLAN: Final = DeliveryPlan((), {})


class CompiledRules:
    """The rules and change sets of one settings snapshot, compiled.

    Blocks: reads the files that change sets name. Raises: ConfigurationError with the place of the problem.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.router = Router(settings.rules)
        self.change_sets = {name: ChangeSet.build(name, section) for name, section in settings.changes.items()}
        content = [
            settings.rules,
            settings.destinations,
            {name: each.version for name, each in self.change_sets.items()},
        ]
        self.generation = hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()[:12]

    def targets(self, name: str, rule: Rule, calling_aet: str) -> list[DeliveryTarget]:
        """The targets of a rule for an instance from `calling_aet`, without the destination that is this origin."""
        return [
            DeliveryTarget(
                destination,
                rule.changes,
                name,
                rule.priority + self.settings.destinations[destination].priority,
                rule.newest_first,
                self.generation,
                rule.incomplete == "hold",
            )
            for destination in rule.destinations
            if not self.is_origin(destination, calling_aet)
        ]

    def plan(self, facts: Facts) -> DeliveryPlan:
        """Plan the deliveries that the rules want of an instance."""
        targets: dict[tuple[str, str], DeliveryTarget] = {}
        stability_rules: dict[str, Rule] = {}
        for name, rule in self.router.route(facts):
            if rule.each == "instance":
                for target in self.targets(name, rule, facts.calling_aet):
                    targets.setdefault((target.destination, target.changes), target)
            elif rule.destinations:
                stability_rules[name] = rule
        return DeliveryPlan(tuple(targets.values()), stability_rules)

    def is_origin(self, destination: str, calling_aet: str) -> bool:
        """Whether a destination is the node with this calling AE title."""
        modality = self.settings.modalities.get(getattr(self.settings.destinations[destination], "modality", ""))
        return modality is not None and bool(calling_aet) and modality.aet.strip() == calling_aet.strip()


def facts_of(origin: Origin, attributes: DataSet) -> Facts:
    """The inputs of rules for an instance of that origin."""
    sender = origin.calling_aet, origin.called_aet, origin.peer, origin.via, origin.received_at
    return Facts(*sender, attributes, origin.tenant)


class RuleEngine:
    """Applies the rules of the current settings to each instance."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        *,
        wake: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`wake` tells the job runner that a job may be due."""
        self._settings = settings
        self._clock = clock
        self._compiled: CompiledRules | None = None
        self.wake = wake

    def read_from(self, settings: Callable[[], Settings]) -> None:
        """Read the current settings from here on with what was added to the configuration, once that is known."""
        self._settings = settings

    def use(self, compiled: CompiledRules) -> None:
        """Install the rules compiled, in a thread, for the next settings snapshot."""
        self._compiled = compiled

    @property
    def compiled(self) -> CompiledRules:
        """The compiled rules of the current settings. Blocks unless `use` has installed them."""
        settings = self._settings()
        if self._compiled is None or self._compiled.settings is not settings:
            self._compiled = CompiledRules(settings)
        return self._compiled

    @property
    def wanted_tags(self) -> WantedTags:
        """The tags to decode from each header for the conditions of the rules."""
        return wanted_tags(self.compiled.router.wanted)

    def follow(
        self, record: InstanceRecord, placement: FileLocation, origin: Origin, attributes: DataSet
    ) -> OutboxEntry:
        """The outbox entry of an instance that is about to be committed."""
        compiled = self.compiled
        waits = origin.via == "inbox"  # `acceptance.py` asks the rules, once a person has accepted it.
        plan = NO_PLAN if waits or not compiled.router else compiled.plan(facts_of(origin, attributes))
        return OutboxEntry(*plan, waits, self._clock, tracing.traceparent() if plan.targets else "")

    def committed(self) -> None:
        """Wake the job runner after a commit, where there are rules that may have added a job."""
        if self.compiled.router:
            self.wake()
