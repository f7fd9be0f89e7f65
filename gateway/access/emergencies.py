"""Emergency access (break-glass): a user sees every study at once, for a while, and everybody is told.

Who may is decided by the permission `break-glass`. Each use stays in the database. The alarm is the log at the level
error, a counter of the metrics, and a webhook if the settings name one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
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
_TRIES: Final = 5
"""Attempts to reach the webhook, with pauses of 1, 2, 4 and 8 s."""
_TIMEOUT_S: Final = 10.0


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
        post: Callable[[str, bytes], Awaitable[None]] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._database = database
        self._revocations = revocations or SharedCounter()
        self._clock = clock
        self._post = post or _posted
        self._sleep = sleep
        self._seen: _Seen | None = None
        self._alarms: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """End alarms that have not got through."""
        for task in list(self._alarms):
            task.cancel()
        await asyncio.gather(*self._alarms, return_exceptions=True)

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
            yield queries.BREAK_GLASS, msgspec.structs.astuple(made)

        await self._database.write(script)
        self._revocations.add()
        BREAK_GLASS.inc()
        log.error(
            "emergency access: user %s sees all studies for %g minutes; reason given: %s",
            *(who.name, settings.break_glass.minutes, printable(reason)),
        )
        if settings.break_glass.webhook:
            task = asyncio.get_running_loop().create_task(self._alarm(settings.break_glass.webhook, made))
            self._alarms.add(task)
            task.add_done_callback(self._alarms.discard)
        return made

    async def end(self, who: Principal) -> None:
        """End the emergency access of a user before its time."""

        def script() -> Script[None]:
            yield queries.END_EMERGENCIES, (who.name, self._clock())

        await self._database.write(script)
        self._revocations.add()
        log.warning("emergency access: user %s has ended it", who.name)

    async def _alarm(self, url: str, emergency: Emergency) -> None:
        body = msgspec.json.encode({"Event": "break-glass", **fields_of_emergency(emergency)})
        for attempt in range(_TRIES):
            try:
                await self._post(url, body)
            except OSError as error:
                log.error("break_glass.webhook: the alarm was not taken: %s", error)
                await self._sleep(2.0**attempt)
            else:
                return
        log.error("break_glass.webhook: the alarm about user %s is given up", emergency.user)


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


async def _posted(url: str, body: bytes) -> None:
    """Post JSON to a URL. Raises: OSError if it is not taken."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, data=body, allow_redirects=False, headers={"Content-Type": "application/json"}) as answer,
        ):
            if answer.status >= 300:
                raise OSError(f"it answers {answer.status}")
    except (aiohttp.ClientError, TimeoutError) as error:
        raise OSError(str(error) or "no answer in time") from None
