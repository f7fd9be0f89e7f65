"""The composition root: build, start, reload, drain, stop. No other module knows all rooms."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway import __version__, telemetry, tracing
from gateway.admin.log_erasure import LogErasure
from gateway.admin.retention import Retention
from gateway.admin.scrub import Scrub
from gateway.audit.log import AuditLog
from gateway.audit.syslog import AuditSender
from gateway.config import Settings, Tracing, changes
from gateway.current_settings import (
    Current,
    announce,
    keep_current,
    log_start,
    log_stop,
    stamp_of,
    warn_of_unusable_folders,
)
from gateway.database.actor import GATEWAY
from gateway.database.database import Script
from gateway.database.sqlite import SQLite
from gateway.errors import DatabaseError
from gateway.events.feed import Feed
from gateway.examination import examine
from gateway.forwarding import service as delivery
from gateway.forwarding.control import hold_incomplete
from gateway.forwarding.rule_engine import RuleEngine
from gateway.forwarding.table import forget_deliveries
from gateway.ingest.data_folder import open_folder, open_ingest, serving
from gateway.ingest.health import Health
from gateway.ingest.pixel_examination import Examination
from gateway.ingest.readiness import Readiness
from gateway.ingest.stability_watch import StabilityWatch
from gateway.jobs.runner import Runner
from gateway.jobs.table import forget_jobs
from gateway.net.acceptor import Acceptor, TlsPort
from gateway.net.associations import OpenAssociations, read_records
from gateway.net.buffers import BLOCK_SIZE, BlockPool
from gateway.net.record_log import RecordLog
from gateway.net.tls import Certificates
from gateway.processes.arena import COPIES, Arena
from gateway.processes.group import Group
from gateway.processes.process import connections_within, prepare_process
from gateway.processes.sockets import Sockets, bind, web_url
from gateway.scp import context as scp
from gateway.scp import storage
from gateway.scp.services import REGISTRY, GatewayServices, Offer
from gateway.supervision import beside
from gateway.ul.association import Limits
from gateway.use_cases import UseCases, open_use_cases
from gateway.web.app import create_app
from gateway.web.context import Accepted, Context, Control
from gateway.web.listener import Listener

log = logging.getLogger(__name__)

_UNASSOCIATED = 200
"""Connections beyond the limit on associations, so that a rejected peer gets the reason."""
_SENDING_ENDS_S = 3.0
"""Seconds for transfers under way when the gateway stops; the rest is sent after the next start."""
_MAX_NAMED = 100
"""Settings that have changed, in one entry of the audit log."""

OnListening = Callable[[tuple[str, int] | None, tuple[str, int] | None, str], None]
"""Called with the listening addresses: DICOM, plain and TLS, None for none, and the URL of the web."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """One running gateway, or one worker of it. Built by `running`."""

    current: Current
    group: Group | None
    certificates: Certificates | None
    """The certificates for DICOM over TLS."""
    health: Health
    readiness: Readiness
    rule_engine: RuleEngine
    use_cases: UseCases
    services: GatewayServices
    acceptor: Acceptor
    web: Listener
    audit: AuditLog
    jobs_added: asyncio.Event
    """Set when there may be a job to do."""

    @property
    def does_jobs(self) -> bool:
        """Whether this is the one worker that does what is to be done once for all."""
        return self.group is None or self.group.does_jobs

    async def use(self, settings: Settings) -> None:
        """Apply a checked snapshot to everything that begins from now on.

        Raises: ConfigurationError, with nothing changed, for a problem that only another room can find.
        """
        ready = await asyncio.to_thread(examine, settings)
        if self.group is None:
            announce(self.current(), settings, ready)
        self.services.use(settings)
        if self.certificates is not None and ready.dicom is not None:
            self.certificates.replace(ready.dicom)
        self.web.use(ready.web)
        self.rule_engine.use(ready.rules)
        most, self.web.max_connections = _connections(settings, self.group)
        self.acceptor.use(_limits(settings), most, settings.dicom.max_operations)
        await self._write_down(self.current(), settings)
        worker = self.group.number if self.group is not None else 0
        telemetry.setup_logging(settings.log.level, settings.log.format, worker=worker)
        await asyncio.to_thread(tracing.use, settings.tracing, worker)

    async def _write_down(self, before: Settings, after: Settings) -> None:
        """Use the snapshot, and write down what has changed: also that the audit log begins or ends."""
        names = changes(before, after) if self.does_jobs else []
        entries = [self.audit.entry("settings", GATEWAY, detail={"changed": names[:_MAX_NAMED]})] if names else []
        if before.is_audited:
            await self.audit.write(*entries)
        self.current.settings = after
        if not before.is_audited:
            await self.audit.write(*entries)

    async def refresh_systems(self) -> None:
        """Another process has added, changed or removed a system."""
        try:
            await self.use_cases.refresh()
        except DatabaseError as error:
            log.warning("which systems were added over REST cannot be read: %s", error)

    def drain(self) -> None:
        """Reject new associations, with a reason that makes senders retry."""
        self.readiness.is_draining = self.services.draining = True


@asynccontextmanager
async def running(settings: Settings, group: Group | None = None) -> AsyncIterator[Gateway]:
    """Run a gateway that listens; drains and closes everything at exit. Raises ConfigurationError.

    With a `group`, it is one worker of several, on the sockets that they share.
    """
    prepare_process()
    ready = await asyncio.to_thread(examine, settings)
    current, jobs_added = Current(settings), asyncio.Event()
    health = Health(group.failures, group.report_failure) if group is not None else Health()
    wake = jobs_added.set if group is None or group.does_jobs else group.report_job
    rule_engine = RuleEngine(current, wake=wake)
    rule_engine.use(ready.rules)
    async with AsyncExitStack() as opened:
        await asyncio.to_thread(tracing.use, settings.tracing, group.number if group is not None else 0)
        opened.push_async_callback(asyncio.to_thread, tracing.use, Tracing())
        memory = opened.enter_context(closing(Arena(settings.storage.buffer_memory, COPIES)))
        folder = await opened.enter_async_context(open_folder(settings.storage, settings.database.url, health=health))
        feed = Feed(folder.database)
        opened.push_async_callback(feed.close)
        ingest = await opened.enter_async_context(
            open_ingest(
                *(folder, lambda: current().storage, feed.notify, rule_engine, memory),
                tenants=lambda: current().tenants,
                workers=group.count if group is not None else 1,
            )
        )
        use_cases = await opened.enter_async_context(
            open_use_cases(
                *(current, folder.database, folder.store, ingest),
                wake=wake,
                systems_changed=group.report_systems if group is not None else lambda: None,
                workers=group.count if group is not None else 1,
                board=group.board if group is not None else None,
            )
        )
        await use_cases.refresh()
        rule_engine.read_from(lambda: use_cases.directory.extend(current()))
        sockets = opened.enter_context(closing(bind(settings) if group is None else group.sockets))
        most, most_web = _connections(settings, group)
        context, deliveries = scp.Context(use_cases), _deliveries(use_cases, rule_engine)
        runner, examination = _runner(use_cases, deliveries, jobs_added), _examination(use_cases)
        watch, record_log = StabilityWatch(folder.database, feed.notify), await RecordLog.open(folder.database)
        open_now = group.open_associations if group is not None else OpenAssociations()
        records = group.all_records if group is not None else lambda: read_records(open_now.records())
        services = GatewayServices(
            settings,
            context,
            group.association_slots if group is not None else lambda: nullcontext(open_now.established()),
        )
        blocks = BlockPool(settings.storage.buffer_memory // BLOCK_SIZE, allocate=memory.allocate)
        acceptor = _acceptor(settings, sockets, services, ready.dicom, group, blocks, open_now, most, record_log)
        readiness = Readiness(health, ingest)
        web = Listener(
            create_app(
                Context(
                    use_cases=use_cases,
                    feed=feed,
                    associations=group.all_associations if group is not None else open_now.statuses,
                    readiness=readiness,
                    ports=sockets.ports,
                    intake=group.intake if group is not None else telemetry.intake,
                    accepted=_accepted(use_cases.settings),
                    control=_control(group),
                    records=lambda: record_log.extended(records()),
                )
            ),
            max_connections=most_web,
        )
        gateway = Gateway(
            current=current,
            group=group,
            certificates=ready.dicom,
            health=health,
            readiness=readiness,
            rule_engine=rule_engine,
            use_cases=use_cases,
            services=services,
            acceptor=acceptor,
            web=web,
            audit=use_cases.audit,
            jobs_added=jobs_added,
        )
        try:
            await web.start(settings.http, sockets.web, group.web_turns if group is not None else None)
            acceptor.start()
            does_jobs = gateway.does_jobs
            if does_jobs:
                await use_cases.audit.write(
                    use_cases.audit.entry("start", GATEWAY, detail={"version": __version__}),
                    use_cases.audit.entry("attach", GATEWAY),
                )
                for each in (runner, examination, watch):
                    each.start()
            only_one = (lambda work: work) if does_jobs else (lambda work: None)
            retention = Retention(folder.database, use_cases.removal, current, use_cases.audit)
            log_erasure = None
            if isinstance(folder.database, SQLite):
                log_erasure = LogErasure(folder.database, lambda: current().storage.erase_within_hours)
            scrub = Scrub(folder.store.segments, folder.database, lambda: current().storage.scrub_days)
            async with (
                beside("watching the certificates", ready.dicom.watch if ready.dicom is not None else None),
                beside("deleting archives that are too old", only_one(use_cases.archive_jobs.expire_forever)),
                beside("sending audit messages", only_one(AuditSender(folder.database, current).send_forever)),
                beside("removing old entries of the audit log", only_one(use_cases.audit.forget_forever)),
                beside("writing the records of associations", lambda: record_log.write_forever(open_now)),
                beside("deleting old studies of tenants", only_one(retention.run_forever)),
                beside("checking the store", only_one(scrub.run_forever)),
                beside("overwriting the log of the index", only_one(log_erasure.run_forever) if log_erasure else None),
            ):
                yield gateway
        finally:
            gateway.drain()
            await acceptor.stop(current().dicom.drain_timeout)
            await record_log.flush(open_now)
            for each in (runner, examination, watch):
                await each.close()
            await deliveries.close(_SENDING_ENDS_S)
            await context.close()
            await web.stop()
            if gateway.does_jobs:
                for action in ("detach", "stop"):
                    use_cases.audit.add(use_cases.audit.entry(action, GATEWAY))


def _control(group: Group | None) -> Control:
    main_process = group.main_process if group is not None else os.getpid()
    return Control(
        stop=lambda: os.kill(main_process, signal.SIGTERM),
        reload=lambda: os.kill(main_process, signal.SIGHUP),
        set_verbosity=group.report_verbosity if group is not None else telemetry.set_verbosity,
    )


def _accepted(settings: Callable[[], Settings]) -> Accepted:
    """What the DICOM side says of itself to the web."""

    def offered() -> dict[str, frozenset[str]]:
        contexts = Offer(settings().dicom).contexts
        return {uid: syntaxes for uid, syntaxes in contexts.items() if REGISTRY.of(uid) is storage.SERVICE}

    def conformance() -> str:
        from gateway.scp.conformance import statement  # with pydicom and numpy, which nothing else here needs

        return statement(settings())

    return Accepted(
        transfer_syntaxes=lambda: sorted(set().union(*offered().values())),
        sop_classes=lambda: sorted(offered()),
        conformance=conformance,
    )


def _deliveries(cases: UseCases, rule_engine: RuleEngine) -> delivery.Service:
    return delivery.Service(
        cases.database, cases.settings, rule_engine, cases.retrieval, wake=cases.wake, audit=cases.audit
    )


def _examination(use_cases: UseCases) -> Examination:
    settings = use_cases.settings
    return Examination(
        use_cases.database,
        use_cases.store,
        lambda instance, lacking: hold_incomplete(instance, lacking, settings()),
    )


def _runner(use_cases: UseCases, deliveries: delivery.Service, jobs_added: asyncio.Event) -> Runner:
    jobs = use_cases.settings().jobs

    def purge(now: float) -> Script[int]:
        gone = yield from forget_jobs(now - jobs.keep_days * 86400)
        return gone + (yield from forget_deliveries(now - jobs.keep_deliveries_days * 86400))

    return Runner(
        use_cases.database,
        use_cases.kinds | deliveries.kinds,
        owner=use_cases.ingest.incoming.name,  # after a crash, the adopter of this folder knows that the jobs are free
        slots=jobs.slots,
        limit=deliveries.limit,
        purge=purge,
        wake=jobs_added,
    )


async def serve(
    settings: Settings,
    *,
    config_file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    on_listening: OnListening = lambda dicom, tls, web: None,
) -> int:
    """Run until SIGTERM or SIGINT; SIGHUP, or a change of the file, reloads the settings. Returns the exit code.

    `on_listening` is called once all ports listen.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    reload_requested = asyncio.Event()
    read, began = await stamp_of(config_file), time.monotonic()
    # Installed from start to end: by default the signal would end the process, even during a drain.
    loop.add_signal_handler(signal.SIGHUP, reload_requested.set)
    async with serving(settings.storage), running(settings) as gateway:
        await warn_of_unusable_folders(settings)
        keeper = loop.create_task(keep_current(gateway, config_file, overrides, reload_requested, read))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        url = web_url(settings.http, gateway.web.port)
        log_start(settings, gateway.acceptor.plain_address, gateway.acceptor.tls_address, url, 1)
        on_listening(gateway.acceptor.plain_address, gateway.acceptor.tls_address, url)
        try:
            await stop.wait()
        finally:
            keeper.cancel()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
    log_stop(began)
    return 0


