"""Load over TLS: a client certificate for the DICOM node, an authority of one's own for it and for https."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from loadtest import peers
from loadtest.peers.process import announces
from tests.loadtest.test_cli import run
from tests.support.certificates import Authority, Issued, needs_openssl

pytestmark = needs_openssl


class Server(NamedTuple):
    port: int
    web: str
    authority: str
    client: Issued


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A gateway that wants to see a certificate, on TLS and https."""
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    own, client = authority.issue("gateway", "IP:127.0.0.1"), authority.issue("LOADTEST")
    port = peers.free_port()
    (folder / "gateway.toml").write_text(
        f"""
        [dicom]
        allow_any_caller = true
        tls_port = {port}
        tls_certificate = "{own.certificate}"
        tls_key = "{own.key}"
        tls_ca = "{authority.certificate}"
        tls_client_certificates = "required"
        [http]
        certificate = "{own.certificate}"
        key = "{own.key}"
        """
    )
    command = [sys.executable, "-m", "gateway", "serve", "--config", str(folder / "gateway.toml")]
    command += ["--data", str(folder / "data"), "--dicom-port", "0", "--http-port", "0"]
    lines = (re.compile(r"^DICOM\s+.*:(\d+)"), re.compile(r"^Web\s+(\S+)/ui/"))
    with announces(command, lines, folder / "log.txt") as (_pid, (_dicom, web)):
        yield Server(port, f"{web[1]}/dicom-web", authority.certificate, client)


def files(server: Server) -> tuple[object, ...]:
    """The options that name whom we trust and who we are."""
    certificate, key = server.client.certificate, server.client.key
    return "--tls-ca", server.authority, "--tls-certificate", certificate, "--tls-key", key


def test_a_client_certificate_and_https(server: Server) -> None:
    code, out, err = run(
        *("send", "127.0.0.1", server.port, "--tls", *files(server), "--aec", "GATEWAY", "-n", 5, "--size", "8KB"),
        *("--verify", server.web, "--json"),
    )
    assert code == 0, out + err
    result = json.loads(out)
    assert result["works"][0]["operations"] == 5
    assert result["verification"]["found"] == 5


def test_without_a_certificate_nothing_goes(server: Server) -> None:
    code, out, _ = run("send", "127.0.0.1", server.port, "--tls", "--tls-ca", server.authority, "-n", 2, "--json")
    assert code == 1
    assert json.loads(out)["works"][0]["operations"] == 0


def test_an_upload_goes_by_https(server: Server) -> None:
    node = f"GATEWAY@127.0.0.1:{server.port}"
    code, out, err = run(
        *(
            "run",
            "upload",
            "--to",
            node,
            "--tls",
            *files(server),
            "--web",
            server.web,
            "--scale",
            0.3,
            "--duration",
            "1",
        ),
        "--no-ceiling",
    )
    assert code == 0, out + err
    assert "0 missing" in out


def test_files_that_are_no_certificates_are_wrong_usage(tmp_path: Path) -> None:
    file = tmp_path / "nonsense.pem"
    file.write_text("nonsense")
    code, _, err = run("send", "127.0.0.1", 1, "--tls", "--tls-ca", file)
    assert code == 2
    assert "--tls-ca" in err
