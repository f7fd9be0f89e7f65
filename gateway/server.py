"""The composition root: build, start, reload, drain, stop. Nothing else knows all the rooms."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from gateway import config, telemetry
from gateway.access.tokens import check_tokens
from gateway.access.users import check_users
from gateway.archive.deliveries.dispatch import Dispatch, Routes
from gateway.archive.deliveries.table import forget_deliveries
from gateway.archive.folder import DataFolder, open_folder, open_ingest
from gateway.config import Settings
from gateway.database.database import Script
from gateway.delivery import service as delivery
from gateway.errors import ConfigurationError
from gateway.events.feed import Feed
from gateway.jobs.runner import Runner
from gateway.jobs.table import forget_jobs
from gateway.net.acceptor import Acceptor, TlsPort
from gateway.net.buffers import BLOCK_SIZE, BlockPool
from gateway.net.tls import Certificates, Stamp, client_tls, server_certificates, stamp
from gateway.remote.kinds import examine_destination
from gateway.scp import context as scp
from gateway.scp.services import GatewayServices, Offer
from gateway.scu.node import identity_of
from gateway.sharing.group import Group
from gateway.sharing.process import prepare_process
from gateway.sharing.sockets import Sockets, listen_dicom, taken, web_url
from gateway.storage.arena import Arena
from gateway.ul.association import Limits
from gateway.web.app import create_app
from gateway.web.context import Context
from gateway.web.listener import Listener, certificates_of

log = logging.getLogger(__name__)

_UNASSOCIATED = 200
"""Connections beyond the limit on associations, so that those past it can be told why they are rejected."""
_LOOK = 1.0
"""Seconds between looks at the configuration file; a change is taken when it is still the same at the next look."""
AT_START = (
    "dicom.host",
    "dicom.port",
    "dicom.tls_port",
    "http.host",
    "http.port",
    "http.prefix",
    "storage.path",
    "storage.keepers",
    "server.workers",
)
"""What only a new start of the whole gateway takes."""


class Examined(NamedTuple):
    """What was made ready of a snapshot: the certificates that we show, for DICOM and for the web, and the rules."""

    dicom: Certificates | None
    web: Certificates | None
    routes: Routes


def examine(settings: Settings) -> Examined:
    """Look at all of a snapshot that only the rooms can judge, files included. Raises ConfigurationError. Blocks."""
    Offer(settings.dicom)
    check_users(settings.http.users)
    check_tokens(settings.tokens)
    for name, modality in settings.modalities.items():
        client_tls(settings.dicom, modality)
        identity_of(name, modality)
    for name, destination in settings.destinations.items():
        examine_destination(name, destination)
    return Examined(
        server_certificates(settings.dicom),
        certificates_of(settings.http) if settings.http.certificate else None,
        Routes(settings),
    )


def announce(before: Settings, after: Settings, ready: Examined) -> None:
    """Say in the log what changes, and what of it waits for the next start."""
    for name in config.changes(before, after):
        late = name in AT_START or (name == "http.certificate" and not (ready.web and before.http.key))
        log.log(
            logging.WARNING if late else logging.INFO,
            "%s has changed%s",
            name,
            ", which takes effect at the next start" if late else "",
        )


class Gateway:
    """One running gateway, or one worker of it. Made by `running`."""

    def __init__(
        self, settings: Settings, folder: DataFolder, certificates: Certificates | None, group: Group | None
    ) -> None:
        self.group = group
        self.settings = settings
        self.certificates = certificates
        self.folder = folder
        self.dispatch: Dispatch
        self.services: GatewayServices
        self.acceptor: Acceptor
        self.web: Listener
        self._draining = False

    def readiness(self) -> tuple[bool, list[str]]:
        """Whether images are taken in, and if not, why."""
        reasons = list(self.folder.health.failures)
        if self._draining:
            reasons.append("the gateway is stopping")
        return not reasons, reasons

    def seats(self) -> AbstractContextManager[Counter[str]]:
        """As `scp.admission.Seats`."""
        return self.group.seats() if self.group is not None else nullcontext(self.acceptor.established())

    async def use(self, settings: Settings) -> None:
        """Put a checked snapshot in place for everything that begins from now on.

        Raises ConfigurationError, with nothing changed, for what only a room can see is wrong.
        """
        ready = await asyncio.to_thread(examine, settings)
        if self.group is None:
            announce(self.settings, settings, ready)
        self.services.use(settings)
        if self.certificates is not None and ready.dicom is not None:
            self.certificates.replace(ready.dicom)
        self.web.use(ready.web)
        self.dispatch.use(ready.routes)
        self.acceptor.use(_limits(settings), _connections(settings, self.group), settings.dicom.max_operations)
        self.settings = settings
        worker = self.group.number if self.group is not None else 0
        telemetry.setup_logging(settings.log.level, settings.log.format, worker=worker)

    def drain(self) -> None:
        """From now on new associations are rejected, with a reason that makes senders come back."""
        self._draining = True
        self.services.draining = True


@asynccontextmanager
async def running(settings: Settings, group: Group | None = None) -> AsyncIterator[Gateway]:
    """A gateway that listens; on the way out it drains and closes everything. Raises ConfigurationError.

    With a `group` it is one worker of several, on the sockets that they share.
    """
    prepare_process()
    ready = await asyncio.to_thread(examine, settings)
    async with open_folder(settings.storage) as folder, _arena(settings.storage) as memory:
        gateway = Gateway(settings, folder, ready.dicom, group)
        folder.database.on_failed = lambda reason: folder.health.fail(f"the database cannot write: {reason}")
        if group is not None:
            folder.health.failures += group.failures
            folder.health.on_failure = group.tell_failure
        feed = Feed(folder.database)
        dispatch = gateway.dispatch = Dispatch(lambda: gateway.settings)
        dispatch.use(ready.routes)
        async with open_ingest(folder, lambda: gateway.settings.storage, feed.notify, dispatch, memory) as ingest:
            workers = group.count if group is not None else 1
            services = scp.Context(lambda: gateway.settings, ingest, folder.database, folder.store, workers=workers)
            deliveries = _deliveries(gateway, services, dispatch)
            runner = _runner(settings, services, deliveries)
            wake = runner.notify if group is None or group.does_jobs else group.tell_jobs
            if group is not None and group.does_jobs:
                group.wake_jobs = runner.notify
            services.wake = dispatch.wake = wake
            gateway.services = GatewayServices(settings, services, gateway.seats)
            blocks = BlockPool(settings.storage.buffer_memory // BLOCK_SIZE, give=memory.give)
            gateway.acceptor = _acceptor(settings, gateway.services, ready.dicom, group, blocks)
            if group is not None:
                group.associations, group.established = gateway.acceptor.associations, gateway.acceptor.established
            gateway.web = Listener(
                create_app(
                    Context(
                        settings=lambda: gateway.settings,
                        database=folder.database,
                        store=folder.store,
                        ingest=ingest,
                        feed=feed,
                        associations=group.all_associations if group is not None else gateway.acceptor.associations,
                        readiness=gateway.readiness,
                        ports=lambda: (gateway.acceptor.address[1], gateway.web.port),
                        intake=group.intake if group is not None else telemetry.intake,
                        workers=workers,
                        wake=wake,
                    )
                )
            )
            try:
                await _start_web(gateway)
                gateway.acceptor.start()
                if group is None or group.does_jobs:
                    runner.start()
                async with _watching(ready.dicom):
                    yield gateway
            finally:
                gateway.drain()
                await gateway.acceptor.stop(gateway.settings.dicom.drain_timeout)
                await runner.close()
                await deliveries.close()
                await services.close()
                await gateway.web.stop()
                await feed.close()


@asynccontextmanager
async def _arena(storage: config.Storage) -> AsyncIterator[Arena]:
    """Of which receive blocks are made."""
    with contextlib.closing(Arena(storage.buffer_memory)) as arena:
        yield arena


def _deliveries(gateway: Gateway, services: scp.Context, dispatch: Dispatch) -> delivery.Service:
    return delivery.Service(
        services.database, lambda: gateway.settings, dispatch, services.retrieval, wake=lambda: dispatch.wake()
    )


def _runner(settings: Settings, services: scp.Context, deliveries: delivery.Service) -> Runner:
    jobs = settings.jobs

    def purge(now: float) -> Script[int]:
        gone = yield from forget_jobs(now - jobs.keep_days * 86400)
        return gone + (yield from forget_deliveries(now - jobs.keep_deliveries_days * 86400))

    return Runner(
        services.database,
        services.kinds | deliveries.kinds,
        owner=services.ingest.incoming.name,  # should we die, who adopts our folder knows that our jobs are free
        slots=jobs.slots,
        limit=deliveries.limit,
        purge=purge,
    )


async def serve(
    settings: Settings,
    *,
    config_file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    on_listening: Callable[[tuple[str, int], tuple[str, int] | None, str], None] = lambda dicom, tls, web: None,
) -> int:
    """Run until SIGTERM or SIGINT; SIGHUP, or a change of the file, reads the settings again. The exit code.

    `on_listening` is given the DICOM addresses, plain and TLS, and the URL of the web once all of them listen.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    asked = asyncio.Event()
    read = await stamp_of(config_file)
    async with running(settings) as gateway:
        keeper = loop.create_task(keep_current(gateway, config_file, overrides, asked, read))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, asked.set)
        url = web_url(settings.http, gateway.web.port)
        on_listening(gateway.acceptor.address, gateway.acceptor.tls_address, url)
        try:
            await stop.wait()
        finally:
            keeper.cancel()
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(number)
    return 0


