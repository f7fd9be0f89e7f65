"""The context of the service classes: the use cases, and the ownership of their tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from gateway.config import Settings
from gateway.use_cases import UseCases


@dataclass(frozen=True, slots=True)
class Context:
    """The use cases, and the tasks that perform requests."""

    use_cases: UseCases
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    """Tasks awaited by `close`."""

    @property
    def settings(self) -> Callable[[], Settings]:
        """The current settings."""
        return self.use_cases.settings

    def own(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task; `close` awaits it at the latest."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def close(self) -> None:
        """Cancel the remaining tasks. The caller waits until every association has ended."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
