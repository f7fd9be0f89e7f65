"""Instances sent to one node over successive associations: what one leaves unsent, the next sends.

The `send` command and the sub-operations of C-MOVE use it. `transfer.py` has one association; deliveries, which await
further instances, manage their own associations (`remote/dicom.py`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from gateway.errors import GatewayError
from gateway.net.buffers import BlockPool
from gateway.scu.node import Node, associate
from gateway.scu.transfer import UNASKED, Instance, Origin, Proposal, Sent, Transfer

MAX_FRUITLESS = 5
"""Consecutive associations that may end before any instance is answered; then the node counts as failed."""


class Remaining:
    """Instances still to be sent, shared by several associations."""

    def __init__(self, instances: AsyncIterator[Instance]) -> None:
        self._instances = instances
        self._returned: deque[Instance] = deque()
        self._turn = asyncio.Lock()

    def __aiter__(self) -> Remaining:
        return self

    async def __anext__(self) -> Instance:
        async with self._turn:
            return self._returned.popleft() if self._returned else await anext(self._instances)

    def put_back(self, instances: Iterable[Instance]) -> None:
        """Return instances, to be taken again before all others."""
        self._returned.extendleft(reversed(list(instances)))

    async def any(self) -> bool:
        """Whether an instance remains."""
        try:
            self.put_back([await anext(self)])
        except StopAsyncIteration:
            return False
        return True


async def send_in_turn(
    node: Node,
    proposals: Sequence[Proposal],
    remaining: Remaining,
    report: Callable[[Sent], None],
    *,
    window: int,
    blocks: BlockPool,
    origin: Origin = UNASKED,
    stopped: Callable[[], bool] = lambda: False,
) -> str:
    """Send the remaining instances over one association, and over a new one whenever that ends early.

    `report` is called once for each instance. Returns why instances remain, or an empty text: the node refuses, cannot
    be reached, does not answer, or ended MAX_FRUITLESS consecutive associations without an answer.

    When an association ends during several requests, any of them may have ended it: they are sent again, one at a time
    from then on. An instance that is then alone when the association ends has failed.
    """
    trouble, fruitless = "", 0
    while fruitless < MAX_FRUITLESS and not stopped() and await remaining.any():
        transfer: Transfer | None = None
        lost: list[Sent] = []

        def done(sent: Sent, lost: list[Sent] = lost) -> None:
            if sent.lost:
                lost.append(sent)
            else:
                report(sent)

        try:
            async with associate(node, proposals, max_operations=window, blocks=blocks) as association:
                transfer = Transfer(
                    association,
                    [context for context in association.contexts.values() if context.as_scu],
                    done,
                    window=min(association.max_operations or window, window),
                    timeout=association.call.response_timeout,
                    origin=origin,
                )
                await transfer.run(remaining, stopped)
            return ""
        except GatewayError as error:
            trouble = str(error)
            if transfer is None:
                return trouble
            remaining.put_back(transfer.unsent)
            fruitless = 0 if transfer.finished else fruitless + 1
            if association.unresponsive and fruitless:
                return trouble  # A node that did not answer would make each further instance wait as long.
            if len(lost) > 1:
                remaining.put_back(sent.item for sent in lost)
                lost.clear()
                window = 1
        finally:
            for sent in lost:
                report(sent)
    return trouble
