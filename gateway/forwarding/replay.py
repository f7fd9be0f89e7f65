"""The replay of rules on what was received lately: where deliveries would differ under other rules. Nothing is sent."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Final

from gateway.forwarding.explanation import Archived, planned_deliveries, stored
from gateway.forwarding.rule_engine import CompiledRules

MAX_REPLAYED: Final = 2000
"""The newest instances that are looked at."""
_MAX_S: Final = 20.0
"""Seconds after which no further instance is looked at."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Deliveries to one destination, under one change set, and their numbers under both sets of rules."""

    destination: str
    changes: str
    before: int
    after: int
    studies: int
    """Studies that have a difference."""


@dataclass(frozen=True, slots=True)
class Replay:
    """The result: what was looked at, and every destination with its numbers."""

    looked_at: int
    begins: float
    """When the oldest of these instances was received, in seconds since 1970."""
    is_whole: bool
    """Whether everything since the wanted time was looked at."""
    differences: list[Difference]


async def replay(archive: Archived, old: CompiledRules, new: CompiledRules, since: float) -> Replay:
    """Compare two sets of rules on the newest instances, back to `since` at most. Raises DatabaseError."""
    counts = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    studies: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    looked_at, begins, is_whole, ends = 0, time.time(), True, time.monotonic() + _MAX_S
    tags = old.router.wanted | new.router.wanted
    async for item, _, facts in stored(archive, tags, newest=MAX_REPLAYED):
        if item.received_at < since:
            break
        looked_at, begins = looked_at + 1, min(begins, item.received_at)
        before, after = ({each[:2] for each in planned_deliveries(rules, facts)[0]} for rules in (old, new))
        counts[0].update(before)
        counts[1].update(after)
        for key in before ^ after:
            studies[key].add(item.located.study_uid)
        if time.monotonic() > ends:
            is_whole = False
            break
    else:
        is_whole = looked_at < MAX_REPLAYED
    differences = [
        Difference(*key, counts[0][key], counts[1][key], len(studies[key])) for key in sorted(counts[0] | counts[1])
    ]
    return Replay(looked_at, begins, is_whole, differences)
