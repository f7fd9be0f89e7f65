"""An instance that waits to be sent, with the future of its answer: for destinations that send several together."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from gateway import tracing
from gateway.remote.destination import Answer
from gateway.remote.rate_limit import RateLimited


@dataclass(slots=True, eq=False)
class PendingSend:
    """One instance with a caller that awaits its answer."""

    instance: RateLimited
    answer: asyncio.Future[Answer]
    trace: Any = None
    """The context of its delivery in a trace; None for none."""

    @classmethod
    def of(cls, instance: RateLimited) -> PendingSend:
        return cls(instance, asyncio.get_running_loop().create_future(), tracing.current())

    @property
    def wanted(self) -> bool:
        return not self.answer.done()

    def resolve(self, answer: Answer) -> None:
        if self.wanted:
            self.answer.set_result(answer)

    def fail(self, error: BaseException) -> None:
        if self.wanted:
            self.answer.set_exception(error)
