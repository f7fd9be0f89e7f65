"""The rules of one configuration, compiled: which of them apply to an instance, and why the others do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from gateway.config.routes import Rule
from gateway.routing.conditions import Condition, DuringHours, Facts, FromNetwork, OfAttribute, OfTenant, OnDays, OneOf


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of one rule."""

    rule: str
    matches: bool
    evaluated: bool
    """False after a matching rule with `last`."""
    reasons: tuple[str, ...]
    """Every condition that does not hold."""


class _CompiledRule:
    """One rule with its conditions, the cheap ones first."""

    def __init__(self, name: str, rule: Rule) -> None:
        self.name, self.rule = name, rule
        place = f"rules.{name}"
        conditions: list[Condition] = [OfTenant(rule.tenant)]
        texts: list[tuple[str, Callable[[Facts], str], tuple[str, ...]]] = [
            ("the calling AE title", lambda facts: facts.calling_aet, rule.calling_aets),
            ("the called AE title", lambda facts: facts.called_aet, rule.called_aets),
            ("the way in", lambda facts: facts.via, rule.via),
        ]
        conditions += [OneOf(what, fact, wanted) for what, fact, wanted in texts if wanted]
        if rule.peers:
            conditions.append(FromNetwork(f"{place}.peers", rule.peers))
        if rule.days:
            conditions.append(OnDays(rule.days))
        if rule.hours:
            conditions.append(DuringHours(f"{place}.hours", rule.hours))
        self.tests = [OfAttribute(f"{place}.attributes[{index}]", test) for index, test in enumerate(rule.attributes)]
        self.conditions = [*conditions, *self.tests]

    def matches(self, facts: Facts) -> bool:
        return all(condition.holds(facts) for condition in self.conditions)


class Router:
    """Applies rules to instances. Raises ConfigurationError, with the place, for an invalid rule."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._rules = [_CompiledRule(name, rule) for name, rule in rules.items()]
        self.wanted: frozenset[int] = frozenset(
            tag for compiled in self._rules for test in compiled.tests for tag in test.path.steps[0].tags()
        )
        """The attributes that must be read from an instance."""

    def __bool__(self) -> bool:
        return bool(self._rules)

    def route(self, facts: Facts) -> Iterator[tuple[str, Rule]]:
        """Yield the rules that apply, in order."""
        for compiled in self._rules:
            if compiled.matches(facts):
                yield compiled.name, compiled.rule
                if compiled.rule.last:
                    return

    def explain(self, facts: Facts) -> list[Verdict]:
        """Explain every rule: whether it matches, and why not."""
        verdicts: list[Verdict] = []
        over = False
        for compiled in self._rules:
            reasons = tuple(each.why_not(facts) for each in compiled.conditions if not each.holds(facts))
            verdicts.append(Verdict(compiled.name, not over and not reasons, not over, reasons))
            over = over or (not reasons and compiled.rule.last)
        return verdicts
