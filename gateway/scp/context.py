"""What the service classes are given to work with. No behaviour but the ownership of their tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from gateway.access.users import Authenticator
from gateway.archive.ingest import Ingest
from gateway.config import Settings
from gateway.database.database import Database
from gateway.storage.store import Store


@dataclass(slots=True)
class Context:
    """The rooms below, and the snapshot of now."""

    settings: Callable[[], Settings]
    ingest: Ingest
    database: Database
    store: Store
    authenticator: Authenticator = field(default_factory=Authenticator)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def own(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task that is awaited by `close` at the latest."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Cancel what is still at work; call it once every association has ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.authenticator.close()
