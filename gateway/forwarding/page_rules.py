"""Rules that are written on a page: versions in the database, of which the newest is in force.

They come after the rules of the configuration file, and send to its destinations with its change sets: what a rule may
name is for the file to say. A rule whose destination has gone from the file, or whose name has come into it, is left
out until it fits again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.config import Problem, Settings
from gateway.config.lines import line_of
from gateway.config.routes import Rule
from gateway.config.rule_text import read_rules
from gateway.database.database import Database, Script
from gateway.errors import BadRequest, ConfigurationError, NotFound
from gateway.forwarding import queries
from gateway.routing.router import Router

log = logging.getLogger(__name__)

MAX_BYTES: Final = 200_000
"""Bytes of the text of a version."""
MAX_VERSIONS: Final = 200
"""Versions that are kept."""


@dataclass(frozen=True, slots=True)
class RuleVersion:
    """One version of the rules of the page."""

    id: int
    content: str
    """TOML."""
    user: str
    made_at: float
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class CheckedRules:
    """The result of checking a text: its valid rules, and every problem."""

    rules: dict[str, Rule]
    problems: list[Problem]


class PageRules:
    """The rules of the page as one process knows them. Belongs to one event loop."""

    def __init__(
        self,
        database: Database,
        settings: Callable[[], Settings],
        *,
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`settings` are those of the configuration; `changed` tells the other processes to `refresh`."""
        self._database = database
        self._settings = settings
        self._changed = changed
        self._clock = clock
        self._content = ""
        self._made: tuple[Settings, str, Settings] | None = None

    @property
    def content(self) -> str:
        """The TOML that is in force."""
        return self._content

    def extend(self, settings: Settings) -> Settings:
        """A snapshot of the configuration with these rules; the same object while nothing changes."""
        if not self._content:
            return settings
        made = self._made
        if made is None or made[0] is not settings or made[1] != self._content:
            checked = self.check(self._content, settings)
            for problem in checked.problems:
                log.warning("a rule of the page is left out: %s", problem)
            extended = msgspec.structs.replace(settings, rules={**settings.rules, **checked.rules})
            made = self._made = settings, self._content, extended
        return made[2]

    async def refresh(self) -> None:
        """Read again which version is in force."""
        newest = await self.versions(1)
        self._content = newest[0].content if newest else ""

    async def versions(self, limit: int = 20) -> list[RuleVersion]:
        """The newest versions, newest first. Raises DatabaseError."""
        return [RuleVersion(*row) for row in await self._database.fetch(queries.LIST_RULE_VERSIONS, limit)]

    def check(self, text: str, settings: Settings | None = None) -> CheckedRules:
        """Check a text beside the configuration: its valid rules, and each problem with its line."""
        rules, problems = read_rules(text, settings if settings is not None else self._settings())
        for name in list(rules):
            try:
                Router({name: rules[name]})
            except ConfigurationError as error:
                problems += [_placed(each, text) for each in error.texts]
                del rules[name]
        return CheckedRules(rules, sorted(problems, key=lambda each: each.line))

    async def apply(self, text: str, user: str) -> None:
        """Put a text in force as the newest version. Raises BadRequest if it has a problem, and DatabaseError."""
        if len(text.encode()) > MAX_BYTES:
            raise BadRequest(f"the rules have more than {MAX_BYTES} bytes")
        if problems := self.check(text).problems:
            raise BadRequest("; ".join(each.text for each in problems[:5]))
        await self._database.write(lambda: self._add(text, user))
        await self.refresh()
        self._changed()

    async def roll_back(self, version: int, user: str) -> None:
        """Put an earlier version in force again. Raises NotFound, and as `apply`."""
        await self.apply(await self.text_of(version), user)

    async def text_of(self, version: int) -> str:
        """The TOML of a version. Raises NotFound and DatabaseError."""
        rows = await self._database.fetch(queries.GET_RULE_VERSION, version)
        if not rows:
            raise NotFound(f"there is no version {version} of the rules")
        return str(rows[0][0])

    def _add(self, text: str, user: str) -> Script[None]:
        yield queries.ADD_RULE_VERSION, (text, user, self._clock())
        yield queries.FORGET_RULE_VERSIONS, (MAX_VERSIONS,)


def _placed(text: str, content: str) -> Problem:
    """A problem of a compiled rule, with the line of its place."""
    place = text.partition(":")[0]
    return Problem(place, text, "", line_of(content, place))
