"""What no single field of rules and destinations shows: names that lead nowhere, ranges.

Whether an attribute is one, or an expression, is found by who makes a rule ready (`gateway.routing`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from gateway.config.destination_checks import destination_mistakes
from gateway.config.destinations import DicomDestination
from gateway.config.guess import did_you_mean
from gateway.config.sections import Settings
from gateway.errors import ConfigurationError


def check_routes(settings: Settings) -> None:
    """Each text names the place and says what to do."""
    for place, what in route_mistakes(settings):
        raise ConfigurationError(f"{place}: {what}")


def route_mistakes(settings: Settings, known: Collection[tuple[str, str]] = frozenset()) -> Iterator[tuple[str, str]]:
    """Place and text of every mistake. `known` are tables, by section and name, that are there though `settings` have
    them not: they are wrong themselves.
    """

    def missing(section: str, name: str, there: Collection[str]) -> bool:
        return name not in there and (section, name) not in known

    for name, destination in settings.destinations.items():
        yield from destination_mistakes(name, destination)
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
            yield place, "it does nothing: name destinations, or set last = true"


def _meant(name: str, there: Iterable[str]) -> str:
    return did_you_mean(name, there) or "; add it"
