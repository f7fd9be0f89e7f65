"""TLS: the profile, certificates that can be replaced while we listen, and who a certificate names.

The web's listener uses the same certificates class with its own files. Which port speaks TLS, and what a certificate
allows, is not here (`acceptor.py`, `access/callers.py`).

The profile is that of PS3.15 B.12 (BCP 195: RFC 8996, RFC 9325 §4.2): TLS 1.2 with forward secrecy and AES-GCM only,
and 1.3. Two suites of B.9 (RFC 7525 §4.2) come last, for devices that have no elliptic curves.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from gateway.config import Dicom, Modality
from gateway.errors import ConfigurationError

log = logging.getLogger(__name__)

SUITES_1_2 = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "DHE-RSA-AES128-GCM-SHA256",
    "DHE-RSA-AES256-GCM-SHA384",
)
"""Cipher suites of TLS 1.2, by OpenSSL's names, in our order. RFC 9325 would rather do without the last two."""
_GROUP = "ffdhe3072.pem"
"""The group for DHE (RFC 7919 A.2): one that is known to be safe, and large enough."""
HANDSHAKE = 0x16
"""First byte of a TLS connection: a record of the handshake (RFC 8446 §5.1). No PDU type is so."""

Stamp = tuple[int, int, int] | None
_VERIFY = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


@dataclass(frozen=True, slots=True)
class Peer:
    """What TLS says about the other side. `names` are empty where it showed no certificate."""

    version: str
    cipher: str
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class ClientTls:
    """How to call somebody over TLS. `name` is what its certificate is to carry, and goes into SNI."""

    context: ssl.SSLContext
    name: str


class Certificates:
    """A context made of files, made again when they change. Raises ConfigurationError when first made."""

    def __init__(self, make: Callable[[], ssl.SSLContext], files: Sequence[str]) -> None:
        """`make` reads `files` (empty names are left out), or raises ConfigurationError; it blocks."""
        self._make = make
        self._files = [Path(file) for file in files if file]
        self._seen = self._stamps()
        self.context = make()
        """For a listener that holds one context. It passes every handshake on to the newest certificate."""
        self.newest = self.context
        """For who can take a context for each connection."""
        self.context.sni_callback = self._use_newest

    def reload_if_changed(self) -> bool:
        """Read the files again where they have changed; blocks. Bad ones are logged and the last good ones stay."""
        stamps = self._stamps()
        if stamps == self._seen or None in stamps:
            return False
        try:
            self.newest = self._make()
        except ConfigurationError as error:
            # Perhaps only one of them has been written yet: looked at again next time.
            log.warning("certificate not replaced: %s", error)
            return False
        self._seen = stamps
        log.info("certificate read again from %s", self._files[0])
        return True

    def replace(self, other: Certificates) -> None:
        """From now on show what `other` is made of; listeners notice nothing."""
        self._make, self._files, self._seen = other._make, other._files, other._seen
        self.newest = other.newest

    async def watch(self, interval: float = 5.0) -> None:
        """Look every so many seconds, for ever."""
        while True:
            await asyncio.sleep(interval)
            await asyncio.to_thread(self.reload_if_changed)

    def _use_newest(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self.newest

    def _stamps(self) -> list[Stamp]:
        return [stamp(file) for file in self._files]


def stamp(file: Path) -> Stamp:
    """Something that differs once a file has been written or replaced; None where it is not there."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def load_chain(context: ssl.SSLContext, certificate: str, key: str, section: str, prefix: str = "") -> None:
    """Put our certificate into a context. Raises ConfigurationError that names the settings."""
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:
        where = f"{section}.{prefix}certificate {certificate}, {section}.{prefix}key {key}"
        raise ConfigurationError(f"{where}: {error}") from None


def server_certificates(dicom: Dicom) -> Certificates | None:
    """What the DICOM TLS port shows and asks for; None where there is no such port. Blocks."""
    if dicom.tls_port is None:
        return None

    def make() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _apply_profile(context)
        with resources.as_file(resources.files("gateway.net") / _GROUP) as group:
            context.load_dh_params(str(group))
        load_chain(context, dicom.tls_certificate, dicom.tls_key, "dicom", "tls_")
        context.verify_mode = _VERIFY[dicom.tls_client_certificates]
        if context.verify_mode is not ssl.CERT_NONE:
            _load_authorities(context, dicom.tls_ca)
        return context

    return Certificates(make, (dicom.tls_certificate, dicom.tls_key, dicom.tls_ca))


def client_tls(dicom: Dicom, modality: Modality) -> ClientTls | None:
    """How to call a modality, None where it is called without TLS. Blocks where the files are new or have changed."""
    if not modality.tls:
        return None
    files = (dicom.tls_certificate, dicom.tls_key, dicom.tls_ca)
    any_name = modality.tls_name == "*"
    context = _client_context(*files, tuple(stamp(Path(file)) if file else None for file in files), any_name)
    return ClientTls(context, modality.host if any_name else modality.tls_name or modality.host)


@functools.lru_cache(maxsize=8)
def _client_context(
    certificate: str, key: str, authorities: str, _stamps: tuple[Stamp, ...], any_name: bool
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _apply_profile(context)
    if certificate:
        load_chain(context, certificate, key, "dicom", "tls_")
    if authorities:
        _load_authorities(context, authorities)
    else:
        context.load_default_certs()
    context.check_hostname = not any_name
    return context


def _apply_profile(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join(SUITES_1_2))
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


def _load_authorities(context: ssl.SSLContext, file: str) -> None:
    try:
        context.load_verify_locations(file)
    except OSError as error:
        raise ConfigurationError(f"dicom.tls_ca {file}: {error}") from None


def peer_of(connection: ssl.SSLObject) -> Peer:
    """What is known of the other side once the handshake is done."""
    suite = connection.cipher()
    return Peer(connection.version() or "", suite[0] if suite else "", frozenset(names_in(connection.getpeercert())))


def names_in(certificate: Mapping[str, Any] | None) -> Iterator[str]:
    """Common names and subject alternative names of a verified certificate, as `getpeercert` gives it."""
    for relative_name in (certificate or {}).get("subject", ()):
        yield from (value for kind, value in relative_name if kind == "commonName")
    for _kind, value in (certificate or {}).get("subjectAltName", ()):
        if isinstance(value, str):
            yield value


def describe(error: OSError) -> str:
    """Why a handshake failed, in words."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not accepted: {error.verify_message}"
        case ssl.SSLError() if error.reason:
            return error.reason.replace("_", " ").lower()
        case _:
            return str(error) or type(error).__name__


def _no_password() -> str:
    raise ValueError("the key is encrypted; give one without a passphrase")
