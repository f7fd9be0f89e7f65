"""gateway/web/listener.py with the certificates of net/tls.py: a certificate replaced while we listen."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from gateway.config import Http
from gateway.errors import ConfigurationError
from gateway.net.tls import Certificates
from gateway.web.listener import Listener, certificates_of

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program")


def make(folder: Path, name: str, file: str = "server") -> tuple[Path, Path]:
    """A self-signed certificate for `name`."""
    certificate, key = folder / f"{file}.pem", folder / f"{file}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "2", "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def name_in(certificates: Certificates) -> bytes:
    """The certificate that a client is shown, in a handshake in memory."""
    client_in, client_out = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client = context.wrap_bio(client_in, client_out, server_hostname=None)
    server = certificates.context.wrap_bio(client_out, client_in, server_side=True)
    for _ in range(6):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
    shown = client.getpeercert(binary_form=True)
    assert shown is not None
    return shown


def test_replaced_without_a_new_context(tmp_path: Path):
    certificate, key = make(tmp_path, "one")
    certificates = certificates_of(Http(certificate=str(certificate), key=str(key)))
    assert b"one" in name_in(certificates)
    assert not certificates.reload_if_changed()
    make(tmp_path, "two")
    assert certificates.reload_if_changed()
    assert b"two" in name_in(certificates)


def test_half_a_replacement_changes_nothing_until_it_is_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    certificate, key = make(tmp_path, "one")
    certificates = certificates_of(Http(certificate=str(certificate), key=str(key)))
    new_certificate, new_key = make(tmp_path, "two", "new")
    new_certificate.replace(certificate)
    assert not certificates.reload_if_changed()
    assert "not replaced" in caplog.text
    assert b"one" in name_in(certificates)
    new_key.replace(key)
    assert certificates.reload_if_changed()
    assert b"two" in name_in(certificates)
    key.unlink()
    assert not certificates.reload_if_changed()


def test_what_cannot_be_used_is_said_at_once(tmp_path: Path):
    certificate, key = make(tmp_path, "one")
    with pytest.raises(ConfigurationError, match=r"http\.certificate"):
        certificates_of(Http(certificate=str(certificate), key=str(tmp_path / "missing.key")))
    key.write_text("nonsense")
    with pytest.raises(ConfigurationError, match=r"http\.certificate"):
        certificates_of(Http(certificate=str(certificate), key=str(key)))


async def test_listener_over_tls_on_a_given_socket(tmp_path: Path):
    certificate, key = make(tmp_path, "one")

    async def hello(_request: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", hello)
    listener = Listener(app, grace=1.0)
    sock = socket.create_server(("127.0.0.1", 0))
    await listener.start(Http(certificate=str(certificate), key=str(key)), sock)
    assert listener.port == sock.getsockname()[1]
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"https://127.0.0.1:{listener.port}/", ssl=False) as answer,
    ):
        assert await answer.text() == "hello"
    await listener.stop()


async def test_a_port_in_use():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listener = Listener(web.Application())
        with pytest.raises(OSError, match="in use"):
            await listener.start(Http(port=taken.getsockname()[1]))
