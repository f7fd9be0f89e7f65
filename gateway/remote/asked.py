"""An instance that waits to be sent, and whoever waits for what becomes of it: for kinds that send several together."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from gateway.remote.destination import Answer
from gateway.remote.metering import Metered


@dataclass(slots=True, eq=False)
class Asked:
    """One instance that somebody waits for."""

    instance: Metered
    answer: asyncio.Future[Answer]

    @classmethod
    def of(cls, instance: Metered) -> Asked:
        return cls(instance, asyncio.get_running_loop().create_future())

    @property
    def wanted(self) -> bool:
        return not self.answer.done()

    def tell(self, answer: Answer) -> None:
        if self.wanted:
            self.answer.set_result(answer)

    def fail(self, error: BaseException) -> None:
        if self.wanted:
            self.answer.set_exception(error)
