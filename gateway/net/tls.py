"""TLS: profile, contexts of both sides, certificates replaced while listening, and the names in a certificate.

Every context is made here, for DICOM and for HTTP. Which port speaks TLS, and what a certificate
allows, is not here (`acceptor.py`, `access/callers.py`).

The profile is that of PS3.15 B.12 (BCP 195: RFC 8996, RFC 9325 §4.2): TLS 1.2 with forward secrecy and AES-GCM only,
and 1.3. Two suites of B.9 (RFC 7525 §4.2) come last, for devices without elliptic curves.
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
from typing import Any, NamedTuple

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
"""Cipher suites of TLS 1.2, by OpenSSL's names, in our order. RFC 9325 discourages the last two."""
_GROUP = "ffdhe3072.pem"
"""The group for DHE (RFC 7919 A.2): known to be safe, and large enough."""
HANDSHAKE = 0x16
"""First byte of a TLS connection: a handshake record (RFC 8446 §5.1). No PDU type has this value."""

Stamp = tuple[int, int, int] | None
VERIFY = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
"""What settings say of client certificates, in the words of `ssl`."""


@dataclass(frozen=True, slots=True)
class TlsPeer:
    """The peer as TLS describes it. `names` is empty if the peer showed no certificate."""

    version: str
    cipher: str
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class ClientTls:
    """The TLS context of an outgoing connection. `name` must be in the peer's certificate, and is sent as SNI."""

    context: ssl.SSLContext
    name: str


