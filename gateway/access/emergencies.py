"""Emergency access (break-glass): a user sees every study at once, for a while, and everybody is told.

Who may is decided by the permission `break-glass`. Each use stays in the database. The alarm is the log at the level
error, a counter of the metrics, and what the caller writes in the same transaction: `systems/alarms.py` has a webhook.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from gateway.access import queries
from gateway.access.principals import Principal
from gateway.config import Settings
from gateway.config.roles import BUILT_IN
from gateway.database.database import Database, Script
from gateway.errors import BadRequest
from gateway.printable import printable
from gateway.processes.shared_counter import SharedCounter
from gateway.telemetry import BREAK_GLASS

log = logging.getLogger(__name__)

MAX_REASON_LENGTH: Final = 1000
"""Characters of a reason."""


class Emergency(msgspec.Struct, frozen=True):
    """One use of emergency access. Times are seconds since 1970."""

    user: str
    reason: str
    began_at: float
    ends_at: float


@dataclass(slots=True)
class _Seen:
    open: dict[str, Emergency]
    revocations: int


class Emergencies:
    """The emergency accesses of a gateway. Belongs to one event loop."""

    def __init__(
        self,
        database: Database,
        revocations: SharedCounter | None = None,
        clock: Callable[[], float] = time.time,
        alarm: Callable[[int], Script[None]] | None = None,
        begun: Callable[[], None] = lambda: None,
    ) -> None:
        """`alarm` makes the script that is committed together with an emergency access, from its number; `begun` is
        called behind it."""
        self._database = database
        self._revocations = revocations or SharedCounter()
        self._clock = clock
        self._alarm = alarm
        self._begun = begun
        self._seen: _Seen | None = None

    async def of(self, who: Principal) -> Emergency | None:
        """The emergency access that a principal has now. The database is read when another process has written."""
        moved = self._revocations.value
        if self._seen is None or self._seen.revocations != moved:
            rows = await self._database.fetch(queries.OPEN_EMERGENCIES, self._clock())
            self._seen = _Seen({row[0]: Emergency(*row) for row in rows}, moved)
        if not self._seen.open or not who.is_person:
            return None
        found = self._seen.open.get(who.name)
        return found if found is not None and self._clock() < found.ends_at else None

    async def begin(self, who: Principal, reason: str, settings: Settings) -> Emergency:
        """Give a user emergency access, and raise the alarm. Raises: BadRequest without a reason."""
        reason = reason.strip()
        if not reason or len(reason) > MAX_REASON_LENGTH:
            raise BadRequest(f"emergency access needs a Reason, of at most {MAX_REASON_LENGTH} characters")
        now = self._clock()
        made = Emergency(who.name, reason, now, now + settings.break_glass.minutes * 60)

        def script() -> Script[None]:
            yield queries.END_EMERGENCIES, (who.name, now)
            ((number,),) = yield queries.BREAK_GLASS, msgspec.structs.astuple(made)
            if self._alarm is not None:
                yield from self._alarm(int(number))

        # Said first: of what is granted there is never no line.
        BREAK_GLASS.inc()
        log.error(
            "emergency access: user %s sees all studies for %g minutes; reason given: %s",
            *(who.name, settings.break_glass.minutes, printable(reason)),
        )
        await self._database.write(script)
        self._revocations.add()
        self._begun()
        return made

    async def get(self, number: int) -> Emergency | None:
        """An emergency access by its number, also after its end."""
        rows = await self._database.fetch(queries.EMERGENCY, number)
        return Emergency(*rows[0]) if rows else None

    async def listed(self) -> list[Emergency]:
        """Emergencies that have not ended."""
        return [Emergency(*row) for row in await self._database.fetch(queries.OPEN_EMERGENCIES, self._clock())]

    async def end(self, who: Principal) -> None:
        """End the emergency access of whoever has it, before its time."""
        await self.end_of(who.name, by=who.name)

    async def end_of(self, user: str, by: str) -> None:
        """End the emergency access of a user, which somebody wants."""

        def script() -> Script[None]:
            yield queries.END_EMERGENCIES, (user, self._clock())

        await self._database.write(script)
        self._revocations.add()
        log.warning("emergency access: that of user %s has been ended by %s", printable(user[:64]), by)


def fields_of_emergency(emergency: Emergency) -> dict[str, str | float]:
    """The fields of an emergency access over REST and to the webhook."""
    return {
        "User": emergency.user,
        "Reason": emergency.reason,
        "Since": emergency.began_at,
        "Until": emergency.ends_at,
    }


def in_emergency(who: Principal) -> Principal:
    """The principal with the view of everything beside its own roles."""
    return replace(who, roles=(*who.roles, BUILT_IN["view"]), token="break-glass")
