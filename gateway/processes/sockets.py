"""The listening sockets of a gateway, shared by its workers, and the errors of binding them."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import NamedTuple

from gateway import config
from gateway.config import Settings
from gateway.errors import ConfigurationError
from gateway.net.acceptor import listen


class Sockets(NamedTuple):
    """The listening sockets: DICOM, plain or TLS or both, and web."""

    plain: socket.socket | None
    tls: socket.socket | None
    web: socket.socket

    @property
    def ports(self) -> tuple[int, int]:
        """The DICOM port, the plain one if there are both, and the HTTP port."""
        first = self.plain or self.tls
        assert first is not None
        return first.getsockname()[1], self.web.getsockname()[1]

    def close(self) -> None:
        for each in self:
            if each is not None:
                each.close()


def _listen(host: str, port: int, setting: str, way_out: str) -> socket.socket:
    """Listen on a port; `way_out` is the advice of the error. Raises: ConfigurationError."""
    try:
        return listen(host, port)
    except OSError as error:
        raise ConfigurationError(
            f"{setting}: cannot listen on {host}:{port}: {error.strerror or error}; {way_out}, or stop what uses it"
        ) from None


def bind(settings: Settings) -> Sockets:
    """Listen on all ports of the settings. Raises: ConfigurationError if a port cannot be bound; then none is."""
    dicom, http = settings.dicom, settings.http
    plain = tls = None
    with ExitStack() as bound:
        if dicom.plain_port is not None:
            plain = _listen(dicom.host, dicom.plain_port, "dicom.port", "choose another with --dicom-port")
            bound.callback(plain.close)
        if dicom.tls_port is not None:
            tls = _listen(dicom.host, dicom.tls_port, "dicom.tls_port", "choose another")
            bound.callback(tls.close)
        web = _listen(http.host, http.port, "http.port", "choose another with --http-port")
        bound.pop_all()
    return Sockets(plain, tls, web)


def web_url(http: config.Http, port: int) -> str:
    """The URL at which people find the gateway."""
    host = f"[{http.host}]" if ":" in http.host else http.host
    return f"{'https' if http.certificate else 'http'}://{host}:{port}{http.prefix}"
