"""The structure of the settings of rules; `destinations.py` has the destinations.

`gateway.routing` and `gateway.forwarding` implement them.
"""

from __future__ import annotations

from typing import Literal

from gateway.config.base import Section

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class AttributeTest(Section, frozen=True):
    """A test of one attribute; all conditions given must hold for one of its values."""

    attribute: str
    """A keyword (`Modality`), `gggg,eeee`, a path (`RequestAttributesSequence.Modality`), or a private attribute by its
    creator: `(0019,10,SIEMENS MR HEADER)`."""
    equals: str | None = None
    one_of: tuple[str, ...] = ()
    like: str | None = None
    """A pattern with `*` and `?`; case counts, except in names of persons."""
    matches: str | None = None
    """A regular expression (RE2) for the whole value."""
    at_least: str | None = None
    """A number, or for dates and times the beginning of one: `2026`, `20260131`."""
    at_most: str | None = None
    present: bool | None = None
    """Whether the attribute is present with a value."""
    inverted: bool = False
    """Inverts the result of the test."""


class Rule(Section, frozen=True):
    """A rule: instances and their destinations. Rules are evaluated in the order of the file; all matching apply."""

    destinations: tuple[str, ...] = ()
    """Destinations by name. None: the rule only ends the list, with `last`."""
    tenant: str = ""
    """The tenant whose instances it is for; `*`: all instances. Empty: those that belong to no tenant."""
    changes: str = ""
    """The change set for these deliveries, by name in `[changes]`. Empty: sent as received."""
    newest_first: bool = False
    """Whether deliveries of the newest study go first, instead of the oldest, among those with the same priority."""
    calling_aets: tuple[str, ...] = ()
    """AE titles of the sender; with `*` and `?`. None: any, as for the three after it."""
    called_aets: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    """Addresses or networks (`10.1.0.0/16`) of the sender."""
    via: tuple[Literal["dimse", "stow", "rest", "import", "inbox"], ...] = ()
    """The way in. What came by the inbox is asked about once it is accepted."""
    hours: tuple[str, ...] = ()
    """Hours of reception: `07:00-19:00`, `22:00-06:00` over midnight, by the clock of this machine."""
    days: tuple[Day, ...] = ()
    attributes: tuple[AttributeTest, ...] = ()
    """All must pass."""
    each: Literal["instance", "series", "study"] = "instance"
    """The unit of sending: each instance as it arrives, or the whole series or study once no instance has arrived for
    `stable_after` seconds; late instances follow."""
    stable_after: float = 60.0
    incomplete: Literal["hold", "send"] = "hold"
    """How to treat an instance whose pixel data are cut short: hold its delivery, with the reason, until an operator
    releases it, or send it like any other."""
    priority: int = 0
    """Priority of the deliveries: to a destination, those of the highest go first."""
    last: bool = False
    """If this rule matches, the rules after it are not evaluated."""
