"""The work: associations that store what a source gives them, one after another or overlapping.

What is sent is a `Source`'s (`data.py`, `files.py`), what is counted `stats.py`'s.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Iterator

from gateway.dimse.status import Category, category, describe
from gateway.errors import AssociationLost, AssociationRefused, GatewayError
from gateway.net.buffers import BlockPool
from gateway.net.requestor import Call, Requestor, associate
from loadtest.data import Instance, Source
from loadtest.stats import Stats

_BLOCKS = 64
"""Receive blocks for all associations together: what comes back is only responses."""


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Whom to send to, as whom, and how."""

    host: str
    port: int
    called_aet: str
    calling_aet: str = "LOADTEST"
    window: int = 1
    """Instances on their way on one association, where the peer grants it (PS3.7 D.3.3.3); 1 asks for nothing."""
    timeout: float = 60.0
    """Seconds to connect, and for each response."""


async def send(
    target: Target,
    source: Source,
    associations: int,
    stats: Stats,
    acknowledged: Callable[[Instance], None] = lambda instance: None,
) -> None:
    """Store everything, over `associations` associations at once. Troubles are counted and never raised.

    An association that ends before its work is opened again for the rest, as long as the peer accepts it; what cannot
    be sent any more stays unsent. Cancelled, all of it stops at once.
    """
    pool = BlockPool(_BLOCKS)
    async with asyncio.TaskGroup() as group:
        for number in range(associations):
            feed = source.feed(number, associations)
            group.create_task(_associate(target, source, feed, pool, stats, acknowledged))


async def _associate(
    target: Target,
    source: Source,
    feed: Iterator[Instance],
    pool: BlockPool,
    stats: Stats,
    acknowledged: Callable[[Instance], None],
) -> None:
    call = Call(
        target.host,
        target.port,
        called_aet=target.called_aet,
        calling_aet=target.calling_aet,
        contexts=source.contexts,
        max_operations=target.window,
        timeout=target.timeout,
    )
    while True:
        try:
            async with associate(call, pool) as association:
                granted = association.max_operations or target.window
                workers = [
                    _store_all(association, feed, target.timeout, stats, acknowledged)
                    for _ in range(min(granted, target.window))
                ]
                for outcome in await asyncio.gather(*workers, return_exceptions=True):
                    if isinstance(outcome, BaseException):
                        raise outcome
        except _Counted:
            continue  # Each time one instance less is left.
        except (GatewayError, OSError) as error:
            stats.trouble(_kind(error))
        return


class _Counted(AssociationLost):
    """The association has ended, and the instance that was on its way has been counted as failed."""


async def _store_all(
    association: Requestor,
    feed: Iterator[Instance],
    timeout: float,
    stats: Stats,
    acknowledged: Callable[[Instance], None],
) -> None:
    for instance in feed:
        try:
            context = association.context_for(instance.sop_class_uid, instance.transfer_syntax_uid)
        except AssociationRefused:
            stats.failure("presentation context not accepted")
            continue
        began = time.perf_counter()
        try:
            async with asyncio.timeout(timeout):
                response = await association.store(context, instance.sop_instance_uid, instance.chunks)
        except (GatewayError, OSError) as error:
            stats.failure(_kind(error))
            await association.abort()  # What overlaps with it ends at once.
            raise _Counted(str(error)) from error
        status = response.status or 0
        meaning = category(status)
        if meaning in (Category.SUCCESS, Category.WARNING):
            stats.success(time.perf_counter() - began, instance.size)
            acknowledged(instance)
            if meaning is Category.WARNING:
                stats.warning(describe(status))
        else:
            stats.failure(describe(status))


def _kind(error: BaseException) -> str:
    """One phrase for all failures of a kind."""
    if isinstance(error, AssociationRefused):
        return f"association {str(error).partition(': ')[2] or error}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"association lost: {error}"
