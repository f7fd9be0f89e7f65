"""One data folder, opened: its files, its database, and the ingest of one worker over both.

`serve`, `import`, `reindex`, `backup` all begin here. Several may have the same folder open at once; each gets an
incoming folder of its own.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from gateway import config
from gateway.archive.deliveries.dispatch import Dispatch
from gateway.archive.health import Health
from gateway.archive.ingest import Ingest, collect_garbage
from gateway.archive.keepers import Keepers
from gateway.archive.recovery import recover, recover_late
from gateway.database.sqlite import SQLite
from gateway.errors import ConfigurationError
from gateway.index.rebuild import unfinished
from gateway.storage.arena import Arena
from gateway.storage.filesystem import FileStore, sync_folder
from gateway.storage.incoming import IncomingFolder
from gateway.storage.layout import Layout, new_key
from gateway.storage.rejected import RejectedFolder


@dataclasses.dataclass(slots=True)
class DataFolder:
    """What is open. `settings` are those it was opened with."""

    settings: config.Storage
    layout: Layout
    store: FileStore
    database: SQLite
    health: Health


@asynccontextmanager
async def open_folder(
    settings: config.Storage, *, create: bool = True, rebuilding: bool = False
) -> AsyncIterator[DataFolder]:
    """Open a data folder, finish or undo what a crash left, and close it in the end.

    Raises ConfigurationError when it cannot be used, or is not there and `create` is false; DatabaseError. Only who is
    `rebuilding` the index may open a store whose index is missing or half made: recovery would take what it does not
    find there for what was never acknowledged.
    """
    layout = Layout(Path(settings.path))
    if not create and not layout.database.exists():
        raise ConfigurationError(f"{settings.path}: there is no data folder here; name one with --data")
    await asyncio.to_thread(_prepare, layout)
    if not rebuilding and not layout.database.exists() and any(layout.store.iterdir()):
        raise ConfigurationError(
            f"{settings.path}: there are instances here, but {layout.database.name} is missing; bring it back from a "
            "backup, or make it anew with `dicom-gateway reindex`"
        )
    database = await SQLite.open(layout.database, lock_path=layout.write_lock)
    try:
        if not rebuilding and await unfinished(database):
            raise ConfigurationError(
                f"{settings.path}: the index is half made, because a reindex was broken off; "
                "run `dicom-gateway reindex` again"
            )
        store = FileStore(layout)
        await recover(layout, store, database)
        yield DataFolder(settings, layout, store, database, Health())
    finally:
        await database.close()


@asynccontextmanager
async def open_ingest(
    folder: DataFolder,
    settings: Callable[[], config.Storage] | None = None,
    committed: Callable[[int], None] = lambda change: None,
    dispatch: Dispatch | None = None,
    memory: Arena | None = None,
) -> AsyncIterator[Ingest]:
    """An ingest into the folder; on the way out what is complete is still taken in.

    With `memory`, of which the receive blocks are made, `storage.keepers` processes keep what comes.

    `settings` gives the snapshot of now, where it can change; `committed` is called with the number of each change.
    Without `dispatch` nothing that is taken in goes anywhere.
    """
    worker = f"{os.getpid()}-{new_key(time.time_ns() // 1_000_000)}"
    incoming = await asyncio.to_thread(IncomingFolder, folder.layout, folder.store, worker)
    rejected = await asyncio.to_thread(RejectedFolder, folder.layout, folder.settings.rejected_quota)
    ingest = Ingest(
        settings or (lambda: folder.settings),
        store=folder.store,
        incoming=incoming,
        rejected=rejected,
        database=folder.database,
        health=folder.health,
        dispatch=dispatch,
        committed=committed,
    )
    closing = asyncio.Event()
    late = asyncio.create_task(recover_late(folder.layout, folder.store, folder.database, closing))
    try:
        if memory is not None and folder.settings.keepers:
            ingest.keeping = keepers = Keepers(folder.layout, incoming, memory, ingest.threads, folder.database.fail)
            await keepers.start(folder.settings.keepers)
        await ingest.restock()
        await collect_garbage(folder.database, folder.store, ingest.threads)
        yield ingest
    finally:
        closing.set()
        await ingest.close()
        await late


def _prepare(layout: Layout) -> None:
    try:
        for path in (layout.base, layout.store, layout.incoming, layout.rejected):
            path.mkdir(mode=0o750, parents=True, exist_ok=True)
        for path in (layout.base, layout.base.absolute().parent):
            sync_folder(path)
        devices = {path.stat().st_dev for path in (layout.store, layout.incoming, layout.rejected)}
    except OSError as error:
        raise ConfigurationError(
            f"storage.path: {layout.base} cannot be used: {error.strerror}; name a folder that we may write with --data"
        ) from None
    if len(devices) > 1:
        raise ConfigurationError(
            f"storage.path: store, incoming and rejected in {layout.base} must be on one file system, "
            "because instances are linked from one to the other"
        )
