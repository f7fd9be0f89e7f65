"""The composition root: build, start, reload, drain, stop. Nothing else knows all the rooms."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from gateway import config, telemetry
from gateway.access.tokens import check_tokens
from gateway.access.users import check_users
from gateway.archive.deliveries.dispatch import Dispatch, Routes
from gateway.archive.deliveries.table import forget_deliveries
from gateway.archive.folder import DataFolder, open_folder, open_ingest
from gateway.config import Settings
from gateway.database.database import Script
from gateway.delivery import service as delivery
from gateway.edit.change_set import ChangeSet
from gateway.errors import ConfigurationError
from gateway.events.feed import Feed
from gateway.jobs.runner import Runner
from gateway.jobs.table import forget_jobs
from gateway.net.acceptor import Acceptor, TlsPort, listen
from gateway.net.buffers import BLOCK_SIZE, BlockPool
from gateway.net.tls import Certificates, client_tls, server_certificates, stamp
from gateway.scp import context as scp
from gateway.scp.services import GatewayServices, Offer
from gateway.scu.node import identity_of
from gateway.ul.association import Limits
from gateway.web.app import create_app
from gateway.web.context import Context
from gateway.web.listener import Listener, certificates_of

log = logging.getLogger(__name__)

_UNASSOCIATED = 200
"""Connections beyond the limit on associations, so that those past it can be told why they are rejected."""
_DESCRIPTORS = 65536
"""Open files that we ask for, where the hard limit allows: two for each instance on its way, one a connection."""
_LOOK = 1.0
"""Seconds between looks at the configuration file; a change is taken when it is still the same at the next look."""
_AT_START = ("dicom.host", "dicom.port", "dicom.tls_port", "http.host", "http.port", "http.prefix", "storage.path")


class Secrets(NamedTuple):
    """The certificates that we show, for DICOM and for the web."""

    dicom: Certificates | None
    web: Certificates | None


def examine(settings: Settings) -> Secrets:
    """Look at all of a snapshot that only the rooms can judge, files included. Raises ConfigurationError. Blocks."""
    Offer(settings.dicom)
    check_users(settings.http.users)
    check_tokens(settings.tokens)
    for name, modality in settings.modalities.items():
        client_tls(settings.dicom, modality)
        identity_of(name, modality)
    for name, section in settings.changes.items():
        ChangeSet.build(name, section)
    Routes(settings)
    return Secrets(
        server_certificates(settings.dicom), certificates_of(settings.http) if settings.http.certificate else None
    )


class Gateway:
    """One running gateway. Made by `running`."""

    def __init__(self, settings: Settings, folder: DataFolder, certificates: Certificates | None) -> None:
        self.settings = settings
        self.certificates = certificates
        self.folder = folder
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

    def established(self) -> Counter[str]:
        return self.acceptor.established()

    async def use(self, settings: Settings) -> None:
        """Put a checked snapshot in place for everything that begins from now on.

        Raises ConfigurationError, with nothing changed, for what only a room can see is wrong.
        """
        secrets = await asyncio.to_thread(examine, settings)
        changed = config.changes(self.settings, settings)
        for name in changed:
            late = name in _AT_START or (name == "http.certificate" and not (secrets.web and self.settings.http.key))
            log.log(
                logging.WARNING if late else logging.INFO,
                "%s has changed%s",
                name,
                ", which takes effect at the next start" if late else "",
            )
        self.services.use(settings)
        if self.certificates is not None and secrets.dicom is not None:
            self.certificates.replace(secrets.dicom)
        self.web.use(secrets.web)
        dicom = settings.dicom
        self.acceptor.use(_limits(settings), dicom.max_associations + _UNASSOCIATED, dicom.max_operations)
        self.settings = settings
        telemetry.setup_logging(settings.log.level, settings.log.format)

    def drain(self) -> None:
        """From now on new associations are rejected, with a reason that makes senders come back."""
        self._draining = True
        self.services.draining = True


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Gateway]:
    """A gateway that listens; on the way out it drains and closes everything. Raises ConfigurationError."""
    prepare_process()
    secrets = await asyncio.to_thread(examine, settings)
    async with open_folder(settings.storage) as folder:
        gateway = Gateway(settings, folder, secrets.dicom)
        folder.database.on_failed = lambda reason: folder.health.fail(f"the database cannot write: {reason}")
        feed = Feed(folder.database)
        dispatch = Dispatch(lambda: gateway.settings)
        async with open_ingest(folder, lambda: gateway.settings.storage, feed.notify, dispatch) as ingest:
            services = scp.Context(lambda: gateway.settings, ingest, folder.database, folder.store)
            deliveries = _deliveries(gateway, services, dispatch)
            runner = _runner(settings, services, deliveries)
            services.wake = dispatch.wake = runner.notify
            gateway.services = GatewayServices(settings, services, gateway.established)
            gateway.acceptor = _acceptor(settings, gateway.services, secrets.dicom)
            gateway.web = Listener(
                create_app(
                    Context(
                        settings=lambda: gateway.settings,
                        database=folder.database,
                        store=folder.store,
                        ingest=ingest,
                        feed=feed,
                        associations=gateway.acceptor.associations,
                        readiness=gateway.readiness,
                        ports=lambda: (gateway.acceptor.address[1], gateway.web.port),
                        wake=runner.notify,
                    )
                )
            )
            try:
                await _start_web(gateway)
                gateway.acceptor.start()
                runner.start()
                async with _watching(secrets.dicom):
                    yield gateway
            finally:
                gateway.drain()
                await gateway.acceptor.stop(gateway.settings.dicom.drain_timeout)
                await runner.close()
                await deliveries.close()
                await services.close()
                await gateway.web.stop()
                await feed.close()


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
    async with running(settings) as gateway:
        keeper = loop.create_task(_keep_current(gateway, config_file, overrides, asked))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, asked.set)
        scheme = "https" if settings.http.certificate else "http"
        host = f"[{settings.http.host}]" if ":" in settings.http.host else settings.http.host
        url = f"{scheme}://{host}:{gateway.web.port}{settings.http.prefix}"
        on_listening(gateway.acceptor.address, gateway.acceptor.tls_address, url)
        try:
            await stop.wait()
        finally:
            keeper.cancel()
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(number)
    return 0


async def _keep_current(
    gateway: Gateway, file: Path | None, overrides: Mapping[str, Any] | None, asked: asyncio.Event
) -> None:
    """Read the settings again when `asked`, and when the file has changed and been left alone since."""
    used = before = await asyncio.to_thread(stamp, file) if file is not None else None
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK):
                await asked.wait()
        now = await asyncio.to_thread(stamp, file) if file is not None else None
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


def prepare_process() -> None:
    """Settings of the process that everything else stands on."""
    # sqlite3 gives up the interpreter lock at every row; with the default of 5 ms a busy loop starves it.
    sys.setswitchinterval(0.0005)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _limits(settings: Settings) -> Limits:
    return Limits(
        max_length_received=settings.dicom.max_pdu,
        artim_timeout=settings.dicom.artim_timeout,
        idle_timeout=settings.dicom.idle_timeout,
    )


def _listen(host: str, port: int, setting: str, way_out: str) -> socket.socket:
    try:
        return listen(host, port)
    except OSError as error:
        raise ConfigurationError(
            f"{setting}: cannot listen on {host}:{port}: {error.strerror}; {way_out}, or stop what uses it"
        ) from None


def _acceptor(settings: Settings, services: GatewayServices, certificates: Certificates | None) -> Acceptor:
    dicom = settings.dicom
    listener = _listen(dicom.host, dicom.port, "dicom.port", "choose another with --dicom-port")
    tls_port = None
    if certificates is not None and dicom.tls_port is not None:
        try:
            tls_listener = _listen(dicom.host, dicom.tls_port, "dicom.tls_port", "choose another")
        except ConfigurationError:
            listener.close()
            raise
        tls_port = TlsPort(tls_listener, lambda: certificates.newest)
    return Acceptor(
        listener,
        services,
        BlockPool(settings.storage.buffer_memory // BLOCK_SIZE),
        limits=_limits(settings),
        max_connections=dicom.max_associations + _UNASSOCIATED,
        max_operations=dicom.max_operations,
        tls_port=tls_port,
    )


async def _start_web(gateway: Gateway) -> None:
    http = gateway.settings.http
    try:
        await gateway.web.start(http)
    except OSError as error:
        raise ConfigurationError(
            f"http.port: cannot listen on {http.host}:{http.port}: {error.strerror or error}; "
            "choose another with --http-port, or stop what uses it"
        ) from None
