"""The composition root: build, start, reload, drain, stop. Nothing else knows all the rooms."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway import config, telemetry
from gateway.archive.folder import DataFolder, open_folder, open_ingest
from gateway.config import Settings
from gateway.errors import ConfigurationError
from gateway.events.feed import Feed
from gateway.net.acceptor import Acceptor, listen
from gateway.net.buffers import BLOCK_SIZE, BlockPool
from gateway.scp import context as scp
from gateway.scp.services import GatewayServices
from gateway.ul.association import Limits
from gateway.web.app import create_app
from gateway.web.context import Context
from gateway.web.listener import Listener

log = logging.getLogger(__name__)

_UNASSOCIATED = 200
"""Connections beyond the limit on associations, so that those past it can be told why they are rejected."""
_DESCRIPTORS = 65536
"""Open files that we ask for, where the hard limit allows: two for each instance on its way, one a connection."""


class Gateway:
    """One running gateway. Made by `running`."""

    def __init__(self, settings: Settings, folder: DataFolder) -> None:
        self.settings = settings
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

    def use(self, settings: Settings) -> None:
        """Put a checked snapshot in place for everything that begins from now on.

        Raises ConfigurationError, with nothing changed, for what only a room can see is wrong.
        """
        for name in ("dicom.host", "dicom.port", "http.host", "http.port", "storage.path"):
            section, field = name.split(".")
            if getattr(getattr(settings, section), field) != getattr(getattr(self.settings, section), field):
                log.warning("%s has changed, which takes effect at the next start", name)
        self.services.use(settings)
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
    async with open_folder(settings.storage) as folder:
        gateway = Gateway(settings, folder)
        folder.database.on_failed = lambda reason: folder.health.fail(f"the database cannot write: {reason}")
        feed = Feed(folder.database)
        async with open_ingest(folder, lambda: gateway.settings.storage, feed.notify) as ingest:
            services = scp.Context(lambda: gateway.settings, ingest, folder.database, folder.store)
            gateway.services = GatewayServices(settings, services, gateway.established)
            gateway.acceptor = _acceptor(settings, gateway.services)
            gateway.web = Listener(
                create_app(
                    Context(
                        settings=lambda: gateway.settings,
                        database=folder.database,
                        store=folder.store,
                        feed=feed,
                        associations=gateway.acceptor.associations,
                        readiness=gateway.readiness,
                        ports=lambda: (gateway.acceptor.address[1], gateway.web.port),
                    )
                )
            )
            try:
                await _start_web(gateway)
                gateway.acceptor.start()
                yield gateway
            finally:
                gateway.drain()
                await gateway.acceptor.stop(gateway.settings.dicom.drain_timeout)
                await services.close()
                await gateway.web.stop()
                await feed.close()


async def serve(
    settings: Settings,
    *,
    config_file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    on_listening: Callable[[tuple[str, int], str], None] = lambda dicom, web: None,
) -> int:
    """Run until SIGTERM or SIGINT; SIGHUP reads the settings again. The exit code.

    `on_listening` is given the DICOM address and the URL of the web once both listen.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    async with running(settings) as gateway:

        def reload() -> None:
            try:
                gateway.use(config.load(config_file, overrides=overrides))
            except ConfigurationError as error:
                log.error("the new configuration is not used: %s", error)
            else:
                log.info("the configuration has been read again")

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, reload)
        scheme = "https" if settings.http.certificate else "http"
        host = f"[{settings.http.host}]" if ":" in settings.http.host else settings.http.host
        on_listening(gateway.acceptor.address, f"{scheme}://{host}:{gateway.web.port}")
        try:
            await stop.wait()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(number)
    return 0


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


def _acceptor(settings: Settings, services: GatewayServices) -> Acceptor:
    dicom = settings.dicom
    try:
        listener = listen(dicom.host, dicom.port)
    except OSError as error:
        raise ConfigurationError(
            f"dicom.port: cannot listen on {dicom.host}:{dicom.port}: {error.strerror}; "
            "choose another with --dicom-port, or stop what uses it"
        ) from None
    return Acceptor(
        listener,
        services,
        BlockPool(settings.storage.buffer_memory // BLOCK_SIZE),
        limits=_limits(settings),
        max_connections=dicom.max_associations + _UNASSOCIATED,
        max_operations=dicom.max_operations,
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
