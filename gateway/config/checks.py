"""Checks that no single field allows: ranges, and fields that depend on each other.

Only the settings themselves are checked; a missing file or an invalid hash is found by the room that uses it (called by
`examination.py`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

from gateway.config.addresses import as_network, is_host_name, is_loopback
from gateway.config.audit import Audit
from gateway.config.base import KiB, MiB
from gateway.config.route_checks import route_problems
from gateway.config.sections import Dicom, Http, Modality, Settings, Tracing
from gateway.config.tenant_settings import tenant_problems
from gateway.config.viewers import viewer_problems

_PREFIX: Final = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_ORIGIN: Final = re.compile(r"(http(?!.*:80$)|https(?!.*:443$))://([a-z0-9._-]+|\[[0-9a-f:]+\])(:[0-9]+)?")


def problems_of(settings: Settings, known: Collection[tuple[str, str]] = frozenset()) -> Iterator[str]:
    """Yield every problem that no single field shows: its place, what is wrong, and what to do.

    `known` are tables, by section and name, that exist but are missing in `settings` because they have problems
    themselves.
    """
    dicom, http, storage = settings.dicom, settings.http, settings.storage
    yield from _aet("dicom.aet", dicom.aet)
    for aet in dicom.aets:
        yield from _aet("dicom.aets", aet)
    for name, port in (
        ("dicom.port", dicom.plain_port or 0),
        ("dicom.tls_port", dicom.tls_port or 0),
        ("http.port", http.port),
    ):
        yield from _port(name, port)
    for name, modality in settings.modalities.items():
        yield from _modality(f"modalities.{name}", modality, dicom)
    yield from _tls(dicom, settings.modalities)
    yield from _tokens(settings)
    for place, names in (
        ("commitment.destinations", settings.commitment.destinations),
        ("mpps.forward", settings.mpps.forward),
    ):
        yield from _destinations(place, names, settings)
    yield from tenant_problems(settings)
    for place, what in route_problems(settings, known):
        yield f"{place}: {what}"
    if dicom.max_pdu != 0 and not 4 * KiB <= dicom.max_pdu <= 4 * MiB:
        yield (f"dicom.max_pdu: {dicom.max_pdu} is out of range: 4096 to 4194304 bytes, or 0 for no limit")
    positive = {
        "dicom.max_associations": dicom.max_associations,
        "dicom.max_associations_per_aet": dicom.max_associations_per_aet,
        "dicom.max_operations": dicom.max_operations,
        "dicom.artim_timeout": dicom.artim_timeout,
        "dicom.association_timeout": dicom.association_timeout,
        "dicom.response_timeout": dicom.response_timeout,
        "break_glass.minutes": settings.break_glass.minutes,
        "http.session_hours": http.session_hours,
        "http.max_results": http.max_results,
        "http.max_connections": http.max_connections,
        "http.read_threads": http.read_threads,
        "dicomweb.max_upload": settings.dicomweb.max_upload,
        "dicomweb.uploads": settings.dicomweb.uploads,
        "retrieve.window": settings.retrieve.window,
        "retrieve.threads": settings.retrieve.threads,
        "imaging.threads": settings.imaging.threads,
        "imaging.memory": settings.imaging.memory,
        "retrieve.progress_interval": settings.retrieve.progress_interval,
        "storage.sync_threads": storage.sync_threads,
        "storage.max_header": storage.max_header,
        "storage.erase_within_hours": storage.erase_within_hours,
        "commitment.patience": settings.commitment.patience,
        "worklist.max_results": settings.worklist.max_results,
        "jobs.slots": settings.jobs.slots,
        "jobs.per_destination": settings.jobs.per_destination,
        "jobs.keep_days": settings.jobs.keep_days,
        "jobs.keep_outputs_hours": settings.jobs.keep_outputs_hours,
        "jobs.max_output_bytes": settings.jobs.max_output_bytes,
        "jobs.keep_deliveries_days": settings.jobs.keep_deliveries_days,
    }
    for name, number in positive.items():
        if number <= 0:
            yield f"{name}: {number} must be more than 0"
    for name, number in {
        "dicom.idle_timeout": dicom.idle_timeout,
        "dicom.drain_timeout": dicom.drain_timeout,
        "storage.keepers": storage.keepers,
        "http.metadata_cache": http.metadata_cache,
        "http.session_idle_minutes": http.session_idle_minutes,
        "storage.min_free": storage.min_free,
        "query.max_instances_read": settings.query.max_instances_read,
        "storage.rejected_quota": storage.rejected_quota,
        "commitment.keep_days": settings.commitment.keep_days,
        "imaging.cache_memory": settings.imaging.cache_memory,
        "rest.answer_cache": settings.rest.answer_cache,
        "server.workers": settings.server.workers,
        "audit.keep_days": settings.audit.keep_days,
    }.items():
        if number < 0:
            yield f"{name}: {number} must not be negative"
    if settings.dicomweb.delete_status not in (200, 204):
        yield f"dicomweb.delete_status: {settings.dicomweb.delete_status} is neither 200 nor 204"
    if settings.database.url:
        if not settings.database.url.startswith(("postgresql://", "postgres://")):
            yield "database.url: must begin with postgresql://; without it the index is in the data folder"
        if not storage.keepers:
            yield "storage.keepers: must be 1 or more with PostgreSQL; a process of its own outlives a lost connection"
    if storage.buffer_memory < 4 * MiB:
        yield f"storage.buffer_memory: {storage.buffer_memory} is less than 4194304 bytes"
    if not is_loopback(dicom.host) and not settings.modalities and not dicom.allow_any_caller:
        yield (
            f"dicom.host: listening on {dicom.host} needs known callers: add [modalities.NAME] with their aet, "
            "or set dicom.allow_any_caller = true to take images from anybody who can reach the port"
        )
    if not is_loopback(http.host) and not settings.needs_sign_in and not http.allow_anonymous:
        yield (
            f"http.host: listening on {http.host} needs users: add [[http.users]] with a name and a password from "
            "`dicom-gateway hash-password`, or set http.allow_anonymous = true to serve anybody who can reach the port"
        )
    yield from _http(http)
    yield from _audit(settings.audit)
    yield from _tracing(settings.tracing)


def _aet(name: str, aet: str) -> Iterator[str]:
    if not 1 <= len(aet.strip()) <= 16 or not (aet.isascii() and aet.isprintable()) or "\\" in aet:
        yield f"{name}: {aet!r} is not an AE title: 1 to 16 ASCII characters, no backslash"


def _audit(audit: Audit) -> Iterator[str]:
    host, colon, port = audit.syslog.rpartition(":")
    if audit.syslog and not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
        yield f'audit.syslog: {audit.syslog!r} is no receiver; write "host:port", such as "arr.hospital.example:6514"'
    if audit.key and not audit.certificate:
        yield "audit.key: it needs audit.certificate too"
    if audit.syslog and audit.enabled is False:
        yield "audit.syslog: nothing is sent while audit.enabled = false; remove one of them"


def _tracing(tracing: Tracing) -> Iterator[str]:
    url = urlsplit(tracing.endpoint)
    if tracing.endpoint and (url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment):
        yield 'tracing.endpoint: is not the URL of a collector; write it like "http://127.0.0.1:4318"'
    if url.username or url.password:
        yield "tracing.endpoint: must name no user; set the variable OTEL_EXPORTER_OTLP_HEADERS for credentials"
    if not 0 <= tracing.ratio <= 1:
        yield f"tracing.ratio: {tracing.ratio:g} is not between 0 and 1"


def _port(name: str, port: int) -> Iterator[str]:
    if not 0 <= port <= 65535:
        yield f"{name}: {port} is not a port: 0 to 65535"


def _modality(place: str, modality: Modality, dicom: Dicom) -> Iterator[str]:
    yield from _aet(f"{place}.aet", modality.aet)
    if modality.our_aet:
        yield from _aet(f"{place}.our_aet", modality.our_aet)
    yield from _port(f"{place}.port", modality.port)
    network = as_network(modality.host)
    if network is None and modality.host and not is_host_name(modality.host):
        yield f"{place}.host: {modality.host!r} is not a host name, an IP address or a network"
    if modality.port and (not modality.host or (network is not None and network.num_addresses > 1)):
        yield f"{place}.port: to be called at it, host must be one address or name"
    if modality.tls_name and not modality.tls:
        yield f"{place}.tls_name: needs {place}.tls = true"
    if modality.identity_password and not modality.identity_name:
        yield f"{place}.identity_password: needs {place}.identity_name"
    if modality.identity_token_file and modality.identity_name:
        yield f"{place}: set identity_name or identity_token_file, not both"
    if modality.identity_confirmed and not (modality.identity_name or modality.identity_token_file):
        yield f"{place}.identity_confirmed: needs an identity: set {place}.identity_name"
    for name in ("association_timeout", "response_timeout"):
        seconds = getattr(modality, name)
        if seconds is not None and seconds <= 0:
            yield f"{place}.{name}: {seconds} must be more than 0"
    if modality.idle_timeout is not None and modality.idle_timeout < 0:
        yield f"{place}.idle_timeout: {modality.idle_timeout} must not be negative"


def _http(http: Http) -> Iterator[str]:
    if bool(http.certificate) != bool(http.key):
        yield "http.certificate and http.key belong together: set both for HTTPS, or neither"
    if http.client_ca and not http.certificate:
        yield "http.client_ca: needs http.certificate and http.key: clients show certificates over HTTPS alone"
    if http.client_certificates == "required" and not http.client_ca:
        yield "http.client_certificates: needs http.client_ca, which signs them"
    for user in http.users:
        if user.certificate and not http.client_ca:
            yield f"http.users: {user.name}: certificate: needs http.client_ca, which signs it"
    yield from viewer_problems(http.viewers)
    if http.prefix and not _PREFIX.fullmatch(http.prefix):
        yield f"http.prefix: {http.prefix!r} is not a path like /gateway, without / at its end"
    for proxy in http.trusted_proxies:
        if as_network(proxy) is None:
            yield f"http.trusted_proxies: {proxy!r} is not an IP address or a network"
    for origin in http.cors_origins:
        if not _ORIGIN.fullmatch(origin):
            yield (
                f"http.cors_origins: {origin!r} is not an origin as browsers send it: https://viewer.example.org, with "
                "its port where that is not the scheme's own, in small letters and without a path"
            )


def _tokens(settings: Settings) -> Iterator[str]:
    tokens, oidc = settings.tokens, settings.oidc
    needed = {"issuer": tokens.issuer, "audience": tokens.audience, "user_claim": tokens.user_claim}
    wanted_by = "tokens.issuer" if tokens.issuer and not oidc.client_id else ""
    if "token" in settings.dicom.user_identity_types:
        wanted_by = 'dicom.user_identity_types with "token"'
    for name, value in needed.items():
        if wanted_by and not value:
            yield f"tokens.{name}: {wanted_by} needs it"
    if oidc.client_id and not tokens.issuer:
        yield "tokens.issuer: oidc.client_id needs it: the address of the issuer, without /.well-known/…"
    if oidc.client_id and "openid" not in oidc.scopes:
        yield 'oidc.scopes: must have "openid"'
    if oidc.client_secret_file and not oidc.client_id:
        yield "oidc.client_secret_file: needs oidc.client_id"
    if not 1 <= tokens.keys_seconds <= 86400:
        yield f"tokens.keys_seconds: {tokens.keys_seconds:g} is not between 1 and 86400"
    plain = (tokens.keys, tokens.issuer if not tokens.keys or oidc.client_id else "")
    for name, address in zip(("keys", "issuer"), map(urlsplit, plain), strict=True):
        if address.scheme == "http" and not is_loopback(address.hostname or ""):
            yield f"tokens.{name}: keys could be replaced on the way over http; use https"
    hook = urlsplit(settings.break_glass.webhook)
    if settings.break_glass.webhook and (hook.scheme not in ("http", "https") or not hook.hostname):
        yield "break_glass.webhook: is not a URL, http:// or https://"


def _destinations(place: str, names: tuple[str, ...], settings: Settings) -> Iterator[str]:
    for name in names:
        modality = settings.modalities.get(name)
        if modality is None or not modality.port:
            yield f"{place}: {name!r} needs [modalities.{name}] with aet, host and port"


def _tls(dicom: Dicom, modalities: Mapping[str, Modality]) -> Iterator[str]:
    if bool(dicom.tls_certificate) != bool(dicom.tls_key):
        yield "dicom.tls_certificate and dicom.tls_key belong together: set both, or neither"
    if dicom.tls_port is not None and not dicom.tls_certificate:
        yield "dicom.tls_port: needs dicom.tls_certificate and dicom.tls_key"
    if dicom.tls_port is None and dicom.plain_port is None:
        yield 'dicom.port: "off" leaves no port for DICOM; set dicom.tls_port'
    if dicom.tls_port and dicom.tls_port == dicom.plain_port:
        yield "dicom.tls_port: is dicom.port already; TLS has a port of its own"
    if dicom.tls_client_certificates != "none" and not dicom.tls_ca:
        yield "dicom.tls_client_certificates: needs dicom.tls_ca, which signs them"
    if dicom.tls_bind_aet and dicom.tls_client_certificates == "none":
        yield 'dicom.tls_bind_aet: needs dicom.tls_client_certificates = "required" or "optional"'
    plain = [name for name, modality in modalities.items() if not modality.tls]
    if dicom.tls_bind_aet and dicom.plain_port is not None and plain:
        yield (
            f"dicom.tls_bind_aet: anybody may take the AE title of {', '.join(plain)} on the plain port, where no "
            f'certificate is checked; set modalities.{plain[0]}.tls = true, or dicom.port = "off"'
        )
