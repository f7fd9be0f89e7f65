"""Destinations of kind `dicom`: instances to one node, over associations that stay open while there is something to
send.

What waits is shared by a few associations. Each proposes contexts for what waits when it is opened, and takes of the
queue what it has proposed; what no open association has proposed gets one of its own. What goes over one is
`scu/sending.py`'s.
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
from gateway.remote.asked import Asked
from gateway.remote.destination import Answer, DestinationUnavailable, Named, is_for_ever, matching
from gateway.remote.dimse import DimseNode
from gateway.remote.metering import Bandwidth, Metered
from gateway.scu.node import associate
from gateway.scu.sending import Instance, Sent, Transfer, plan

_WINDOW: Final = 8
"""Instances on their way at once on an association, where the node grants it (PS3.7 D.3.3.3)."""
_IDLE: Final = 3.0
"""Seconds that an association stays open with nothing to send."""
_NO_MORE: Final = 10.0
"""Seconds for which no further association is tried, when one was not to be had beside others."""
_REMEMBERED: Final = 64
"""SOP classes."""
_BLOCKS: Final = 16
"""Receive blocks for all associations: what comes back is only responses."""
_STUDY: Final = 0x0020000D
_SERIES: Final = 0x0020000E
_SOP: Final = 0x00080018


@dataclass(slots=True, eq=False)
class _Line:
    """One association: which SOP classes it has proposed contexts for, with which transfer syntaxes."""

    proposed: dict[str, set[str]] = field(default_factory=dict)
    begun: int = 0
    """Instances that were begun, whatever became of them."""

    def suits(self, asked: Asked) -> bool:
        return asked.instance.transfer_syntax_uid in self.proposed.get(asked.instance.sop_class_uid, ())


class DicomNode:
    """A node by its modality."""

    def __init__(self, name: str, section: DicomDestination, settings: Callable[[], Settings]) -> None:
        self._name = name
        self._section = section
        self._node = DimseNode(settings, section.modality)
        self._retried = matching(section.retried)
        self._bandwidth = Bandwidth(section.bandwidth)
        self._blocks = BlockPool(_BLOCKS)
        self._waiting: deque[Asked] = deque()
        self._by_instance: dict[int, Asked] = {}
        """Those that an association has taken, by the identity of the instance."""
        self._seen: dict[str, set[str]] = {}
        """SOP classes that went here, with their transfer syntaxes: most likely more of them will."""
        self._news = asyncio.Condition()
        self._lines: dict[asyncio.Task[None], _Line] = {}
        self._no_more_until = 0.0
        self._closing = False

    async def send(self, instance: Instance) -> Answer:
        """As `Destination.send`."""
        asked = Asked.of(Metered(instance, self._bandwidth))
        self._waiting.append(asked)
        await self._told()
        self._open_lines()
        return await asked.answer

    async def has(self, instances: Sequence[Named]) -> set[str]:
        """By C-FIND at the level of images, a series at a time."""
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
        """Associations end once what they have taken is sent; what waits is not."""
        self._closing = True
        await self._told()
        await asyncio.gather(*self._lines, return_exceptions=True)
        self._turn_away(DestinationUnavailable("the destination is being closed"))

    async def _told(self) -> None:
        async with self._news:
            self._news.notify_all()

    def _open_lines(self) -> None:
        """One more association where there is more to send than those that are open suit or can take at once."""
        if self._closing or len(self._lines) >= self._section.connections:
            return
        self._waiting = deque(asked for asked in self._waiting if asked.wanted)
        if self._lines and asyncio.get_running_loop().time() < self._no_more_until:
            return
        unsuited = any(not any(line.suits(asked) for line in self._lines.values()) for asked in self._waiting)
        if unsuited or len(self._waiting) > len(self._lines):
            line = _Line()
            task = asyncio.get_running_loop().create_task(self._run(line), name=f"to-{self._name}")
            self._lines[task] = line
            task.add_done_callback(self._line_ended)

    def _line_ended(self, task: asyncio.Task[None]) -> None:
        del self._lines[task]
        error = None if task.cancelled() else task.exception()
        if error is None:
            if self._waiting:
                self._open_lines()
        elif self._lines:
            # It takes fewer associations than we would open; the others go on.
            self._no_more_until = asyncio.get_running_loop().time() + _NO_MORE
        else:
            self._turn_away(error)

    def _turn_away(self, error: BaseException) -> None:
        """Nobody is left who could send what waits."""
        while self._waiting:
            self._waiting.popleft().fail(error)

    async def _run(self, line: _Line) -> None:
        """One association, from its first instance until there is none for a while."""
        proposals = self._propose()
        for uid, syntaxes in proposals:
            line.proposed.setdefault(uid, set()).update(syntaxes)
        transfer: Transfer | None = None
        try:
            node = await self._node.node()
            async with associate(node, proposals, max_operations=_WINDOW, blocks=self._blocks) as association:
                transfer = Transfer(
                    association,
                    [context for context in association.contexts.values() if context.as_scu],
                    lambda sent: self._report(sent, line),
                    window=min(association.max_operations or _WINDOW, _WINDOW),
                    timeout=association.call.response_timeout,
                )
                while await self._more(line):
                    await transfer.run(self._take(line))
        except (AssociationRefused, AssociationLost, ConfigurationError) as error:
            if not line.begun:
                raise DestinationUnavailable(str(error)) from None
        finally:
            for instance in reversed(transfer.left if transfer is not None else []):
                self._waiting.appendleft(self._by_instance.pop(id(instance)))

    def _propose(self) -> list[tuple[str, Sequence[str]]]:
        """Contexts for what waits, then for what has gone here before, as many as one association has room for."""
        stored: dict[str, set[str]] = {}
        for asked in self._waiting:
            stored.setdefault(asked.instance.sop_class_uid, set()).add(asked.instance.transfer_syntax_uid)
        for uid, syntaxes in self._seen.items():
            stored.setdefault(uid, set()).update(syntaxes)
        self._seen = dict(list(stored.items())[:_REMEMBERED])
        plans = plan({uid: sorted(syntaxes) for uid, syntaxes in stored.items()})
        return plans[0] if plans else []

    async def _more(self, line: _Line) -> bool:
        """Wait until there is something for this association. False where it is to end."""
        async with self._news:
            try:
                async with asyncio.timeout(_IDLE):
                    while not self._closing:
                        if any(line.suits(asked) for asked in self._waiting if asked.wanted):
                            return True
                        if any(asked.wanted for asked in self._waiting):
                            return False  # It is for another, which there may be no room for beside this one.
                        await self._news.wait()
            except TimeoutError:
                pass
        return False

    async def _take(self, line: _Line) -> AsyncIterator[Instance]:
        """What waits and suits, as long as there is any; it never waits for more."""
        passed: deque[Asked] = deque()
        while self._waiting:
            asked = self._waiting.popleft()
            if not asked.wanted:
                continue
            if not line.suits(asked):
                passed.append(asked)
                continue
            self._waiting.extendleft(reversed(passed))
            passed.clear()
            self._by_instance[id(asked.instance)] = asked
            yield asked.instance
        self._waiting.extendleft(reversed(passed))

    def _report(self, sent: Sent, line: _Line) -> None:
        line.begun += 1
        asked = self._by_instance.pop(id(sent.item))
        asked.tell(self._answer(sent, asked.instance.sent))

    def _answer(self, sent: Sent, size: int) -> Answer:
        if sent.ok or sent.status == status.DUPLICATE_SOP_INSTANCE:
            return Answer("delivered", sent.status, sent.detail, size)
        if sent.status is not None:
            again = self._retried.fullmatch(f"{sent.status:04X}") is not None
            return Answer("again" if again else "refused", sent.status, f"{self._name}: {sent.detail}", size)
        return Answer("refused" if is_for_ever(sent.error) else "again", None, sent.detail, size)
