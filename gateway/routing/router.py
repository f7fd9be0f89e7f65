"""The rules of one configuration, made ready: which of them apply to an instance, and why the others do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from gateway.config.routes import Rule
from gateway.routing.conditions import Condition, DuringHours, Facts, FromNetwork, OfAttribute, OnDays, OneOf


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one rule."""

    rule: str
    matches: bool
    looked_at: bool
    """False where a rule before it was the last."""
    reasons: tuple[str, ...]
    """Why it does not match: every condition that does not hold."""


class _Ready:
    """One rule with its conditions, the cheap ones first."""

    def __init__(self, name: str, rule: Rule) -> None:
        self.name, self.rule = name, rule
        place = f"rules.{name}"
        conditions: list[Condition] = []
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
    """Raises ConfigurationError, with the place, for a rule that makes no sense."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._rules = [_Ready(name, rule) for name, rule in rules.items()]
        self.wanted: frozenset[int] = frozenset(
            tag for ready in self._rules for test in ready.tests for tag in test.path.steps[0].tags()
        )
        """The attributes that have to be read of an instance."""

    def __bool__(self) -> bool:
        return bool(self._rules)

    def route(self, facts: Facts) -> Iterator[tuple[str, Rule]]:
        """The rules that apply, in their order."""
        for ready in self._rules:
            if ready.matches(facts):
                yield ready.name, ready.rule
                if ready.rule.last:
                    return

    def explain(self, facts: Facts) -> list[Verdict]:
        """What becomes of every rule, and why."""
        verdicts: list[Verdict] = []
        over = False
        for ready in self._rules:
            reasons = tuple(each.why_not(facts) for each in ready.conditions if not each.holds(facts))
            verdicts.append(Verdict(ready.name, not over and not reasons, not over, reasons))
            over = over or (not reasons and ready.rule.last)
        return verdicts
