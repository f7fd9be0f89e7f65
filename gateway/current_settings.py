"""The current settings: read, reloaded when their file changes, and announced in the log, as start and end are.

`examination.py` checks them; the gateway or the parent applies them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from gateway import __version__, config
from gateway.config import Settings
from gateway.errors import ConfigurationError
from gateway.examination import Examined, load, unusable_folders
from gateway.net.tls import Stamp, stamp
from gateway.supervision import lasting

log = logging.getLogger(__name__)

_LOOK = 1.0
"""Seconds between checks of the configuration file; a change is used when the next check finds no further one."""
AT_START = (
    "dicom.host",
    "dicom.port",
    "dicom.tls_port",
    "http.host",
    "http.port",
    "http.prefix",
    "storage.path",
    "storage.keepers",
    "storage.main_tags",
    "database.url",
    "server.workers",
)
"""Settings that need a restart of the whole gateway."""


class Current:
    """Holder of the current settings, for everything that is built before they change."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __call__(self) -> Settings:
        return self.settings


def announce(before: Settings, after: Settings, ready: Examined) -> None:
    """Log each changed setting, and whether it takes effect only after a restart."""
    for name in config.changes(before, after):
        late = name in AT_START or (name == "http.certificate" and not (ready.web and before.http.key))
        log.log(
            logging.WARNING if late else logging.INFO,
            "%s has changed%s",
            name,
            ", which takes effect at the next start" if late else "",
        )


class Uses(Protocol):
    """Accepts new settings."""

    async def use(self, settings: Settings) -> None:
        """Apply a checked snapshot. Raises ConfigurationError, with nothing changed."""


async def stamp_of(file: Path | None) -> Stamp:
    """The current stamp of the configuration file; None without a file."""
    return await asyncio.to_thread(stamp, file) if file is not None else None


async def keep_current(
    gateway: Uses, file: Path | None, overrides: Mapping[str, Any] | None, reload_requested: asyncio.Event, read: Stamp
) -> None:
    """Reload the settings when `reload_requested` is set, and when the file has changed since `read`, its stamp at the
    first reading, and is unchanged for one check.
    """
    await lasting("watching the configuration", lambda: _watch(gateway, file, overrides, reload_requested, read))


async def _watch(
    gateway: Uses, file: Path | None, overrides: Mapping[str, Any] | None, reload_requested: asyncio.Event, read: Stamp
) -> None:
    used = before = read
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK):
                await reload_requested.wait()
        now = await stamp_of(file)
        if reload_requested.is_set() or (now is not None and now == before != used):
            reload_requested.clear()
            used = now
            try:
                settings = await asyncio.to_thread(load, file, overrides)
                await gateway.use(settings)
            except ConfigurationError as error:
                for text in error.texts:
                    log.error("the new configuration is not used: %s", text)
            else:
                log.info("the configuration has been read again")
                await warn_of_unusable_folders(settings)
        before = now


async def warn_of_unusable_folders(settings: Settings) -> None:
    """Log the configured folders that are missing now; whatever needs them waits."""
    for text in await asyncio.to_thread(lambda: list(unusable_folders(settings))):
        log.warning("%s", text)


def log_start(
    settings: Settings, plain: tuple[str, int] | None, tls: tuple[str, int] | None, web: str, workers: int
) -> None:
    """Log the version, the addresses, the data folder and the number of processes."""
    named = ((plain, ""), (tls, " over TLS"))
    ports = " and ".join(f"{at[0]}:{at[1]}{how}" for at, how in named if at is not None)
    data = Path(settings.storage.path).absolute()
    log.info(
        "dicom-gateway %s has started: %s at %s, web at %s, data in %s, %d worker%s",
        __version__,
        settings.dicom.aet,
        ports,
        web,
        data,
        workers,
        "" if workers == 1 else "s",
    )


def log_stop(began: float) -> None:
    """Log the end of a gateway that began at `began`, by the monotonic clock."""
    log.info("dicom-gateway %s has stopped after %.0f s", __version__, time.monotonic() - began)
