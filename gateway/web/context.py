"""What the HTTP side is given by the composition root, and where a request finds it.

No behaviour here: only the shape of what `server.py` hands to `create_app`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from aiohttp import web

from gateway import telemetry

if TYPE_CHECKING:
    from gateway.archive.ingest import Ingest
    from gateway.config import Settings
    from gateway.database.database import Database
    from gateway.net.session import AssociationStatus
    from gateway.storage.store import Store


class Feed(Protocol):
    """Tells when the change log has grown."""

    async def wait_change(self, after_seq: int, timeout: float) -> int:
        """The newest sequence number, as soon as it is above `after_seq`, or what it is after `timeout` seconds."""


@dataclass(slots=True)
class Context:
    """Everything that handlers need."""

    settings: Callable[[], Settings]
    """The snapshot of now."""
    database: Database
    store: Store
    ingest: Ingest
    feed: Feed
    associations: Callable[[], Sequence[AssociationStatus]]
    readiness: Callable[[], tuple[bool, list[str]]]
    """Whether the gateway can do its work, and in words what is in the way."""
    ports: Callable[[], tuple[int, int]]
    """The DICOM and the HTTP port listened on (the settings may say 0)."""
    intake: Callable[[], tuple[float, float]] = telemetry.intake
    """Data set bytes and instances that have been taken in."""
    workers: int = 1
    """Processes that this gateway is made of."""
    wake: Callable[[], None] = lambda: None
    """Tells the runner of jobs that there is something to do."""


CONTEXT: web.AppKey[Context] = web.AppKey("context", Context)
