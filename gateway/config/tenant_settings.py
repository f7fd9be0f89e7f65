"""The part of the settings that is one tenant's, and checks of what no single field shows of tenants."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar

import msgspec

from gateway.config.sections import Settings
from gateway.config.tenants import EVERYBODYS

_NAME: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")
Entry = TypeVar("Entry")


def is_of(entry: Any, tenant: str) -> bool:
    """Whether a modality, destination or rule is there for a tenant."""
    return entry.tenant in (tenant, EVERYBODYS)


def only_of(entries: Mapping[str, Entry], tenant: str) -> dict[str, Entry]:
    """The modalities, destinations or rules among some that are there for a tenant."""
    return {name: each for name, each in entries.items() if is_of(each, tenant)}


def tenant_problems(settings: Settings) -> Iterator[str]:
    """Yield every problem of tenants that no single field shows."""
    owners: dict[str, str] = dict.fromkeys((settings.dicom.aet, *settings.dicom.aets), "dicom.aet")
    for name, tenant in settings.tenants.items():
        place = f"tenants.{name}"
        if not _NAME.fullmatch(name):
            yield f"{place}: a tenant's name is 1 to 64 letters, digits, dashes and underscores of ASCII"
        for aet in tenant.aets:
            if (other := owners.setdefault(aet, place)) != place:
                yield f"{place}.aets: {aet!r} is that of {other} already"
        for field in ("max_size", "max_instances", "max_rate", "keep_days"):
            if getattr(tenant, field) < 0:
                yield f"{place}.{field}: {getattr(tenant, field)} is less than 0, which means none"
    known = (*settings.tenants, "", EVERYBODYS)
    for section in ("modalities", "destinations", "rules"):
        for name, entry in getattr(settings, section).items():
            if entry.tenant not in known:
                there = ", ".join(settings.tenants) or "none"
                yield f"{section}.{name}.tenant: {entry.tenant!r} is no tenant; there are {there}"
    for name, rule in settings.rules.items():
        for wanted in rule.destinations if rule.tenant else ():
            destination = settings.destinations.get(wanted)
            if destination is not None and not is_of(destination, rule.tenant):
                yield f"rules.{name}.destinations: {wanted!r} is not a destination of tenant {rule.tenant!r}"
    for name, destination in settings.destinations.items():
        wanted = getattr(destination, "modality", "")
        modality = settings.modalities.get(wanted)
        if modality is not None and destination.tenant and not is_of(modality, destination.tenant):
            yield f"destinations.{name}.modality: {wanted!r} is not a modality of tenant {destination.tenant!r}"


def settings_of(settings: Settings, tenant: str) -> Settings:
    """The settings as they are for a tenant: its modalities, destinations and rules, and no others."""
    return msgspec.structs.replace(
        settings,
        modalities=only_of(settings.modalities, tenant),
        destinations=only_of(settings.destinations, tenant),
        rules=only_of(settings.rules, tenant),
        tenants={name: each for name, each in settings.tenants.items() if name == tenant},
    )