class Uses(Protocol):
    """What takes new settings."""

    async def use(self, settings: Settings) -> None:
        """Put a checked snapshot in place. Raises ConfigurationError, with nothing changed."""


async def stamp_of(file: Path | None) -> Stamp:
    """Of the configuration file, as it is now; None where there is none."""
    return await asyncio.to_thread(stamp, file) if file is not None else None


async def keep_current(
    gateway: Uses, file: Path | None, overrides: Mapping[str, Any] | None, asked: asyncio.Event, read: Stamp
) -> None:
    """Read the settings again when `asked`, and when the file has changed since `read`, its stamp when it was read
    first, and been left alone since.
    """
    used = before = read
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK):
                await asked.wait()
        now = await stamp_of(file)
        if asked.is_set() or (now is not None and now == before != used):
            asked.clear()
            used = now
            try:
                await gateway.use(await asyncio.to_thread(config.load, file, overrides=overrides))
            except ConfigurationError as error:
                log.error("the new configuration is not used: %s", error)
            else:
                log.info("the configuration has been read again")
        before = now


@asynccontextmanager
async def _watching(certificates: Certificates | None) -> AsyncIterator[None]:
    """While inside, certificates whose files change are read again."""
    if certificates is None:
        yield
        return
    watch = asyncio.get_running_loop().create_task(certificates.watch())
    try:
        yield
    finally:
        watch.cancel()


