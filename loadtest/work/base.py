"""What all kinds of work have in common: the ground they stand on, and what they answer with."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from typing import Protocol

import aiohttp

from gateway.errors import AssociationRefused, GatewayError
from gateway.net.buffers import BlockPool
from loadtest.data import Instance
from loadtest.library import Library, Place
from loadtest.stats import Stats
from loadtest.target import Target

TROUBLES = (GatewayError, OSError, TimeoutError, aiohttp.ClientError)
"""What may go wrong with a connection, whoever's fault it is. After it the connection is opened anew."""
_PATIENCE = 10.0
"""Seconds that those who read wait for something that is there."""


class Failed(Exception):
    """The server answered that an operation failed; the text is one phrase for all of a kind. The connection stays."""


class Exhausted(Exception):
    """There is nothing left to be sent."""


@dataclasses.dataclass(slots=True)
class Ground:
    """What the connections of a run share."""

    target: Target
    blocks: BlockPool
    library: Library
    acknowledged: Callable[[Instance], None]
    """Called with each instance as soon as the server has said that it has it."""
    received: Callable[[], int] = lambda: 0
    """Bytes that C-MOVE has brought to us since it was last called."""


class Worker(Protocol):
    """One connection."""

    async def open(self) -> int:
        """Connect. How many operations may run at once on it. Raises what is in TROUBLES."""

    async def do(self, stats: Stats, since: float) -> None:
        """One operation that began, or should have, at `since`; counts itself when it goes well. Raises Failed,
        Exhausted, and what is in TROUBLES, after which the connection is of no use.
        """

    async def close(self, broken: bool) -> None:
        """Part from the peer as one should, or where it is broken, at once. Raises what is in TROUBLES."""


async def something(library: Library) -> list[Place]:
    """The instances of some study. Those who read wait a while for the first that write; then Failed."""
    try:
        async with asyncio.timeout(_PATIENCE):
            await library.filled.wait()
    except TimeoutError:
        raise Failed("nothing was there to be read") from None
    return library.study()


async def filled(keys: Mapping[str, str], ground: Ground) -> Mapping[str, str]:
    """The keys of a query, with a study for `{study}`."""
    if not any("{study}" in text for text in keys.values()):
        return keys
    study = (await something(ground.library))[0].study
    return {key: text.replace("{study}", study) for key, text in keys.items()}


def describe(error: BaseException) -> str:
    """One phrase for all failures of a kind."""
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
