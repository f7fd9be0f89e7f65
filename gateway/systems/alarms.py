"""The alarm about emergency access: a webhook, called by a durable job until it answers.

The job is in the transaction that grants the access, so that no restart comes between them. It belongs to nobody, and
nobody can take it back (`LASTING`).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from gateway.access.emergencies import Emergencies, fields_of_emergency
from gateway.config import Settings
from gateway.database.database import Script
from gateway.jobs.runner import JobType, Retry
from gateway.jobs.table import Job, add_job

KIND: Final = "break-glass"
LASTING: Final = frozenset({KIND})
"""Kinds of jobs that run to their end, whoever would rather have them cancelled, paused or deleted."""
_RETRY: Final = Retry(attempts=100, first=1.0, longest=300.0)
"""For some eight hours."""
_TIMEOUT_S: Final = 10.0


class EmergencyAlarms:
    """Adds such jobs and does them."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        clock: Callable[[], float] = time.time,
        post: Callable[[str, bytes], Awaitable[None]] | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._post = post or _posted

    def follow(self, number: int) -> Script[None]:
        """Add the job about an emergency access, where the settings name a webhook."""
        if self._settings().break_glass.webhook:
            yield from add_job(KIND, {"emergency": number}, self._clock(), priority=1)

    def kind(self, emergencies: Emergencies) -> JobType:
        """The job type."""

        async def work(job: Job) -> None:
            """Tell the webhook of now. Raises: OSError if it does not take it."""
            emergency = await emergencies.get(int(job.payload["emergency"]))
            url = self._settings().break_glass.webhook
            if url and emergency is not None:
                body = msgspec.json.encode({"Event": "break-glass", **fields_of_emergency(emergency)})
                await self._post(url, body)

        return JobType(work, lambda job: _RETRY, 3 * _TIMEOUT_S)


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
                raise OSError(f"break_glass.webhook: it answers {answer.status}")
    except (aiohttp.ClientError, TimeoutError) as error:
        raise OSError(f"break_glass.webhook: {error or 'no answer in time'}") from None
