"""The common parts of all kinds of work: what connections share, and the errors they raise."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from typing import Protocol

import aiohttp

from gateway.errors import AssociationRefused, GatewayError
from gateway.net.buffers import BlockPool
from loadtest.data import Instance
from loadtest.shelf import Place, Shelf
from loadtest.stats import Stats
from loadtest.target import Target

TROUBLES = (GatewayError, OSError, TimeoutError, aiohttp.ClientError)
"""Errors of a connection, whichever side caused them. After one of them, a new connection is opened."""
_PATIENCE = 10.0
"""Seconds that reading work waits for the first instance in the server."""


class Failed(Exception):
    """The server answered that an operation failed; the text is one phrase per kind. The connection stays open."""


class Exhausted(Exception):
    """All instances have been sent."""


@dataclasses.dataclass(slots=True)
class Ground:
    """The objects that all connections of a run share."""

    target: Target
    blocks: BlockPool
    shelf: Shelf
    acknowledged: Callable[[Instance], None]
    """Called with each instance as soon as the server has acknowledged it."""
    received: Callable[[], int] = lambda: 0
    """Returns the bytes that arrived by C-MOVE since its previous call."""


class Worker(Protocol):
    """One connection that does one kind of work."""

    async def open(self) -> int:
        """Connect, and return how many operations may run at once on the connection. Raises an error of TROUBLES."""

    async def do(self, stats: Stats, since: float) -> None:
        """Do an operation that began, or should have begun, at `since`, and count it if it succeeds.

        Raises: Failed; Exhausted; an error of TROUBLES, after which the connection is unusable.
        """

    async def close(self, broken: bool) -> None:
        """Close the connection in order, or abort it if `broken`. Raises an error of TROUBLES."""


async def something(shelf: Shelf) -> list[Place]:
    """The instances of a random study, after a wait of up to `_PATIENCE` for the first one. Raises Failed."""
    try:
        async with asyncio.timeout(_PATIENCE):
            await shelf.filled.wait()
    except TimeoutError:
        raise Failed("the server had no instance to read") from None
    return shelf.study()


async def filled(keys: Mapping[str, str], ground: Ground) -> Mapping[str, str]:
    """The keys of a query, with a random study in place of `{study}`."""
    if not any("{study}" in text for text in keys.values()):
        return keys
    study = (await something(ground.shelf))[0].study
    return {key: text.replace("{study}", study) for key, text in keys.items()}


def describe(error: BaseException) -> str:
    """The phrase that names the kind of a failure."""
    if isinstance(error, AssociationRefused):
        return f"association {str(error).partition(': ')[2] or error}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or str(error.os_error)
    if isinstance(error, aiohttp.ClientError):
        return f"connection lost: {error}" if str(error) else f"connection lost: {type(error).__name__}"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"association lost: {error}"
