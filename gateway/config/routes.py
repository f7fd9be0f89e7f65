"""The structure of the settings that say which instances go where. `destinations.py` has the destinations themselves.

What they mean is `gateway.routing`'s and `gateway.delivery`'s.
"""

from __future__ import annotations

from typing import Literal

from gateway.config.base import Section

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class AttributeTest(Section, frozen=True):
    """A test of one attribute; of what it names, all must hold. Of several values one has to pass."""

    attribute: str
    """A keyword (`Modality`), `gggg,eeee`, a path (`RequestAttributesSequence.Modality`), or a private attribute by its
    creator: `(0019,10,SIEMENS MR HEADER)`."""
    equals: str | None = None
    one_of: tuple[str, ...] = ()
    like: str | None = None
    """With `*` and `?`; case counts, but for names of persons."""
    matches: str | None = None
    """A regular expression (RE2) for the whole value."""
    at_least: str | None = None
    """A number, or for dates and times what begins like one: `2026`, `20260131`."""
    at_most: str | None = None
    present: bool | None = None
    """Whether it is there with a value."""
    inverted: bool = False
    """It passes where it would not."""


class Rule(Section, frozen=True):
    """Which instances go where. Rules are looked at in the order of the file; all that match apply."""

    destinations: tuple[str, ...] = ()
    """By name. None: the rule only ends the list, with `last`."""
    changes: str = ""
    """What is done to what goes there: a set of `[changes]` by name. Empty: it goes as it came."""
    newest_first: bool = False
    """Of what waits with the same priority, the newest study goes first, not the oldest."""
    calling_aets: tuple[str, ...] = ()
    """Who sent it to us; with `*` and `?`. None named: anybody, like the three after it."""
    called_aets: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    """Addresses or networks (`10.1.0.0/16`) that it came from."""
    via: tuple[Literal["dimse", "stow", "rest", "import"], ...] = ()
    """How it came in."""
    hours: tuple[str, ...] = ()
    """When it came: `07:00-19:00`, `22:00-06:00` over midnight, by the clock of this machine."""
    days: tuple[Day, ...] = ()
    attributes: tuple[AttributeTest, ...] = ()
    """All must pass."""
    each: Literal["instance", "series", "study"] = "instance"
    """What goes: each instance as it comes, or the whole series or study once no instance has come for `stable_after`
    seconds; late ones follow."""
    stable_after: float = 60.0
    priority: int = 0
    """Of a destination's deliveries those of the highest go first."""
    last: bool = False
    """Where it matches, the rules after it are not looked at."""
