"""Recognition of DICOM callers: an association's facts against the modalities of the configuration.

The facts are the calling AE title, the address of the peer, and, over TLS, the names in its certificate. The form of a
rejection on the wire, and the service of each SOP class, are in `scp/`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Collection
from dataclasses import dataclass

from gateway.config import SERVICES, Modality, Service, Settings, as_network, is_loopback
from gateway.config.added import configured_modalities

log = logging.getLogger(__name__)

_RESOLVE_TIMEOUT_S = 5.0
"""Seconds to resolve a name."""


class NotRecognized(Exception):
    """The caller is unknown. The text says why, and how to allow it."""


@dataclass(frozen=True, slots=True)
class CallerFacts:
    """The facts about a caller. `certificate` holds the names of a verified one, None without TLS."""

    aet: str
    host: str
    certificate: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """An accepted caller. `name` is its modality's, empty for a caller that is no modality."""

    name: str
    modality: Modality | None
    may: frozenset[Service]


def how_to_allow(name: str, service: Service) -> str:
    """The advice in a log line about a refused service, for the modality of that name (empty: any other caller)."""
    return f'add "{service}" to {f"modalities.{name}.allow" if name else "dicom.any_caller_may"}'


def services_of_strangers(settings: Settings) -> frozenset[Service] | None:
    """The services for callers that are no modality; None where none of them is let in."""
    dicom = settings.dicom
    # One that a script adds over REST shuts nobody out.
    if not configured_modalities(settings) and is_loopback(dicom.host):
        return frozenset(SERVICES)
    return frozenset(dicom.any_caller_may) if dicom.allow_any_caller else None


def caller_again(settings: Settings, name: str, aet: str) -> Caller:
    """An accepted caller as other settings have it: with no service if they do not know it any more."""
    if not name:
        return Caller("", None, services_of_strangers(settings) or frozenset())
    modality = settings.modalities.get(name)
    if modality is None or modality.aet != aet:
        return Caller(name, None, frozenset())
    return Caller(name, modality, frozenset(modality.allow))


async def recognize(settings: Settings, origin: CallerFacts) -> Caller:
    """Recognize a caller. Host names are resolved now, which may take some seconds. Raises: NotRecognized."""
    modalities = settings.modalities
    known = [(name, modality) for name, modality in modalities.items() if modality.aet == origin.aet]
    if not known:
        if (may := services_of_strangers(settings)) is not None:
            _check_bound_aet(settings, origin, None)
            return Caller("", None, may)
        raise NotRecognized(
            f"{origin.aet!r} at {origin.host} is no modality; to let it in, add\n"
            f'[modalities.NAME]\naet = "{origin.aet}"\nhost = "{origin.host}"'.replace("\n", " ")
        )
    for name, modality in known:
        if await _calls_from(origin.host, name, modality.host):
            break
    else:
        places = ", ".join(f"modalities.{name}.host = {modality.host!r}" for name, modality in known)
        raise NotRecognized(f"{origin.aet!r} calls from {origin.host}, which is not {places}")
    if modality.tls and origin.certificate is None:
        raise NotRecognized(
            f"{origin.aet!r} calls without TLS: have it call dicom.tls_port, or remove modalities.{name}.tls"
        )
    _check_bound_aet(settings, origin, name)
    return Caller(name, modality, frozenset(modality.allow))


def _check_bound_aet(settings: Settings, origin: CallerFacts, name: str | None) -> None:
    """Check the names in a requested certificate against those required of the caller. Raises: NotRecognized."""
    dicom, names = settings.dicom, origin.certificate
    if names is None or dicom.tls_client_certificates == "none":
        return
    wanted = settings.modalities[name].tls_name if name is not None else ""
    if wanted not in ("", "*"):
        if wanted.casefold() not in {each.casefold() for each in names}:
            raise NotRecognized(f"{origin.aet!r} {_shows(names)}, not modalities.{name}.tls_name = {wanted!r}")
    elif dicom.tls_bind_aet and wanted != "*" and origin.aet not in names:
        where = f"modalities.{name}.tls_name" if name is not None else "the tls_name of a modality"
        raise NotRecognized(
            f"{origin.aet!r} {_shows(names)}, not its AE title (dicom.tls_bind_aet); set {where} to a name it shows"
        )


def _shows(names: Collection[str]) -> str:
    return f"shows a certificate for {', '.join(sorted(names))}" if names else "shows a certificate without names"


async def _calls_from(host: str, name: str, expected: str) -> bool:
    """Whether an address is the expected one, or in the expected network, or an address of the expected name."""
    if not expected:
        return True
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    network = as_network(expected)
    if network is not None:
        return address in network
    try:
        async with asyncio.timeout(_RESOLVE_TIMEOUT_S):
            resolved = await asyncio.get_running_loop().getaddrinfo(expected, None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError) as error:
        log.warning("modalities.%s.host: %r cannot be resolved: %s", name, expected, error or "no answer in time")
        return False
    return address in {ipaddress.ip_address(str(place[4][0]).partition("%")[0]) for place in resolved}
