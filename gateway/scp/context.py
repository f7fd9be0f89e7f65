"""What the service classes are given to work with. No behaviour but the ownership of their tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.access.tokens import TokenVerifier
from gateway.access.users import Authenticator
from gateway.archive import commitment, performed
from gateway.archive.commitment import Commitments
from gateway.archive.ingest import Ingest
from gateway.archive.performed import PerformedSteps
from gateway.archive.retrieve import Retrieval
from gateway.archive.worklist import Worklists
from gateway.config import Settings
from gateway.database.database import Database
from gateway.jobs.runner import Kind
from gateway.storage.layout import Layout
from gateway.storage.store import Store


@dataclass(slots=True)
class Context:
    """The rooms below, and the snapshot of now."""

    settings: Callable[[], Settings]
    ingest: Ingest
    database: Database
    store: Store
    authenticator: Authenticator = field(default_factory=Authenticator)
    tokens: TokenVerifier = field(default_factory=TokenVerifier)
    workers: int = 1
    """Processes that this gateway is made of."""
    wake: Callable[[], None] = lambda: None
    """Tells the runner of jobs that there is something to do."""
    commitments: Commitments = field(init=False)
    worklists: Worklists = field(init=False)
    steps: PerformedSteps = field(init=False)
    retrieval: Retrieval = field(init=False)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    """What `close` awaits."""
    _threads: list[ThreadPoolExecutor] = field(init=False)

    def __post_init__(self) -> None:
        def wake() -> None:
            self.wake()

        retrieve = self.settings().retrieve
        readers = ThreadPoolExecutor(retrieve.threads, thread_name_prefix="retrieve")
        decoders = ThreadPoolExecutor(self.settings().imaging.threads, thread_name_prefix="decode")
        self._threads = [readers, decoders]
        folder = Layout(Path(self.settings().storage.path)).spool
        self.retrieval = Retrieval(self.database, self.store, readers, decoders, folder, workers=self.workers)
        self.commitments = Commitments(self.database, self.store, self.settings, wake=wake)
        self.worklists = Worklists(self.database, self.settings)
        self.steps = PerformedSteps(self.database, self.settings, wake=wake)

    @property
    def kinds(self) -> dict[str, Kind]:
        """The jobs of our services, by kind."""
        return {commitment.KIND: self.commitments.kind, performed.KIND: self.steps.kind}

    def own(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task that is awaited by `close` at the latest."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def close(self) -> None:
        """Cancel what is still at work; call it once every association has ended."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.authenticator.close()
        for threads in self._threads:
            await asyncio.to_thread(threads.shutdown)
