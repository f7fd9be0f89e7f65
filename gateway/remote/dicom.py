"""Destinations of kind `dicom`: instances to one node, over associations that stay open while there are more to send.

A few associations share the waiting instances. Each proposes contexts for what is waiting when it opens, and sends only
what it has proposed; an instance that no open association has proposed gets an association of its own.
`scu/transfer.py` sends over one association.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from gateway.config import Settings
from gateway.config.destinations import DicomDestination
from gateway.dicom.encode import Attribute, DataSet
from gateway.dimse import status
from gateway.errors import (
    AssociationLost,
    AssociationRefused,
    ConfigurationError,
)
from gateway.net.buffers import BlockPool
from gateway.remote.destination import Answer, DestinationUnavailable, Named, matching, outcome_of
from gateway.remote.dimse import DimseNode
from gateway.remote.pending_send import PendingSend
from gateway.remote.rate_limit import Bandwidth, RateLimited
from gateway.scu.node import associate
from gateway.scu.transfer import Instance, Sent, Transfer, plan

_WINDOW: Final = 8
"""Concurrent requests on an association, where the node grants them (PS3.7 D.3.3.3)."""
_IDLE: Final = 3.0
"""Seconds for which an association without work stays open."""
_NO_MORE: Final = 10.0
"""Seconds without a further attempt, after an additional association was refused."""
_REMEMBERED: Final = 64
"""SOP classes remembered for later proposals."""
_BLOCKS: Final = 16
"""Receive blocks for all associations: only responses are received."""
_STUDY: Final = 0x0020000D
_SERIES: Final = 0x0020000E
_SOP: Final = 0x00080018


@dataclass(slots=True, eq=False)
class _Connection:
    """One association: the SOP classes that it has proposed, with their transfer syntaxes."""

    proposed: dict[str, set[str]] = field(default_factory=dict)
    begun: int = 0
    """Instances begun, whatever their outcome."""

    def suits(self, pending: PendingSend) -> bool:
        return pending.instance.transfer_syntax_uid in self.proposed.get(pending.instance.sop_class_uid, ())


class DicomNode:
    """A DICOM node as a destination, named by its modality."""

    def __init__(self, name: str, section: DicomDestination, settings: Callable[[], Settings]) -> None:
        self._name = name
        self._section = section
        self._node = DimseNode(settings, section.modality)
        self._retried = matching(section.retried)
        self._bandwidth = Bandwidth(section.bandwidth)
        self._blocks = BlockPool(_BLOCKS)
        self._waiting: deque[PendingSend] = deque()
        self._by_instance: dict[int, PendingSend] = {}
        """The pending sends of the instances under way, by the identity of the instance."""
        self._seen: dict[str, set[str]] = {}
        """SOP classes sent before, with their transfer syntaxes: proposed again, since more are likely."""
        self._changed = asyncio.Condition()
        self._connections: dict[asyncio.Task[None], _Connection] = {}
        self._no_more_until = 0.0
        self._closing = False

    async def send(self, instance: Instance) -> Answer:
        """Send one instance; see `Destination.send`."""
        pending = PendingSend.of(RateLimited(instance, self._bandwidth))
        self._waiting.append(pending)
        await self._notify()
        self._open_connections()
        return await pending.answer

    async def has(self, instances: Sequence[Named]) -> set[str]:
        """Ask by C-FIND at the IMAGE level, a series at a time; see `Destination.has`."""
        found: set[str] = set()
        for study, series in dict.fromkeys((study, series) for study, series, _ in instances):
            keys: DataSet = {
                _STUDY: Attribute("UI", [study]),
                _SERIES: Attribute("UI", [series]),
                _SOP: Attribute("UI"),
            }
            try:
                async with aclosing(self._node.query("instance", keys)) as matches:
                    async for match in matches:
                        found |= set(match.attributes().get(_SOP, Attribute("UI")).values)
            except (AssociationLost, AssociationRefused, ConfigurationError) as error:
                raise DestinationUnavailable(str(error)) from None
        return found & {sop for _, _, sop in instances}

    async def close(self) -> None:
        """Close associations once their instances are sent; waiting instances fail."""
        self._closing = True
        await self._notify()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._fail_waiting(DestinationUnavailable("the destination is being closed"))

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _open_connections(self) -> None:
        """Open one more association if none suits a waiting instance, or more instances wait than are open."""
        if self._closing or len(self._connections) >= self._section.connections:
            return
        self._waiting = deque(pending for pending in self._waiting if pending.wanted)
        if self._connections and asyncio.get_running_loop().time() < self._no_more_until:
            return
        unsuited = any(
            not any(connection.suits(pending) for connection in self._connections.values()) for pending in self._waiting
        )
        if unsuited or len(self._waiting) > len(self._connections):
            connection = _Connection()
            task = asyncio.get_running_loop().create_task(self._run(connection), name=f"to-{self._name}")
            self._connections[task] = connection
            task.add_done_callback(self._connection_ended)

    def _connection_ended(self, task: asyncio.Task[None]) -> None:
        del self._connections[task]
        error = None if task.cancelled() else task.exception()
        if error is None:
            if self._waiting:
                self._open_connections()
        elif self._connections:
            # The node accepts fewer associations than are configured; the others continue.
            self._no_more_until = asyncio.get_running_loop().time() + _NO_MORE
        else:
            self._fail_waiting(error)

    def _fail_waiting(self, error: BaseException) -> None:
        """Fail the waiting instances: no association is left to send them."""
        while self._waiting:
            self._waiting.popleft().fail(error)

    async def _run(self, connection: _Connection) -> None:
        """Run one association, from its first instance until none has waited for a while."""
        proposals = self._propose()
        for uid, syntaxes in proposals:
            connection.proposed.setdefault(uid, set()).update(syntaxes)
        transfer: Transfer | None = None
        try:
            node = await self._node.node()
            async with associate(node, proposals, max_operations=_WINDOW, blocks=self._blocks) as association:
                transfer = Transfer(
                    association,
                    [context for context in association.contexts.values() if context.as_scu],
                    lambda sent: self._report(sent, connection),
                    window=min(association.max_operations or _WINDOW, _WINDOW),
                    timeout=association.call.response_timeout,
                )
                while await self._more(connection):
                    await transfer.run(self._next(connection))
        except (AssociationRefused, AssociationLost, ConfigurationError) as error:
            if not connection.begun:
                raise DestinationUnavailable(str(error)) from None
        finally:
            for instance in reversed(transfer.unsent if transfer is not None else []):
                self._waiting.appendleft(self._by_instance.pop(id(instance)))

    def _propose(self) -> list[tuple[str, Sequence[str]]]:
        """The contexts for waiting instances, then for earlier SOP classes, as many as fit one association."""
        stored: dict[str, set[str]] = {}
        for pending in self._waiting:
            stored.setdefault(pending.instance.sop_class_uid, set()).add(pending.instance.transfer_syntax_uid)
        for uid, syntaxes in self._seen.items():
            stored.setdefault(uid, set()).update(syntaxes)
        self._seen = dict(list(stored.items())[:_REMEMBERED])
        plans = plan({uid: sorted(syntaxes) for uid, syntaxes in stored.items()})
        return plans[0] if plans else []

    async def _more(self, connection: _Connection) -> bool:
        """Wait until an instance suits this association. False when the association is to end."""
        async with self._changed:
            try:
                async with asyncio.timeout(_IDLE):
                    while not self._closing:
                        if any(connection.suits(pending) for pending in self._waiting if pending.wanted):
                            return True
                        if any(pending.wanted for pending in self._waiting):
                            return False  # Another association has to send it, and may have no room beside this one.
                        await self._changed.wait()
            except TimeoutError:
                pass
        return False

    async def _next(self, connection: _Connection) -> AsyncIterator[Instance]:
        """Yield the waiting instances that suit the association; never waits for more."""
        passed: deque[PendingSend] = deque()
        while self._waiting:
            pending = self._waiting.popleft()
            if not pending.wanted:
                continue
            if not connection.suits(pending):
                passed.append(pending)
                continue
            self._waiting.extendleft(reversed(passed))
            passed.clear()
            self._by_instance[id(pending.instance)] = pending
            yield pending.instance
        self._waiting.extendleft(reversed(passed))

    def _report(self, sent: Sent, connection: _Connection) -> None:
        connection.begun += 1
        pending = self._by_instance.pop(id(sent.item))
        pending.resolve(self._answer(sent, pending.instance.sent))

    def _answer(self, sent: Sent, size: int) -> Answer:
        if sent.ok or sent.status == status.DUPLICATE_SOP_INSTANCE:
            return Answer("delivered", sent.status, sent.detail, size)
        if sent.status is not None:
            again = self._retried.fullmatch(f"{sent.status:04X}") is not None
            return Answer("again" if again else "refused", sent.status, f"{self._name}: {sent.detail}", size)
        return Answer(outcome_of(sent.error), None, sent.detail, size)
