"""The use cases of the gateway, each built once, for DICOM, the web and deliveries alike.

`server.py` opens them over one data folder and passes the same `UseCases` to `scp/` and `web/`, so that a budget, a
cache or a count of failures is shared, whichever way it is used. No behaviour here but building and closing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.access.bearer import BearerAuthenticator
from gateway.access.changes import AccessChanges
from gateway.access.emergencies import Emergencies
from gateway.access.issued_tokens import IssuedTokens
from gateway.access.tokens import TokenVerifier
from gateway.access.users import Authenticator
from gateway.admin.anonymization import Anonymizing
from gateway.admin.creation import Creation
from gateway.admin.deletion import Removal
from gateway.audit.log import AuditLog
from gateway.config import Settings
from gateway.database.database import Database
from gateway.forwarding.acceptance import Acceptance
from gateway.forwarding.control import Deliveries
from gateway.forwarding.manual import ManualDeliveries
from gateway.forwarding.page_rules import PageRules
from gateway.imaging.cache import FrameCache
from gateway.ingest.attaching import Attaching
from gateway.ingest.ingest import Ingest
from gateway.jobs.runner import JobType
from gateway.processes.board import Scoreboard
from gateway.retrieve.archive import Archives
from gateway.retrieve.find import ResourceFinder
from gateway.retrieve.frame_index import FrameIndexCache
from gateway.retrieve.frame_memory import FrameMemory
from gateway.retrieve.metadata import MetadataCache
from gateway.retrieve.renderings import Renderer
from gateway.retrieve.retrieval import Retrieval
from gateway.storage.layout import Layout
from gateway.storage.outputs import OutputFolder
from gateway.storage.store import Store
from gateway.systems import alarms, modification_jobs, store_jobs, wado_jobs
from gateway.systems.alarms import EmergencyAlarms
from gateway.systems.archive_jobs import ArchiveJobs
from gateway.systems.directory import Directory
from gateway.systems.http_store_jobs import HttpStoreJobs
from gateway.systems.job_desk import JobDesk
from gateway.systems.kept_queries import KeptQueries
from gateway.systems.modification_jobs import ModificationJobs
from gateway.systems.reconstruction import KIND as RECONSTRUCT
from gateway.systems.reconstruction import Reconstruction
from gateway.systems.regrouping_jobs import RegroupingJobs
from gateway.systems.remote_search import RemoteSearch
from gateway.systems.retrieve_jobs import RetrieveJobs
from gateway.systems.store_jobs import StoreJobs
from gateway.systems.wado_jobs import WadoJobs
from gateway.workflow import commitment_requests, performed_steps
from gateway.workflow.commitment import Commitments
from gateway.workflow.performed_steps import PerformedSteps
from gateway.workflow.worklist import Worklists


@dataclass(frozen=True, slots=True)
class UseCases:
    """The use cases of one process of a gateway, and what they are built on."""

    settings: Callable[[], Settings]
    """The current settings, with the modalities that were added over REST."""
    configured: Callable[[], Settings]
    """The current settings as the configuration has them."""
    directory: Directory
    database: Database
    audit: AuditLog
    store: Store
    ingest: Ingest
    finder: ResourceFinder
    retrieval: Retrieval
    renderer: Renderer
    frame_index: FrameIndexCache
    metadata: MetadataCache
    anonymizing: Anonymizing
    attaching: Attaching
    archives: Archives
    archive_jobs: ArchiveJobs
    regrouping: RegroupingJobs
    removal: Removal
    deliveries: Deliveries
    manual_deliveries: ManualDeliveries
    acceptance: Acceptance
    commitments: Commitments
    creation: Creation
    worklists: Worklists
    steps: PerformedSteps
    authenticator: Authenticator
    tokens: TokenVerifier
    issued_tokens: IssuedTokens
    bearer: BearerAuthenticator
    access_changes: AccessChanges
    emergencies: Emergencies
    emergency_alarms: EmergencyAlarms
    page_rules: PageRules
    job_desk: JobDesk
    store_jobs: StoreJobs
    http_store_jobs: HttpStoreJobs
    retrieve_jobs: RetrieveJobs
    wado_jobs: WadoJobs
    kept_queries: KeptQueries
    remote_search: RemoteSearch
    modification_jobs: ModificationJobs
    reconstruction: Reconstruction
    wake: Callable[[], None]
    """Tells the job runner that a job may be due."""

    async def refresh(self) -> None:
        """Read again what was added or changed over REST, by whichever process."""
        await self.directory.refresh()
        await self.access_changes.refresh()
        await self.page_rules.refresh()

    @property
    def kinds(self) -> dict[str, JobType]:
        """The job types of the use cases; those of deliveries are in `forwarding/`."""
        return {
            commitment_requests.KIND: self.commitments.kind,
            performed_steps.KIND: self.steps.kind,
            store_jobs.KIND: self.store_jobs.kind,
            modification_jobs.KIND: self.modification_jobs.kind,
            RECONSTRUCT: self.reconstruction.kind,
            **self.archive_jobs.kinds,
            **self.http_store_jobs.kinds,
            **self.regrouping.kinds,
            **self.retrieve_jobs.kinds,
            wado_jobs.KIND: self.wado_jobs.kind,
            alarms.KIND: self.emergency_alarms.kind(self.emergencies),
        }


@asynccontextmanager
async def open_use_cases(
    settings: Callable[[], Settings],
    database: Database,
    store: Store,
    ingest: Ingest,
    *,
    wake: Callable[[], None] = lambda: None,
    systems_changed: Callable[[], None] = lambda: None,
    workers: int = 1,
    board: Scoreboard | None = None,
) -> AsyncIterator[UseCases]:
    """Build every use case; end their threads at exit.

    `workers` processes share the budgets of the gateway, and on `board` the memory of frames and wrong passwords.
    `settings` are those of the configuration; `systems_changed` tells the other processes that a system was added, or
    users or roles were changed.
    """
    configured = settings
    access_changes = AccessChanges(database, changed=systems_changed)
    page_rules = PageRules(database, configured, changed=systems_changed)
    directory = Directory(
        *(database, settings),
        changed=systems_changed,
        with_changes=lambda settings: page_rules.extend(access_changes.extend(settings)),
    )
    settings = directory.settings
    now = settings()
    readers = ThreadPoolExecutor(now.retrieve.threads + now.http.read_threads, thread_name_prefix="read")
    decoders = ThreadPoolExecutor(now.imaging.threads, thread_name_prefix="decode")
    renderers = ThreadPoolExecutor(now.imaging.threads, thread_name_prefix="picture")
    layout = Layout(Path(now.storage.path))
    frame_memory = FrameMemory(lambda: settings().imaging.memory, board)
    retrieval = Retrieval(database, store, readers, decoders, layout.spool, workers=workers, frame_memory=frame_memory)
    commitments = Commitments(database, store, settings, wake=wake)
    audit = AuditLog(database, settings)
    job_desk = JobDesk(database, wake=wake, audit=audit)
    archives = Archives(database, retrieval)
    anonymizing, removal = Anonymizing(database, retrieval, ingest), Removal(ingest)
    authenticator = Authenticator(failures=board.failures if board is not None else None)
    tokens, issued = TokenVerifier(), IssuedTokens(database, board.revocations if board is not None else None)
    emergency_alarms = EmergencyAlarms(settings)
    emergencies = Emergencies(database, issued.revocations, alarm=emergency_alarms.follow, begun=wake)
    kept_queries = KeptQueries(database, directory)
    try:
        yield UseCases(
            settings=settings,
            configured=configured,
            directory=directory,
            database=database,
            audit=audit,
            store=store,
            ingest=ingest,
            finder=ResourceFinder(database, store, settings),
            retrieval=retrieval,
            renderer=Renderer(database, retrieval, renderers, FrameCache(now.imaging.cache_memory)),
            frame_index=FrameIndexCache(),
            metadata=MetadataCache(database, retrieval, lambda: settings().http.metadata_cache),
            anonymizing=anonymizing,
            attaching=Attaching(ingest),
            archives=archives,
            archive_jobs=ArchiveJobs(job_desk, archives, ingest, OutputFolder(layout), settings),
            regrouping=RegroupingJobs(job_desk, anonymizing, retrieval, removal, settings),
            removal=removal,
            deliveries=Deliveries(database, settings, wake=wake),
            manual_deliveries=ManualDeliveries(database, settings, wake=wake),
            acceptance=Acceptance(database, store, settings, wake=wake),
            commitments=commitments,
            creation=Creation(database, retrieval, ingest, removal),
            worklists=Worklists(database, settings),
            steps=PerformedSteps(database, settings, wake=wake),
            authenticator=authenticator,
            tokens=tokens,
            issued_tokens=issued,
            bearer=BearerAuthenticator(tokens, issued),
            access_changes=access_changes,
            emergencies=emergencies,
            emergency_alarms=emergency_alarms,
            page_rules=page_rules,
            job_desk=job_desk,
            store_jobs=StoreJobs(job_desk, directory, retrieval, commitments),
            http_store_jobs=HttpStoreJobs(job_desk, directory, retrieval),
            retrieve_jobs=RetrieveJobs(job_desk, directory, ingest),
            wado_jobs=WadoJobs(job_desk, directory, ingest),
            kept_queries=kept_queries,
            remote_search=RemoteSearch(directory, kept_queries),
            modification_jobs=ModificationJobs(job_desk, anonymizing, removal, settings),
            reconstruction=Reconstruction(job_desk, store, lambda: settings().storage.max_header),
            wake=wake,
        )
    finally:
        await audit.close()
        authenticator.close()
        for threads in (readers, decoders, renderers):
            await asyncio.to_thread(threads.shutdown, cancel_futures=True)
