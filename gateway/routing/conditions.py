"""The conditions of a rule, compiled: each holds for an instance, or says in words why not.

Regular expressions are RE2's, whose time is linear in the value: the rules are ours, the values are not.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol, get_args

import re2

from gateway.config import as_network
from gateway.config.routes import AttributeTest, Day
from gateway.config.tenants import EVERYBODYS
from gateway.dicom.encode import BINARY, NUMBERS, Attribute, DataSet
from gateway.dicom.path import AttributePath
from gateway.errors import BadRequest, ConfigurationError
from gateway.index.compare import wild_pattern
from gateway.index.values import comparable_name
from gateway.routing.hours import Hours

_DAYS: Final[tuple[str, ...]] = get_args(Day)
_QUIET: Final = re2.Options()
_QUIET.log_errors = False  # the error is raised instead
_SHOWN: Final = 60
"""Characters of a value that an explanation shows."""
_NUMERIC: Final = frozenset(NUMBERS) | {"IS", "DS"}


@dataclass(frozen=True, slots=True)
class Facts:
    """The inputs of rules: the origin of an instance, and its attributes (those of `Router.wanted` suffice)."""

    calling_aet: str
    called_aet: str
    peer: str
    """Address of the peer's host."""
    via: str
    received_at: float
    """Seconds since 1970."""
    data_set: DataSet
    tenant: str = ""
    """Whom the instance belongs to; empty for no tenant."""


class Condition(Protocol):
    def holds(self, facts: Facts) -> bool:
        """Whether the instance passes."""

    def why_not(self, facts: Facts) -> str:
        """The reason, in words, why the condition does not hold."""


class OneOf:
    """Holds when a fact is one of some texts, which may have wild cards."""

    def __init__(self, what: str, fact: Callable[[Facts], str], texts: Sequence[str]) -> None:
        self._what, self._fact, self._texts = what, fact, texts
        self._patterns = [wild_pattern(text.strip()) for text in texts]

    def holds(self, facts: Facts) -> bool:
        value = self._fact(facts)
        return any(pattern.fullmatch(value) for pattern in self._patterns)

    def why_not(self, facts: Facts) -> str:
        return f"{self._what} is {_shown(self._fact(facts))}, not {' or '.join(self._texts)}"


class OfTenant:
    """Holds for the instances of one tenant, or of none; with `*` for all."""

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant

    def holds(self, facts: Facts) -> bool:
        return self._tenant in (facts.tenant, EVERYBODYS)

    def why_not(self, facts: Facts) -> str:
        whose = f"it belongs to tenant {facts.tenant}" if facts.tenant else "it belongs to no tenant"
        return f"{whose}, and the rule is for {f'tenant {self._tenant}' if self._tenant else 'what belongs to none'}"


class FromNetwork:
    def __init__(self, place: str, peers: Sequence[str]) -> None:
        self._peers = peers
        self._networks = []
        for peer in peers:
            network = as_network(peer)
            if network is None:
                raise ConfigurationError(f"{place}: {peer!r} is neither an address nor a network such as 10.1.0.0/16")
            self._networks.append(network)

    def holds(self, facts: Facts) -> bool:
        try:
            address = ipaddress.ip_address(facts.peer)
        except ValueError:
            return False
        return any(address in network for network in self._networks)

    def why_not(self, facts: Facts) -> str:
        return f"it came from {facts.peer or 'no address'}, not from {' or '.join(self._peers)}"


class DuringHours:
    def __init__(self, place: str, hours: Sequence[str]) -> None:
        self._hours, self._text = Hours(hours, place), " or ".join(hours)

    def holds(self, facts: Facts) -> bool:
        return self._hours.include(facts.received_at)

    def why_not(self, facts: Facts) -> str:
        return f"it came at {datetime.fromtimestamp(facts.received_at):%H:%M}, not within {self._text}"


class OnDays:
    def __init__(self, days: Sequence[Day]) -> None:
        self._days = frozenset(map(_DAYS.index, days))
        self._text = " or ".join(days)

    def holds(self, facts: Facts) -> bool:
        return datetime.fromtimestamp(facts.received_at).weekday() in self._days

    def why_not(self, facts: Facts) -> str:
        return f"it came on {_DAYS[datetime.fromtimestamp(facts.received_at).weekday()]}, not on {self._text}"


