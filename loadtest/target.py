"""Whom the load is for: a DICOM node, a DICOMweb service, or both at once."""

from __future__ import annotations

import dataclasses
import re
import ssl
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from gateway.net.requestor import Call
from gateway.net.tls import ClientTls
from gateway.ul.items import RoleSelection

_ADDRESS = re.compile(r"(?P<aet>[^@\\]{1,16})@(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\s\[\]]+):(?P<port>[0-9]{1,5})")


@dataclasses.dataclass(frozen=True, slots=True)
class Web:
    """A DICOMweb service. `url` has no slash at its end and no password in it."""

    url: str
    user: str = ""
    password: str = dataclasses.field(default="", repr=False)
    host: str = ""
    """What the Host header says, where the URL leads there by a detour."""

    @classmethod
    def parse(cls, text: str) -> Web:
        """`http://user:password@host:8042/dicom-web`. Raises ValueError."""
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{text!r} is no address such as http://127.0.0.1:8042/dicom-web")
        place = parts.netloc.rpartition("@")[2]
        url = urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", ""))
        return cls(url, unquote(parts.username or ""), unquote(parts.password or ""))


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Whom to call, as whom, and how. Without `port` there is no DICOM node, without `web` no DICOMweb service."""

    host: str = "127.0.0.1"
    port: int = 0
    called_aet: str = "ANY-SCP"
    calling_aet: str = "LOADTEST"
    timeout: float = 60.0
    """Seconds to connect, and for each response."""
    web: Web | None = None
    move_to: str = ""
    """AE title that a C-MOVE names: where we listen, or whatever else the node knows."""
    tls: bool = False
    """The DICOM node is called over TLS."""
    trust: ssl.SSLContext | None = dataclasses.field(default=None, repr=False)
    """What is trusted and shown over TLS, to the node and to the service; without it the system's authorities."""

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
            tls=ClientTls(self.trust or ssl.create_default_context(), self.host) if self.tls else None,
        )


def trust(authorities: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """PEM files: whom we trust, otherwise the system's, and what we show. Raises OSError, ssl.SSLError among them."""
    context = ssl.create_default_context(cafile=authorities)
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


def parse_node(text: str) -> tuple[str, str, int]:
    """AE title, host and port of `ARCHIVE@10.1.2.3:104`. Raises ValueError."""
    match = _ADDRESS.fullmatch(text.strip())
    if match is None or not match["aet"].strip() or not 0 < int(match["port"]) <= 65535:
        raise ValueError(f"{text!r} is no address such as ARCHIVE@10.1.2.3:104")
    return match["aet"].strip(), match["host"].strip("[]"), int(match["port"])
