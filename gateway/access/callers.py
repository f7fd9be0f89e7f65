"""Who calls us, and what it may ask for: the modalities of the configuration against an association's facts.

Known are the calling AE title, the address it comes from, and, over TLS, the names in its certificate. What a
rejection looks like on the wire, and which SOP class belongs to which service, is `scp/`'s.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Collection
from dataclasses import dataclass

from gateway.config import SERVICES, Modality, Service, Settings, as_network, is_loopback

log = logging.getLogger(__name__)

_RESOLVE = 5.0
"""Seconds for a name to be resolved."""


class NotRecognized(Exception):
    """The caller is nobody we know. The text says why, and how to let it in."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an association comes from. `certificate` holds the names of a verified one, None without TLS."""

    aet: str
    host: str
    certificate: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller that we let in. `name` is its modality's, empty for one that is none."""

    name: str
    modality: Modality | None
    may: frozenset[Service]


def how_to_allow(name: str, service: Service) -> str:
    """For a log line, behind what was refused to the modality of that name (empty: to one that is none)."""
    return f'add "{service}" to {f"modalities.{name}.allow" if name else "dicom.any_caller_may"}'


async def recognize(settings: Settings, origin: Origin) -> Caller:
    """The caller, or NotRecognized. Names of hosts are resolved now, which may take some seconds."""
    dicom, modalities = settings.dicom, settings.modalities
    known = [(name, modality) for name, modality in modalities.items() if modality.aet == origin.aet]
    if not known:
        nobody_named = not modalities and is_loopback(dicom.host)
        if dicom.allow_any_caller or nobody_named:
            _check_bound_aet(settings, origin, None)
            return Caller("", None, frozenset(SERVICES if nobody_named else dicom.any_caller_may))
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
            f"{origin.aet!r} calls without TLS: let it call dicom.tls_port, or take modalities.{name}.tls out"
        )
    _check_bound_aet(settings, origin, name)
    return Caller(name, modality, frozenset(modality.allow))


def _check_bound_aet(settings: Settings, origin: Origin, name: str | None) -> None:
    """The names in a certificate that was asked for, against those that this caller must have."""
    dicom, names = settings.dicom, origin.certificate
    if names is None or dicom.tls_client_certificates == "none":
        return
    wanted = settings.modalities[name].tls_name if name is not None else ""
    if wanted not in ("", "*"):
        if wanted.casefold() not in {shown.casefold() for shown in names}:
            raise NotRecognized(f"{origin.aet!r} {_shows(names)}, not modalities.{name}.tls_name = {wanted!r}")
    elif dicom.tls_bind_aet and wanted != "*" and names and origin.aet not in names:
        where = f"modalities.{name}.tls_name" if name is not None else "the tls_name of a modality"
        raise NotRecognized(
            f"{origin.aet!r} {_shows(names)}, not its AE title (dicom.tls_bind_aet); name what it shows in {where}"
        )


def _shows(names: Collection[str]) -> str:
    return f"shows a certificate for {', '.join(sorted(names))}" if names else "shows no certificate"


async def _calls_from(host: str, name: str, expected: str) -> bool:
    """Whether an address is the one, or in the network, or among those of the name, that is expected."""
    if not expected:
        return True
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    network = as_network(expected)
    if network is not None:
        return address in network
    try:
        async with asyncio.timeout(_RESOLVE):
            found = await asyncio.get_running_loop().getaddrinfo(expected, None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError) as error:
        log.warning("modalities.%s.host: %r cannot be resolved: %s", name, expected, error or "no answer in time")
        return False
    return address in {ipaddress.ip_address(str(place[4][0]).partition("%")[0]) for place in found}
