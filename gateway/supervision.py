"""Background tasks that run as long as their owner: a failure is logged, and the task starts again.

Nobody awaits such a task before the end, so an exception that ended it would go unnoticed: jobs would not run, a
configuration would not be read, and all would look well.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

log = logging.getLogger(__name__)

_STEADY_S: Final = 10.0
"""Seconds of life after which a death counts as the first again."""
_FIRST_S, _MAX_S = 0.5, 30.0
"""Seconds before the second start after an early death, doubled for each next one, up to the second number."""


class Deaths:
    """Successive deaths of a process or task that is restarted."""

    def __init__(self) -> None:
        self.count = 0

    def after(self, seconds: float) -> float:
        """Record a death after `seconds` of life; returns the seconds until the restart."""
        self.count = 1 if seconds > _STEADY_S else self.count + 1
        return 0.0 if self.count == 1 else min(_MAX_S, _FIRST_S * 2.0 ** min(self.count - 2, 10))


async def lasting(what: str, work: Callable[[], Awaitable[None]]) -> None:
    """Await `work()` until it returns or is cancelled; after an exception, log it and start again.

    `what` names the work in the log, as the beginning of a sentence. `work` itself must handle expected errors:
    an exception here is a fault of the program.
    """
    loop = asyncio.get_running_loop()
    deaths = Deaths()
    while True:
        began = loop.time()
        try:
            return await work()
        except Exception:
            pause = deaths.after(loop.time() - began)
            log.critical(
                "%s has ended by a fault of the program and starts again in %.1f s; report it with what follows",
                what,
                pause,
                exc_info=True,
            )
            await asyncio.sleep(pause)


@asynccontextmanager
async def beside(what: str, work: Callable[[], Awaitable[None]] | None) -> AsyncIterator[None]:
    """Run `work` in a task for as long as the context lasts, named `what` in the log; None runs nothing."""
    if work is None:
        yield
        return
    task = asyncio.get_running_loop().create_task(lasting(what, work))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
