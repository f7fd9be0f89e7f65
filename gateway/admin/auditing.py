"""The audit log of commands that use a data folder, whether or not a gateway does so meanwhile."""

from __future__ import annotations

import getpass
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gateway.audit.entry import entry
from gateway.audit.table import append
from gateway.config import Settings
from gateway.database.actor import Actor
from gateway.errors import ConfigurationError, DatabaseError
from gateway.ingest.index_database import open_database
from gateway.storage.layout import Layout

log = logging.getLogger(__name__)

_ORIGIN: Final = "command line"


async def write_down(settings: Settings, action: str, detail: Mapping[str, Any], *, done: bool) -> None:
    """Write that the user of this process has done something with a data folder; nothing where there is none.

    An error is logged: what was done was done.
    """
    layout = Layout(Path(settings.storage.path))
    if not layout.has_index():
        return
    new = entry(
        action, Actor(_user(), "", _ORIGIN), at=time.time(), outcome="success" if done else "failure", detail=detail
    )
    try:
        database = await open_database(layout, settings.database.url)
        try:
            await database.write(lambda: append([new]))
        finally:
            await database.close()
    except (ConfigurationError, DatabaseError) as error:
        log.error("%s is not in the audit log: %s", action, error)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
