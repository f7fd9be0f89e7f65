"""Waiting, with a deadline, for what another task, thread or process brings about.

Here is all the polling of the tests. What can set an event is awaited by that and needs nothing of this.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

_PROCESS_INTERVAL_S = 0.02
"""Each look at a process reads a file or asks over HTTP."""


@overload
async def until(
    look: Callable[[], Awaitable[T]], text: str = "", *, within_s: float = 20.0, every_s: float = 0.002
) -> T: ...
@overload
async def until(look: Callable[[], T], text: str = "", *, within_s: float = 20.0, every_s: float = 0.002) -> T: ...
async def until(look: Callable[[], Any], text: str = "", *, within_s: float = 20.0, every_s: float = 0.002) -> Any:
    """What `look` gives, awaited where that is to be, once it is true. Raises AssertionError with the text.

    What asks a process has `every_s` of its own, so that it does not keep that from its work.
    """
    deadline = time.monotonic() + within_s
    while True:
        found = look()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        if time.monotonic() > deadline:
            raise _never(within_s, text, found)
        await asyncio.sleep(every_s)


def wait_until(look: Callable[[], T], within_s: float, text: str = "") -> T:
    """`until` for tests without a loop: what `look` gives once it is true. Raises AssertionError with the text."""
    deadline = time.monotonic() + within_s
    while not (found := look()):
        if time.monotonic() > deadline:
            raise _never(within_s, text, found)
        time.sleep(_PROCESS_INTERVAL_S)
    return found


async def paced(over: Callable[[], object] = lambda: False, *, every_s: float = 0.02) -> AsyncIterator[None]:
    """The turns of somebody who is slow on purpose, until `over` is true: here it is time that is tested."""
    while not over():
        yield
        await asyncio.sleep(every_s)


def _never(within_s: float, text: str, found: object) -> AssertionError:
    return AssertionError(f"after {within_s:g} s still {found!r}: {text}")
