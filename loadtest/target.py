"""The target of the load: a DICOM node, a DICOMweb service, or both."""

from __future__ import annotations

import dataclasses
import re
import ssl
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from gateway.net.requestor import Call
from gateway.net.tls import ClientTls, PemFiles, client_context
from gateway.ul.items import RoleSelection

_ADDRESS = re.compile(r"(?P<aet>[^@\\]{1,16})@(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\s\[\]]+):(?P<port>[0-9]{1,5})")


@dataclasses.dataclass(frozen=True, slots=True)
class Web:
    """A DICOMweb service. `url` has no trailing slash, and no password."""

    url: str
    user: str = ""
    password: str = dataclasses.field(default="", repr=False)
    host: str = ""
    """Value of the Host header, if the URL leads to the service through the slow network."""

    @classmethod
    def parse(cls, text: str) -> Web:
        """Parse an address such as `http://user:password@host:8042/dicom-web`. Raises ValueError."""
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{text!r} is not an address such as http://127.0.0.1:8042/dicom-web")
        place = parts.netloc.rpartition("@")[2]
        url = urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", ""))
        return cls(url, unquote(parts.username or ""), unquote(parts.password or ""))


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """A target and how to call it. Without `port` it has no DICOM node, without `web` no DICOMweb service."""

    host: str = "127.0.0.1"
    port: int = 0
    called_aet: str = "ANY-SCP"
    calling_aet: str = "LOADTEST"
    timeout: float = 60.0
    """Seconds to wait for a connection, and for each response."""
    web: Web | None = None
    move_to: str = ""
    """Destination of a C-MOVE: our own AE title, or another that the node knows."""
    tls: bool = False
    """Whether the DICOM node is called over TLS."""
    trust: ssl.SSLContext | None = dataclasses.field(default=None, repr=False)
    """Authorities and certificate for TLS, to the node and to the service; without it, the system's authorities."""

    def __str__(self) -> str:
        node = f"{self.called_aet}@{self.host}:{self.port}" if self.port else ""
        return " and ".join(filter(None, (node, self.web.url if self.web is not None else "")))

    def call(
        self,
        contexts: Sequence[tuple[str, Sequence[str]]],
        *,
        operations: int = 1,
        roles: Sequence[RoleSelection] = (),
    ) -> Call:
        return Call(
            self.host,
            self.port,
            self.called_aet,
            self.calling_aet,
            contexts,
            max_operations=operations,
            timeout=self.timeout,
            response_timeout=self.timeout,
            roles=roles,
            tls=ClientTls(self.trust or client_context(PemFiles()), self.host) if self.tls else None,
        )


def trust(authorities: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """A TLS context of PEM files: authorities (the system's without a file), certificate and key.

    Raises ConfigurationError.
    """
    return client_context(PemFiles(str(certificate or ""), str(key or ""), str(authorities or "")))


def parse_node(text: str) -> tuple[str, str, int]:
    """Parse the AE title, host and port of an address such as `ARCHIVE@10.1.2.3:104`. Raises ValueError."""
    match = _ADDRESS.fullmatch(text.strip())
    if match is None or not match["aet"].strip() or not 0 < int(match["port"]) <= 65535:
        raise ValueError(f"{text!r} is not an address such as ARCHIVE@10.1.2.3:104")
    return match["aet"].strip(), match["host"].strip("[]"), int(match["port"])