class Certificates:
    """A TLS context made of files, made again when the files change. Raises: ConfigurationError on construction."""

    def __init__(self, make: Callable[[], ssl.SSLContext], files: Sequence[str]) -> None:
        """`make` reads `files` (empty names are left out) or raises ConfigurationError; it blocks."""
        self._make = make
        self._files = [Path(file) for file in files if file]
        self._seen = self._stamps()
        self.context = make()
        """The context of a listener that has one for all connections; each handshake gets the newest certificate."""
        self.newest = self.context
        """The context for a listener that can use one for each connection."""
        self.context.sni_callback = self._use_newest

    def reload_if_changed(self) -> bool:
        """Read the files again if they have changed; blocks. An error is logged and the last good context stays."""
        stamps = self._stamps()
        if stamps == self._seen or None in stamps:
            return False
        try:
            self.newest = self._make()
        except ConfigurationError as error:
            # Perhaps only some of the files have been written yet; the next check reads them again.
            log.warning("certificate not replaced: %s", error)
            return False
        self._seen = stamps
        log.info("certificate read again from %s", self._files[0])
        return True

    def replace(self, other: Certificates) -> None:
        """Use the certificate of `other` from here on; listeners notice nothing."""
        self._make, self._files, self._seen = other._make, other._files, other._seen
        self.newest = other.newest

    async def watch(self, interval: float = 5.0) -> None:
        """Check the files every `interval` seconds, for ever."""
        while True:
            await asyncio.sleep(interval)
            await asyncio.to_thread(self.reload_if_changed)

    def _use_newest(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self.newest

    def _stamps(self) -> list[Stamp]:
        return [stamp(file) for file in self._files]


def stamp(file: Path) -> Stamp:
    """A value that changes when a file is written or replaced; None if the file does not exist."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


class PemFiles(NamedTuple):
    """The PEM files of a TLS context, each empty if there is none, and their names for people."""

    certificate: str = ""
    """Our certificate chain."""
    key: str = ""
    """The private key, if it is not in the certificate's file."""
    authorities: str = ""
    """The trusted authorities; empty: those of the system."""
    names: tuple[str, str, str] = ("certificate", "key", "ca")
    """The settings or options that name the files, for error messages."""

    @classmethod
    def of_dicom(cls, dicom: Dicom) -> PemFiles:
        names = ("dicom.tls_certificate", "dicom.tls_key", "dicom.tls_ca")
        return cls(dicom.tls_certificate, dicom.tls_key, dicom.tls_ca, names)

    @classmethod
    def of_section(cls, section: str, certificate: str, key: str, ca: str = "") -> PemFiles:
        """The files that a section of the settings calls `certificate`, `key` and `ca`."""
        return cls(certificate, key, ca, (f"{section}.certificate", f"{section}.key", f"{section}.ca"))


def server_context(files: PemFiles, clients: ssl.VerifyMode = ssl.CERT_NONE, *, dicom: bool = False) -> ssl.SSLContext:
    """A context for incoming connections. Blocks.

    `clients` says whether callers must show a certificate. With `dicom` the profile at the top of this file applies;
    without it TLS 1.2 and 1.3 with the suites that OpenSSL offers. Raises: ConfigurationError that names the file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _configure(context, files, dicom)
    if dicom:
        with resources.as_file(resources.files("gateway.net") / _GROUP) as group:
            context.load_dh_params(str(group))
    context.verify_mode = clients
    if clients is not ssl.CERT_NONE:
        _load_authorities(context, files)
    return context


def client_context(files: PemFiles, *, any_name: bool = False, dicom: bool = False) -> ssl.SSLContext:
    """A context for outgoing connections; cached until a file changes. Blocks. Raises as `server_context`.

    `any_name` accepts any name that an authority has signed. Contexts are not from `ssl.create_default_context`: from
    Python 3.13 on it sets VERIFY_X509_STRICT, which refuses private authorities whose certificate has no key usage
    extension. Hospitals have such authorities, and their other tools accept them.
    """
    stamps = tuple(stamp(Path(file)) if file else None for file in files[:3])
    return _client_context(files, stamps, any_name, dicom)


@functools.lru_cache(maxsize=32)
def _client_context(files: PemFiles, _stamps: tuple[Stamp, ...], any_name: bool, dicom: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _configure(context, files, dicom)
    if files.authorities:
        _load_authorities(context, files)
    else:
        context.load_default_certs()
    context.check_hostname = not any_name
    return context


def _configure(context: ssl.SSLContext, files: PemFiles, dicom: bool) -> None:
    """Set what both sides share: versions, suites, our certificate."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION
    if dicom:
        context.set_ciphers(":".join(SUITES_1_2))
        context.options |= ssl.OP_NO_RENEGOTIATION
    if not files.certificate:
        return
    try:
        context.load_cert_chain(files.certificate, files.key or None, password=_no_password)
    except (OSError, ValueError) as error:
        named = [f"{name} {file}" for name, file in zip(files.names, files[:2], strict=False) if file]
        raise ConfigurationError(f"{', '.join(named)}: {error}") from None


def _load_authorities(context: ssl.SSLContext, files: PemFiles) -> None:
    try:
        context.load_verify_locations(files.authorities)
    except OSError as error:
        why = error.strerror or error
        raise ConfigurationError(f"{files.names[2]} {files.authorities}: {why}") from None


def server_certificates(dicom: Dicom) -> Certificates | None:
    """The certificates of the DICOM TLS port, and whether it demands one; None without such a port. Blocks."""
    if dicom.tls_port is None:
        return None
    files = PemFiles.of_dicom(dicom)
    make = functools.partial(server_context, files, VERIFY[dicom.tls_client_certificates], dicom=True)
    return Certificates(make, files[:3])


def client_tls(dicom: Dicom, modality: Modality) -> ClientTls | None:
    """The TLS parameters for a modality; None if it is called without TLS. Blocks if the files are new or changed."""
    return tls_to(PemFiles.of_dicom(dicom), modality.host, modality.tls_name) if modality.tls else None


def tls_to(files: PemFiles, host: str, name: str = "") -> ClientTls:
    """The TLS parameters for a host. `name` must be in its certificate; empty: the host; `*`: any name. Blocks as
    `client_context`.

    Raises: ConfigurationError that names the file.
    """
    context = client_context(files, any_name=name == "*", dicom=True)
    return ClientTls(context, host if name in ("", "*") else name)


def ends_at(file: str) -> float | None:
    """When the first certificate of a PEM file's chain that ends is at its end, in seconds since 1970; None for a file
    that cannot be read. Blocks; cached until the file changes."""
    return _ends_at(file, stamp(Path(file)))


@functools.lru_cache(maxsize=128)
def _ends_at(file: str, _stamp: Stamp) -> float | None:
    from cryptography.x509 import load_pem_x509_certificates  # which only those with certificates need

    try:
        chain = load_pem_x509_certificates(Path(file).read_bytes())
    except (OSError, ValueError):
        return None
    return min(each.not_valid_after_utc.timestamp() for each in chain)


def peer_of(connection: ssl.SSLObject) -> TlsPeer:
    """The peer of a finished handshake: version, cipher, names."""
    suite = connection.cipher()
    return TlsPeer(connection.version() or "", suite[0] if suite else "", frozenset(names_in(connection.getpeercert())))


def names_in(certificate: Mapping[str, Any] | None) -> Iterator[str]:
    """Common names and subject alternative names of a verified certificate, in the form of `getpeercert`."""
    for relative_name in (certificate or {}).get("subject", ()):
        yield from (value for kind, value in relative_name if kind == "commonName")
    for _kind, value in (certificate or {}).get("subjectAltName", ()):
        if isinstance(value, str):
            yield value


def describe(error: OSError) -> str:
    """The reason of a failed handshake in words."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not accepted: {error.verify_message}"
        case ssl.SSLError() if error.reason:
            return error.reason.replace("_", " ").lower()
        case _:
            return str(error) or type(error).__name__


def _no_password() -> str:
    raise ValueError("the key is encrypted; give one without a passphrase")