class OfAttribute:
    """Holds when one value of the attribute passes every test of an AttributeTest."""

    def __init__(self, place: str, test: AttributeTest) -> None:
        try:
            self.path = AttributePath.parse(test.attribute)
        except BadRequest as error:
            raise ConfigurationError(f"{place}.attribute: {error}") from None
        self._test = test
        self._checks = list(_checks(place, test))
        if not self._checks and test.present is None:
            raise ConfigurationError(
                f"{place}: set at least one test: equals, one_of, like, matches, at_least, at_most or present"
            )

    def holds(self, facts: Facts) -> bool:
        return self._passes(facts.data_set) is not self._test.inverted

    def why_not(self, facts: Facts) -> str:
        values = [value for attribute in self.path.attributes(facts.data_set) for value in _values(attribute)]
        found = f"is {_shown(', '.join(values))}" if values else "has no value"
        return f"{self.path} {found}, and {'must not be' if self._test.inverted else 'must be'} {self._words()}"

    def _passes(self, data_set: DataSet) -> bool:
        present = False
        for attribute in self.path.attributes(data_set):
            values = _values(attribute)
            present = present or bool(values)
            if self._checks and any(all(check(attribute.vr, value) for check in self._checks) for value in values):
                return self._test.present is not False
        if self._checks:
            return False
        return present is self._test.present

    def _words(self) -> str:
        test = self._test
        parts = [
            *([f"{test.equals!r}"] if test.equals is not None else []),
            *([f"one of {', '.join(map(repr, test.one_of))}"] if test.one_of else []),
            *([f"like {test.like!r}"] if test.like is not None else []),
            *([f"matching {test.matches!r}"] if test.matches is not None else []),
            *([f"at least {test.at_least}"] if test.at_least is not None else []),
            *([f"at most {test.at_most}"] if test.at_most is not None else []),
            *([{True: "present", False: "absent"}[test.present]] if test.present is not None else []),
        ]
        return " and ".join(parts)


Check = Callable[[str, str], bool]
"""Whether a value of a VR passes."""


def _checks(place: str, test: AttributeTest) -> Iterator[Check]:
    if test.equals is not None:
        yield _equal(test.equals)
    if test.one_of:
        several = [_equal(text) for text in test.one_of]
        yield lambda vr, value: any(check(vr, value) for check in several)
    if test.like is not None:
        exact, name = wild_pattern(test.like), wild_pattern(comparable_name(test.like))
        yield lambda vr, value: bool(name.fullmatch(comparable_name(value)) if vr == "PN" else exact.fullmatch(value))
    if test.matches is not None:
        try:
            expression: Any = re2.compile(test.matches, _QUIET)
        except re2.error as error:
            raise ConfigurationError(
                f"{place}.matches: {test.matches!r} is not a regular expression of RE2: {_text_of(error)}"
            ) from None
        yield lambda vr, value: expression.fullmatch(value) is not None
    if test.at_least is not None:
        yield _bound(place + ".at_least", test.at_least, 1)
    if test.at_most is not None:
        yield _bound(place + ".at_most", test.at_most, -1)


def _equal(text: str) -> Check:
    name = comparable_name(text)
    return lambda vr, value: comparable_name(value) == name if vr == "PN" else value == text.strip()


def _bound(place: str, text: str, sign: int) -> Check:
    """A bound. Numbers compare as numbers; dates and times up to the length of the bound."""
    bound = text.strip()
    number = _number(bound)
    if not bound:
        raise ConfigurationError(f"{place}: is empty")

    def check(vr: str, value: str) -> bool:
        if vr in _NUMERIC:
            found = _number(value)
            return found is not None and number is not None and (found - number) * sign >= 0
        begins = value.strip()[: len(bound)]
        return begins >= bound if sign > 0 else begins <= bound

    return check


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _values(attribute: Attribute) -> list[str]:
    """The non-empty values as text; for binary values and sequences only their size."""
    if attribute.vr == "SQ":
        return [f"{len(attribute.values)} items"] if attribute.values else []
    if attribute.vr in BINARY:
        return [f"{len(bytes(value))} bytes" for value in attribute.values if value]
    if attribute.vr == "AT":
        return [f"{tag:08X}" for tag in attribute.values]
    return [text for value in attribute.values if (text := str(value).strip())]


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


def _text_of(error: Exception) -> str:
    detail = error.args[0] if error.args else error
    return detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)
