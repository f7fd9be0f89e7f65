"""Certificates for tests, made by the openssl program: an authority, and what it signs."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program")
_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_RSA = ("-newkey", "rsa:2048", "-nodes")


@dataclass(frozen=True)
class Issued:
    certificate: str
    key: str


class Authority:
    """Signs what `issue` makes; its own certificate is `certificate`. All files lie in `folder`."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self.folder = folder / name
        self.folder.mkdir()
        self._self_signed = self._request(f"/CN={name}", self.folder / "ca", "-x509", "-days", "2")
        self.certificate = self._self_signed.certificate

    def issue(self, name: str, *names: str, file: str = "", rsa: bool = False) -> Issued:
        """For a common name, or a subject like `/O=Hospital`, and subject alternative names such as `DNS:localhost`,
        `IP:127.0.0.1`."""
        base = self.folder / (file or name.replace(" ", "_").replace("/", "_"))
        request = self._request(
            name if name.startswith("/") else f"/CN={name}", base.with_suffix(".new"), kind=_RSA if rsa else _EC
        )
        command = ["openssl", "x509", "-req", "-in", request.certificate, "-days", "2", "-CAcreateserial"]
        command += ["-CA", self.certificate, "-CAkey", self._self_signed.key, "-out", f"{base}.pem"]
        if names:
            extensions = base.with_suffix(".ext")
            extensions.write_text(f"subjectAltName={','.join(names)}\n")
            command += ["-extfile", str(extensions)]
        _run(command)
        Path(request.key).replace(f"{base}.key")
        return Issued(f"{base}.pem", f"{base}.key")

    def client_context(self) -> ssl.SSLContext:
        """For a client that trusts this authority. Like many of hospitals, its certificate lacks keyUsage, which
        `ssl.create_default_context` insists on from Python 3.13 on.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.certificate)
        return context

    def _request(self, subject: str, base: Path, *options: str, kind: tuple[str, ...] = _EC) -> Issued:
        made = Issued(f"{base}.pem", f"{base}.key")
        _run(
            ["openssl", "req", "-new", *kind, "-subj", subject, "-keyout", made.key, "-out", made.certificate, *options]
        )
        return made


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)