def _limits(settings: Settings) -> Limits:
    return Limits(
        max_length_received=settings.dicom.max_pdu,
        artim_timeout=settings.dicom.artim_timeout,
        idle_timeout=settings.dicom.idle_timeout,
    )


def _connections(settings: Settings, group: Group | None) -> int:
    """How many we hold: of the associations our part, and some beside it."""
    return settings.dicom.max_associations // (group.count if group is not None else 1) + _UNASSOCIATED


def _acceptor(
    settings: Settings,
    services: GatewayServices,
    certificates: Certificates | None,
    group: Group | None,
    blocks: BlockPool,
) -> Acceptor:
    plain, tls = listen_dicom(settings) if group is None else Sockets(group.dicom, group.tls)
    return Acceptor(
        plain,
        services,
        blocks,
        limits=_limits(settings),
        max_connections=_connections(settings, group),
        max_operations=settings.dicom.max_operations,
        tls_port=TlsPort(tls, lambda: certificates.newest) if tls is not None and certificates is not None else None,
        numbers=group.numbers if group is not None else None,
        turns=group.dicom_turns if group is not None else None,
        changed=group.changed if group is not None else lambda: None,
    )


async def _start_web(gateway: Gateway) -> None:
    http, group = gateway.settings.http, gateway.group
    if group is not None:
        await gateway.web.start(http, group.web, group.web_turns)
        return
    try:
        await gateway.web.start(http)
    except OSError as error:
        raise taken(http.host, http.port, "http.port", "choose another with --http-port", error) from None