def _limits(settings: Settings) -> Limits:
    return Limits(
        max_length_received=settings.dicom.max_pdu,
        artim_timeout=settings.dicom.artim_timeout,
        idle_timeout=settings.dicom.idle_timeout,
    )


def _connections(settings: Settings, group: Group | None) -> tuple[int, int]:
    """The connections to accept, DICOM and web: this worker's share of the limits, plus some to reject associations."""
    count = group.count if group is not None else 1
    dicom = settings.dicom.max_associations // count + _UNASSOCIATED
    first, second = connections_within(dicom, max(1, settings.http.max_connections // count))
    return first, second


def _acceptor(
    settings: Settings,
    sockets: Sockets,
    services: GatewayServices,
    certificates: Certificates | None,
    group: Group | None,
    blocks: BlockPool,
    open_now: OpenAssociations,
    max_connections: int,
    record_log: RecordLog,
) -> Acceptor:
    tls, last = sockets.tls, record_log.last_number
    return Acceptor(
        sockets.plain,
        services,
        blocks,
        limits=_limits(settings),
        max_connections=max_connections,
        max_operations=settings.dicom.max_operations,
        tls_port=TlsPort(tls, lambda: certificates.newest) if tls is not None and certificates is not None else None,
        numbers=group.numbers_after(last) if group is not None else itertools.count(last + 1),
        turns=group.dicom_turns if group is not None else None,
        changed=group.changed if group is not None else lambda: None,
        open_associations=open_now,
    )
