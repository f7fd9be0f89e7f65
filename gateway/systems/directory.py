"""The other systems that are known: those of the configuration, and those that were added over REST.

Added ones are rows, so that they last over restarts and are the same in every process; modalities among them become
part of the settings that everything else reads. They win by name. What the configuration names is changed there and
nowhere else.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from gateway.config import Modality, Settings
from gateway.config.added import extended
from gateway.config.destinations import DicomwebDestination, PeerDestination
from gateway.config.tenant_settings import settings_of
from gateway.database.database import Database, Script
from gateway.database.view import tenant_of_task
from gateway.errors import BadRequest, Configured, NotFound
from gateway.remote import queries
from gateway.remote.http_fields import Section, fields_of_section, read_http, section_of
from gateway.remote.modality_fields import Fields, fields_of, modality_of, read_modality

Kind = Literal["modality", "peer", "server"]
"""`peer`: another gateway or an Orthanc; `server`: one with DICOMweb."""
MAX_ADDED: Final = 10_000
"""Systems of one kind that may be added."""
_NAME: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")
"""As Orthanc has it, so that a name can stand in a path."""
_READ: Final[dict[Kind, Callable[[Any], Fields]]] = {
    "modality": read_modality,
    "peer": read_http,
    "server": read_http,
}
_UNKNOWN: Final[dict[Kind, str]] = {
    "modality": "No modality with symbolic name",
    "peer": "Unknown Orthanc peer",
    "server": "Inexistent server",
}


@dataclass(frozen=True, slots=True)
class KnownSystem:
    """One system, in Orthanc's fields."""

    fields: Mapping[str, Any]
    added: bool
    """Over REST; else the configuration names it."""


@dataclass(frozen=True, slots=True)
class _Added:
    fields: dict[Kind, dict[str, Fields]] = field(default_factory=dict)
    modalities: dict[str, Modality] = field(default_factory=dict)

    def of(self, kind: Kind) -> dict[str, Fields]:
        return self.fields.get(kind, {})


class Directory:
    """The systems that one process knows. Belongs to one event loop."""

    def __init__(
        self,
        database: Database,
        settings: Callable[[], Settings],
        *,
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        with_changes: Callable[[Settings], Settings] = lambda settings: settings,
    ) -> None:
        """`settings` are those of the configuration. `changed` tells the other processes to `refresh`. `with_changes`
        adds to a snapshot what was changed about users, roles and rules."""
        self._database = database
        self._configured = settings
        self._changed = changed
        self._clock = clock
        self._with_changes = with_changes
        self._added = _Added()
        self._rows: list[tuple[Any, ...]] = []
        self._made: tuple[Settings, _Added, Settings] | None = None
        self._of_tenants: dict[str, Settings] = {}

    def settings(self) -> Settings:
        """The current settings, with the modalities that were added; where the task works for a tenant, with what is
        there for the tenant alone. Called several times for each request."""
        settings, made = self._with_changes(self._configured()), self._made
        if made is None or made[0] is not settings or made[1] is not self._added:
            self._extended(settings)
        assert self._made is not None
        whole, tenant = self._made[2], tenant_of_task()
        if not tenant:
            return whole
        found = self._of_tenants.get(tenant)
        if found is None:
            found = self._of_tenants[tenant] = settings_of(whole, tenant)
        return found

    def extend(self, settings: Settings) -> Settings:
        """A snapshot of the configuration with what was added; the same object while nothing changes."""
        return self._extended(self._with_changes(settings))

    def _extended(self, settings: Settings) -> Settings:
        made = self._made
        if made is None or made[0] is not settings or made[1] is not self._added:
            made = self._made = settings, self._added, extended(settings, self._added.modalities)
            self._of_tenants = {}
        return made[2]

    async def refresh(self) -> None:
        """Read again what was added, by whichever process. Cheap where nothing was."""
        rows = await self._database.fetch(queries.ADDED_SYSTEMS)
        if rows != self._rows:
            fields: dict[Kind, dict[str, Fields]] = {}
            for kind, name, text in rows:
                fields.setdefault(kind, {})[name] = msgspec.json.decode(text)
            modalities = {name: modality_of(each) for name, each in fields.get("modality", {}).items()}
            self._added, self._rows = _Added(fields, modalities), rows

    async def systems(self, kind: Kind) -> dict[str, KnownSystem]:
        """All of a kind, by name, in its order."""
        await self.refresh()
        known = {name: KnownSystem(each, False) for name, each in self._named(kind).items()}
        if not tenant_of_task():  # What is added is for those above the tenants.
            known |= {name: KnownSystem(each, True) for name, each in self._added.of(kind).items()}
        return dict(sorted(known.items()))

    async def system(self, kind: Kind, name: str) -> KnownSystem:
        """One of them. Raises NotFound."""
        known = (await self.systems(kind)).get(name)
        if known is None:
            raise NotFound(f"{_UNKNOWN[kind]}: {name[:80]}")
        return known

    async def section(self, kind: Literal["peer", "server"], name: str) -> Section:
        """How a peer or server is spoken to. Raises NotFound."""
        known = await self.system(kind, name)
        if known.added:
            if kind == "peer":
                return section_of(PeerDestination, known.fields)
            return section_of(DicomwebDestination, known.fields)
        section = self._configured().destinations[name]
        assert isinstance(section, PeerDestination | DicomwebDestination)
        return section

    async def put(self, kind: Kind, name: str, body: Any) -> None:
        """Add a system, or change one that was added. Raises BadRequest, and Configured for one of the file."""
        if not _NAME.fullmatch(name):
            raise BadRequest(f"a name is 1 to 64 letters, digits, dashes and underscores of ASCII, not {name[:80]!r}")
        await self.refresh()
        if name in self._named(kind) and name not in self._added.of(kind):
            raise Configured(f"{_place(kind, name)} stands in the configuration file; change it there")
        text = msgspec.json.encode(_READ[kind](body)).decode()
        await self._database.write(lambda: _put(kind, name, text, self._clock()))
        await self.refresh()
        self._changed()

    async def remove(self, kind: Kind, name: str) -> None:
        """Forget a system that was added. Raises NotFound, and Configured for one of the file."""
        if not await self._database.write(lambda: _remove(kind, name)):
            if name in self._named(kind):
                raise Configured(f"{_place(kind, name)} stands in the configuration file; take it out there")
            raise NotFound(f"{_UNKNOWN[kind]}: {name[:80]}")
        await self.refresh()
        self._changed()

    def _named(self, kind: Kind) -> dict[str, Fields]:
        """Those that the configuration names."""
        tenant, settings = tenant_of_task(), self._configured()
        if tenant:
            settings = settings_of(settings, tenant)
        if kind == "modality":
            return {name: fields_of(each) for name, each in settings.modalities.items()}
        wanted = PeerDestination if kind == "peer" else DicomwebDestination
        sections = settings.destinations.items()
        return {name: fields_of_section(each) for name, each in sections if isinstance(each, wanted)}


def _place(kind: Kind, name: str) -> str:
    return f"[{'modalities' if kind == 'modality' else 'destinations'}.{name}]"


def _put(kind: Kind, name: str, fields: str, now: float) -> Script[None]:
    ((count,),) = yield queries.COUNT_SYSTEMS, (kind,)
    if count >= MAX_ADDED:
        raise BadRequest(f"{MAX_ADDED} were added already; remove some, or name them in the configuration file")
    yield queries.PUT_SYSTEM, (kind, name, fields, now)


def _remove(kind: Kind, name: str) -> Script[bool]:
    return bool((yield queries.REMOVE_SYSTEM, (kind, name)))
