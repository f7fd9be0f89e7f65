"""One data folder, opened: its files, its database, and the ingest of one worker over both.

`serve`, `import`, `reindex`, `backup` all begin here. Several processes may have the same folder open at once; each
gets its own incoming folder.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import config
from gateway.errors import ConfigurationError, StorageError
from gateway.index import main_tags
from gateway.index.rebuild import unfinished
from gateway.ingest.committer import ThreadCommitter
from gateway.ingest.committer_pool import CommitterPool
from gateway.ingest.completeness import unknown_files
from gateway.ingest.health import Health
from gateway.ingest.index_database import open_database, open_transactions
from gateway.ingest.ingest import Ingest
from gateway.ingest.outbox import Outbox
from gateway.ingest.recovery import Recovery, retain_placed
from gateway.ingest.replay import SegmentReplay
from gateway.ingest.tenant_limits import TenantLimits
from gateway.processes.arena import Arena
from gateway.storage.filesystem import FileStore
from gateway.storage.incoming import IncomingFolder
from gateway.storage.layout import Layout
from gateway.storage.ownership import check_own, served
from gateway.storage.rejected import RejectedFolder
from gateway.storage.reserve import Reserve
from gateway.storage.segments.writer import SegmentWriter
from gateway.storage.workers import worker_name
from gateway.supervision import lasting

if TYPE_CHECKING:
    from gateway.database.postgres import PostgreSQL
    from gateway.database.sqlite import SQLite

_REMEDY = (
    "bring the newest one back from a backup, or make it anew from the files with `dicom-gateway reindex`; nothing has "
    "been changed"
)


@dataclasses.dataclass(slots=True)
class DataFolder:
    """An open data folder. `settings` are those with which it was opened."""

    settings: config.Storage
    layout: Layout
    store: FileStore
    database: SQLite | PostgreSQL
    url: str
    """That of PostgreSQL; empty for SQLite."""
    health: Health


@asynccontextmanager
async def open_folder(
    settings: config.Storage,
    url: str = "",
    *,
    create: bool = True,
    rebuilding: bool = False,
    health: Health | None = None,
) -> AsyncIterator[DataFolder]:
    """Open a data folder, recover from a crash, and close the folder in the end. `health` records failures.

    `url` is that of PostgreSQL where its index is there; empty: it is in SQLite.

    Raises: ConfigurationError when it cannot be used, or does not exist and `create` is false; DatabaseError. Only a
    caller that is `rebuilding` the index may open a store whose index is missing, half made or has less than the store:
    recovery would take instances that it lacks for never acknowledged ones.
    """
    main_tags.use(main_tags.built(settings.main_tags))
    layout = Layout(Path(settings.path))
    if not create and not layout.has_index():
        raise ConfigurationError(f"{settings.path}: there is no data folder here; name one with --data")
    store = FileStore(layout)
    await asyncio.to_thread(_prepare, layout, store)
    lost = not url and not store.is_empty() and not _has_content(layout.database)
    if lost and not rebuilding:
        raise ConfigurationError(
            f"{settings.path}: there are instances here, but {layout.database.name} is missing or empty; {_REMEDY}"
        )
    health = health or Health()
    database = await open_database(layout, url, lambda reason: health.fail(f"the database cannot write: {reason}"))
    try:
        is_bound = await database.is_bound(layout.marker)
        lost = lost or (not is_bound and not store.is_empty())
        if lost and not rebuilding:
            raise ConfigurationError(
                f"{settings.path}: there are instances here, and database.url names an empty database; {_REMEDY}"
            )
        if not rebuilding and await unfinished(database):
            raise ConfigurationError(
                f"{settings.path}: the index is half made, because a reindex was broken off; "
                "run `dicom-gateway reindex` again"
            )
        unknown = await unknown_files(layout, store, database)
        unknown += await SegmentReplay(store, database, settings.max_header).unknown()
        if unknown and not rebuilding:
            raise ConfigurationError(
                f"{settings.path}: the index does not know {len(unknown)} of the newest files of the store "
                f"({store.where(unknown[0])}, for one): it is older than they are, or of "
                f"another archive; {_REMEDY}"
            )
        if unknown or lost:
            await asyncio.to_thread(retain_placed, layout, store)
        await Recovery(layout, store, database, settings.max_header).run(replays=not rebuilding)
        if not is_bound:
            await database.bind(layout.marker)
        yield DataFolder(settings, layout, store, database, url, health)
    finally:
        await asyncio.to_thread(store.in_segments.close)
        await database.close()


@asynccontextmanager
async def open_ingest(
    folder: DataFolder,
    settings: Callable[[], config.Storage] | None = None,
    committed: Callable[[int], None] = lambda change: None,
    outbox: Outbox | None = None,
    memory: Arena | None = None,
    *,
    tenants: Callable[[], Mapping[str, config.Tenant]] = dict,
    workers: int = 1,
) -> AsyncIterator[Ingest]:
    """Open an ingest into the folder; closing it still commits complete instances.

    With `memory`, the arena of the receive blocks, `storage.keepers` processes commit.

    `settings` returns the current settings, if they can change; `committed` is called with the number of each change.
    Without `outbox` there are no deliveries. `tenants` returns the tenants with their limits; `workers` processes share
    their rates.
    """
    incoming = await asyncio.to_thread(IncomingFolder, folder.layout, folder.store, worker_name())
    rejected = await asyncio.to_thread(RejectedFolder, folder.layout, folder.settings.rejected_quota)
    threads = ThreadPoolExecutor(folder.settings.sync_threads, thread_name_prefix="sync")
    pool: CommitterPool | None = None
    again, closing = asyncio.Event(), asyncio.Event()
    if memory is not None and folder.settings.keepers:
        pool = CommitterPool(
            folder.layout, incoming, memory, threads, folder.database.fail, url=folder.url, died=again.set
        )
    ingest = Ingest(
        settings or (lambda: folder.settings),
        store=folder.store,
        incoming=incoming,
        rejected=rejected,
        reserve=Reserve(folder.layout),
        database=folder.database,
        health=folder.health,
        threads=threads,
        committer=pool or await _thread_committer(folder, threads),
        limits=TenantLimits(folder.database, tenants, workers=workers),
        outbox=outbox,
        committed=committed,
    )
    recovery = Recovery(folder.layout, folder.store, folder.database, folder.settings.max_header)
    late = asyncio.create_task(lasting("recovery", lambda: recovery.run_late(again, closing)))
    try:
        if pool is not None:
            await pool.start(folder.settings.keepers)
        await ingest.preallocate()
        ingest.garbage.begin()
        yield ingest
    finally:
        closing.set()
        again.set()
        await ingest.close()
        await late


async def _thread_committer(folder: DataFolder, threads: ThreadPoolExecutor) -> ThreadCommitter:
    """A committer in a thread of this process, with its own connection like a commit process. Raises: DatabaseError."""
    database = await asyncio.to_thread(open_transactions, folder.layout, folder.url)
    return ThreadCommitter(threads, database, SegmentWriter(folder.store.segments), folder.database.fail)


def _has_content(database: Path) -> bool:
    try:
        return database.stat().st_size > 0
    except FileNotFoundError:
        return False


@asynccontextmanager
async def serving(settings: config.Storage) -> AsyncIterator[None]:
    """Claim a data folder for one gateway, whose workers may then open it; made where it is missing.

    Raises: ConfigurationError when it cannot be used, or while another gateway serves it.
    """
    layout = Layout(Path(settings.path))
    await asyncio.to_thread(_prepare, layout, FileStore(layout))
    with served(layout):
        yield


def _prepare(layout: Layout, store: FileStore) -> None:
    try:
        check_own(layout)
        store.prepare()
    except OSError as error:
        raise ConfigurationError(
            f"storage.path: {layout.base} cannot be used: {error.strerror}; name a folder that we may write with --data"
        ) from None
    except StorageError as error:
        raise ConfigurationError(f"storage.path: {error}") from None
