"""A modality in the fields of Orthanc's REST API, and as a section of our settings; each way.

Pure. `read_modality` takes what clients write: an object, or the list of older scripts (AET, host, port, manufacturer).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.config import SERVICES, Modality, Service
from gateway.errors import BadRequest

Fields = dict[str, Any]
"""The JSON of a system, in Orthanc's names."""

_SERVICES: Final[Mapping[str, tuple[Service, ...]]] = {
    "AllowEcho": ("echo",),
    "AllowEventReport": (),
    "AllowFind": ("find",),
    "AllowFindWorklist": ("worklist",),
    "AllowGet": ("get",),
    "AllowMove": ("move",),
    "AllowNAction": ("commit", "mpps"),
    "AllowStore": ("store",),
    "AllowTranscoding": (),
}
"""What each flag lets it ask of us. Event reports are taken from whom we have asked, and from nobody else."""
FLAGS: Final = tuple(_SERVICES)
_MANUFACTURERS: Final = frozenset({"Generic", "GenericNoWildcardInDates", "GenericNoUniversalWildcard", "Vitrea", "GE"})
_OLD_MANUFACTURERS: Final = frozenset(
    {"StoreScp", "ClearCanvas", "Dcm4Chee", "SyngoVia", "AgfaImpax", "EFilm2", "MedInria"}
)
"""Orthanc takes these names for Generic."""
_RETRIEVE_METHODS: Final = frozenset({"SystemDefault", "C-MOVE", "C-GET"})
_MAX_AET: Final = 16
_MAX_TIMEOUT_S: Final = 24 * 3600


def read_modality(body: Any) -> Fields:
    """The fields of a modality, all of them. Raises BadRequest, with the field that is wrong."""
    if isinstance(body, list):
        if len(body) not in (3, 4):
            raise BadRequest("a modality is a list of its AE title, host, port and perhaps manufacturer, or an object")
        body = dict(zip(("AET", "Host", "Port", "Manufacturer"), body, strict=False))
    if not isinstance(body, Mapping):
        raise BadRequest("a modality is a JSON object with the fields AET, Host and Port")
    aet, host = _text(body, "AET"), _text(body, "Host")
    if not aet.strip() or len(aet) > _MAX_AET or "\\" in aet or not aet.isascii() or not aet.isprintable():
        raise BadRequest(f"AET: {aet[:40]!r} is no AE title: 1 to 16 characters of ASCII, no backslash (PS3.5 §6.2)")
    if not host or len(host) > 255 or not host.isprintable() or any(character.isspace() for character in host):
        raise BadRequest(f"Host: {host[:80]!r} is no address and no name of a host")
    fields: Fields = {"AET": aet.strip(), "Host": host, "Port": _port(body)}
    for name in _SERVICES:
        fields[name] = _flag(body, name, True)
    if "AllowStorageCommitment" in body:  # In the place of both, in Orthanc's own configurations.
        fields["AllowNAction"] = fields["AllowEventReport"] = _flag(body, "AllowStorageCommitment", True)
    local = _text(body, "LocalAet", "")
    if len(local) > _MAX_AET or "\\" in local or not local.isascii():
        raise BadRequest(f"LocalAet: {local[:40]!r} is no AE title")
    return fields | {
        "LocalAet": local.strip(),
        "Manufacturer": _manufacturer(body),
        "RetrieveMethod": _one_of(body, "RetrieveMethod", "SystemDefault", _RETRIEVE_METHODS),
        "Timeout": timeout_of(body),
        "UseDicomTls": _flag(body, "UseDicomTls", False),
    }


def modality_of(fields: Mapping[str, Any]) -> Modality:
    """The section that says the same."""
    allowed = {service for flag, services in _SERVICES.items() if fields[flag] for service in services}
    timeout = float(fields["Timeout"]) or None
    return Modality(
        aet=fields["AET"],
        host=fields["Host"],
        port=fields["Port"],
        allow=tuple(service for service in SERVICES if service in allowed),
        our_aet=fields["LocalAet"],
        tls=fields["UseDicomTls"],
        association_timeout=timeout,
        response_timeout=timeout,
    )


def fields_of(modality: Modality) -> Fields:
    """The fields of a modality of the configuration, as far as they can say it."""
    return {
        "AET": modality.aet,
        "Host": modality.host,
        "Port": modality.port,
        **{flag: all(service in modality.allow for service in services) for flag, services in _SERVICES.items()},
        "LocalAet": modality.our_aet,
        "Manufacturer": "Generic",
        "RetrieveMethod": "SystemDefault",
        "Timeout": int(modality.response_timeout or 0),
        "UseDicomTls": modality.tls,
    }


def _text(body: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = body.get(name, default)
    if not isinstance(value, str):
        raise BadRequest(f"String value expected in field: {name}")
    return value


def _flag(body: Mapping[str, Any], name: str, default: bool) -> bool:
    value = body.get(name, default)
    if not isinstance(value, bool):
        raise BadRequest(f"Boolean value expected in field: {name}")
    return value


def _one_of(body: Mapping[str, Any], name: str, default: str, known: frozenset[str]) -> str:
    value = _text(body, name, default)
    if value not in known:
        raise BadRequest(f"{name}: {value[:40]!r} is none of {', '.join(sorted(known))}")
    return value


def _manufacturer(body: Mapping[str, Any]) -> str:
    value = _text(body, "Manufacturer", "Generic")
    return "Generic" if value in _OLD_MANUFACTURERS else _one_of(body, "Manufacturer", "Generic", _MANUFACTURERS)


def _whole(value: Any, name: str) -> int:
    """Numbers come as text too, from scripts that were written for Orthanc."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 9:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadRequest(f"Whole number expected in field: {name}")
    return value


def _port(body: Mapping[str, Any]) -> int:
    port = _whole(body.get("Port"), "Port")
    if not 1 <= port <= 65535:
        raise BadRequest(f"Port: a TCP port is 1 to 65535, but found: {port}")
    return port


def timeout_of(body: Mapping[str, Any]) -> int:
    """The field Timeout, in seconds; 0 for as the settings have it. Raises BadRequest."""
    timeout = _whole(body.get("Timeout", 0), "Timeout")
    if not 0 <= timeout <= _MAX_TIMEOUT_S:
        raise BadRequest(f"Timeout: 0 (as the settings have it) to {_MAX_TIMEOUT_S} seconds, but found: {timeout}")
    return timeout
