"""What is to be written together with whatever a request writes next: both are committed, or neither.

So is the audit log: what a request changes, and that it did, are one transaction, whichever use case writes. The
companion of a request is in a context variable, as is its view (`view.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, TypeVar

from gateway.database.database import Script

T = TypeVar("T")


class Companion:
    """The scripts that wait for the next transaction."""

    __slots__ = ("pending",)

    def __init__(self) -> None:
        self.pending: list[Callable[[], Script[None]]] = []


COMPANION: Final[ContextVar[Companion | None]] = ContextVar("companion", default=None)
"""The companion of the present task; None: what it writes goes alone."""


@contextmanager
def accompanying(companion: Companion) -> Iterator[None]:
    """Have what waits with a companion written with the next transaction of the block."""
    token = COMPANION.set(companion)
    try:
        yield
    finally:
        COMPANION.reset(token)


@contextmanager
def accompanied(script: Callable[[], Script[T]]) -> Iterator[Callable[[], Script[T]]]:
    """The script with all that waits behind it. What waits does so again if the block, which commits, raises."""
    companion = COMPANION.get()
    if companion is None or not companion.pending:
        yield script
        return
    taken, companion.pending = companion.pending, []
    try:
        yield lambda: _together(script(), taken)
    except BaseException:
        companion.pending = [*taken, *companion.pending]
        raise


def _together(script: Script[T], others: list[Callable[[], Script[None]]]) -> Script[T]:
    result = yield from script
    for each in others:
        yield from each()
    return result
