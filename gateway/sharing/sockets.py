"""The sockets that a gateway listens on, its workers all together, and what is said where they cannot be had."""

from __future__ import annotations

import socket
from typing import NamedTuple

from gateway import config
from gateway.config import Settings
from gateway.errors import ConfigurationError
from gateway.net.acceptor import listen


class Sockets(NamedTuple):
    """Where we listen for DICOM, plain and over TLS."""

    plain: socket.socket
    tls: socket.socket | None


def _listen(host: str, port: int, setting: str, way_out: str) -> socket.socket:
    try:
        return listen(host, port)
    except OSError as error:
        raise taken(host, port, setting, way_out, error) from None


def taken(host: str, port: int, setting: str, way_out: str, error: OSError) -> ConfigurationError:
    """Somebody else has the port, or we may not have it; `way_out` is what to do."""
    return ConfigurationError(
        f"{setting}: cannot listen on {host}:{port}: {error.strerror or error}; {way_out}, or stop what uses it"
    )


def listen_dicom(settings: Settings) -> Sockets:
    """Raises ConfigurationError where a port cannot be had."""
    dicom = settings.dicom
    plain = _listen(dicom.host, dicom.port, "dicom.port", "choose another with --dicom-port")
    if dicom.tls_port is None:
        return Sockets(plain, None)
    try:
        return Sockets(plain, _listen(dicom.host, dicom.tls_port, "dicom.tls_port", "choose another"))
    except ConfigurationError:
        plain.close()
        raise


def listen_web(settings: Settings) -> socket.socket:
    """Raises ConfigurationError where the port cannot be had."""
    http = settings.http
    return _listen(http.host, http.port, "http.port", "choose another with --http-port")


def web_url(http: config.Http, port: int) -> str:
    """Where people find us."""
    host = f"[{http.host}]" if ":" in http.host else http.host
    return f"{'https' if http.certificate else 'http'}://{host}:{port}{http.prefix}"
