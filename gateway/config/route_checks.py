"""Checks of rules and destinations that no single field allows: names that do not exist, ranges.

`gateway.routing` checks attributes and expressions when it compiles a rule.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from gateway.config.destination_checks import destination_problems
from gateway.config.destinations import DicomDestination
from gateway.config.sections import Settings
from gateway.config.suggestion import did_you_mean


def route_problems(settings: Settings, known: Collection[tuple[str, str]] = frozenset()) -> Iterator[tuple[str, str]]:
    """Yield place and text of every problem.

    `known` are tables, by section and name, that exist but are missing in `settings` because they have problems
    themselves.
    """

    def missing(section: str, name: str, there: Collection[str]) -> bool:
        return name not in there and (section, name) not in known

    for name, destination in settings.destinations.items():
        yield from destination_problems(name, destination)
        if isinstance(destination, DicomDestination):
            wanted = destination.modality
            if missing("modalities", wanted, settings.modalities):
                yield (
                    f"destinations.{name}.modality",
                    f"there is no [modalities.{wanted}]{_meant(wanted, settings.modalities)}",
                )
            elif wanted in settings.modalities and not settings.modalities[wanted].port:
                yield (
                    f"destinations.{name}.modality",
                    f"{wanted!r} cannot be called; set modalities.{wanted}.host and .port",
                )
    for name, rule in settings.rules.items():
        place = f"rules.{name}"
        for wanted in rule.destinations:
            if missing("destinations", wanted, settings.destinations):
                yield (
                    f"{place}.destinations",
                    f"there is no [destinations.{wanted}]{_meant(wanted, settings.destinations)}",
                )
        if rule.changes and missing("changes", rule.changes, settings.changes):
            yield f"{place}.changes", f"there is no [changes.{rule.changes}]{_meant(rule.changes, settings.changes)}"
        if rule.stable_after <= 0:
            yield f"{place}.stable_after", f"{rule.stable_after} must be more than 0 seconds"
        if not rule.destinations and not rule.last:
            yield place, "the rule does nothing: name destinations, or set last = true"


def _meant(name: str, there: Iterable[str]) -> str:
    return did_you_mean(name, there) or "; add it"
