"""What no single field of rules and destinations shows: names that lead nowhere, ranges.

Whether an attribute is one, or an expression, is found by who makes a rule ready (`gateway.routing`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from gateway.config.sections import Settings
from gateway.errors import ConfigurationError


def check_routes(settings: Settings) -> None:
    """Each text names the place and says what to do."""
    for name, destination in settings.destinations.items():
        place = f"destinations.{name}"
        for field in ("connections", "attempts", "retry_after", "retry_longest", "prove_after"):
            if getattr(destination, field) <= 0:
                raise ConfigurationError(f"{place}.{field}: {getattr(destination, field)} must be more than 0")
        if destination.bandwidth < 0:
            raise ConfigurationError(f"{place}.bandwidth: {destination.bandwidth} must not be negative")
        modality = settings.modalities.get(destination.modality)
        if modality is None or not modality.port:
            raise ConfigurationError(
                f"{place}.modality: {destination.modality!r} needs [modalities.{destination.modality}] with aet, host "
                f"and port{_meant(destination.modality, settings.modalities)}"
            )
    for name, rule in settings.rules.items():
        place = f"rules.{name}"
        for wanted in rule.destinations:
            if wanted not in settings.destinations:
                raise ConfigurationError(
                    f"{place}.destinations: there is no [destinations.{wanted}]{_meant(wanted, settings.destinations)}"
                )
        if rule.changes:
            raise ConfigurationError(f"{place}.changes: there is no [changes.{rule.changes}]")
        if rule.stable_after <= 0:
            raise ConfigurationError(f"{place}.stable_after: {rule.stable_after} must be more than 0")
        if not rule.destinations and not rule.last:
            raise ConfigurationError(f"{place}: does nothing: name destinations, or set last = true")


def _meant(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""
