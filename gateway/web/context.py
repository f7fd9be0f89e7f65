"""The objects that the composition root passes to the HTTP side, and where a request finds them.

No behaviour here: only the structure that `server.py` passes to `create_app`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from aiohttp import web

from gateway import telemetry

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.database.database import Database
    from gateway.net.association_record import AssociationRecord
    from gateway.net.session import AssociationStatus
    from gateway.use_cases import UseCases


class Feed(Protocol):
    """Announces new entries of the change log."""

    async def wait_change(self, after_seq: int, timeout: float) -> int:
        """Wait for a sequence number above `after_seq`, at most `timeout` seconds; returns the newest number."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """SOP classes and transfer syntaxes accepted over DICOM by the current settings; none without a DICOM port."""

    transfer_syntaxes: Callable[[], list[str]] = list
    """UIDs of those in which instances are taken."""
    sop_classes: Callable[[], list[str]] = list
    """UIDs of the storage SOP classes."""
    conformance: Callable[[], str] = str
    """The DICOM Conformance Statement, Markdown. Blocks."""


@dataclass(frozen=True, slots=True)
class Control:
    """Commands to all processes of the gateway, which a request may give."""

    stop: Callable[[], None] = lambda: None
    """Ends the gateway, as SIGTERM does."""
    reload: Callable[[], None] = lambda: None
    """Has the configuration read again, as SIGHUP does."""
    set_verbosity: Callable[[str, str], None] = telemetry.set_verbosity
    """Sets how much is logged, of a category or ('') of all."""


@dataclass(frozen=True, slots=True)
class Context:
    """Everything that handlers need."""

    use_cases: UseCases
    feed: Feed
    associations: Callable[[], Sequence[AssociationStatus]]
    readiness: Callable[[], tuple[bool, list[str]]]
    """Whether the gateway can do its work, and the reasons if not."""
    ports: tuple[int, int]
    """The DICOM and HTTP ports in use (the settings may say 0)."""
    intake: Callable[[], tuple[float, float]] = telemetry.intake
    """Data set bytes and instances received so far."""
    accepted: Accepted = Accepted()
    control: Control = Control()
    records: Callable[[], Sequence[AssociationRecord]] = list
    """Records of open and of the last ended associations, newest first."""

    @property
    def settings(self) -> Callable[[], Settings]:
        """The current settings."""
        return self.use_cases.settings

    @property
    def database(self) -> Database:
        return self.use_cases.database


CONTEXT: web.AppKey[Context] = web.AppKey("context", Context)
USER = web.RequestKey("user", str)
"""The name of the authenticated user of a request."""
