"""The doctor towards a node: each way in which a connection fails has a finding of its own."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.net.session import Refusal
from gateway.net.tls import PemFiles, tls_to
from gateway.remote import probe
from gateway.remote.diagnosis import SERVICES, Diagnosis, diagnose
from gateway.scu.node import Node
from gateway.ul.negotiation import CALLED_AE_TITLE_NOT_RECOGNIZED, CALLING_AE_TITLE_NOT_RECOGNIZED, LOCAL_LIMIT_EXCEEDED
from tests.support.certificates import Authority, needs_openssl
from tests.support.nodes import EXPLICIT, IMPLICIT, asked_node

VERIFICATION = "1.2.840.10008.1.1"
ABORT = bytes.fromhex("07000000000400000200")


def codes(diagnosis: Diagnosis) -> list[str]:
    return [each.code for each in diagnosis.findings]


@asynccontextmanager
async def server(answer: bytes, *, closes: bool = True, context: ssl.SSLContext | None = None) -> AsyncIterator[Node]:
    """A server that answers whatever comes first, and closes or keeps the connection."""
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await reader.read(10) and answer:
                writer.write(answer)
            if not closes:
                await done.wait()
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield Node("PEER", "127.0.0.1", listener.sockets[0].getsockname()[1], calling_aet="GATEWAY")
    finally:
        done.set()
        listener.close()


def _refuse(listener: socket.socket, context: ssl.SSLContext) -> None:
    """Shake hands with each client, until the listener is closed."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with contextlib.suppress(OSError), connection, context.wrap_socket(connection, server_side=True) as wrapped:
                wrapped.recv(1)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.remote.diagnosis._PROBE_S", 0.3)
    monkeypatch.setattr(probe, "USUAL_PORTS", ())


class TestPlain:
    async def test_all_is_well(self):
        contexts = {
            VERIFICATION: [IMPLICIT, EXPLICIT],
            SERVICES["store"][0]: [EXPLICIT],
            SERVICES["find"][0]: [IMPLICIT],
        }
        async with asked_node(contexts) as asked:
            found = await diagnose(asked.node)
        assert codes(found) == ["connected", "echo", "services"]
        assert found.is_good
        assert found.services == ("store", "find")
        assert found.local == "127.0.0.1"

    async def test_only_echo(self):
        async with asked_node({VERIFICATION: [IMPLICIT]}) as asked:
            assert codes(await diagnose(asked.node)) == ["connected", "echo", "echo-only"]

    async def test_no_context(self):
        async with asked_node({}) as asked:
            found = await diagnose(asked.node)
        assert codes(found) == ["connected", "no-echo", "no-context"]
        assert not found.is_good

    @pytest.mark.parametrize(
        ("rejection", "code"),
        [
            (CALLING_AE_TITLE_NOT_RECOGNIZED, "rejected-1.1.3"),
            (CALLED_AE_TITLE_NOT_RECOGNIZED, "rejected-1.1.7"),
            (LOCAL_LIMIT_EXCEEDED, "rejected-2.3.2"),
            ((1, 1, 9), "rejected-other"),
        ],
    )
    async def test_rejected(self, rejection: tuple[int, int, int], code: str):
        async with asked_node({}) as asked:
            asked.refusal = Refusal(rejection, "")
            found = await diagnose(asked.node)
        assert codes(found) == ["connected", code]
        assert found.findings[-1].values["our_aet"] == "GATEWAY"

    async def test_a_failure_for_an_answer(self):
        async with asked_node({VERIFICATION: [IMPLICIT]}) as asked:
            asked.answer = lambda message: message.respond(0x0122)
            found = await diagnose(asked.node)
        assert (codes(found)[-1], found.findings[-1].values["status"]) == ("echo-failed", "0122")

    @pytest.mark.parametrize(
        ("answer", "code"),
        [
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not-dicom-http"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "not-dicom-ssh"),
            (b"\x0bMSH|^~\\&|", "not-dicom-hl7"),
            (b"220 mail.example ESMTP\r\n", "not-dicom-text"),
            (b"\xff\xfe\x80\x90", "not-dicom-other"),
            (b"\x15\x03\x01\x00\x02\x02\x46", "tls-there"),
            (ABORT, "aborted"),
            (b"", "closed"),
        ],
    )
    async def test_something_else_is_there(self, answer: bytes, code: str):
        async with server(answer) as node:
            assert codes(await diagnose(node)) == ["connected", code]

    async def test_silence(self):
        async with server(b"", closes=False) as node:
            assert codes(await diagnose(node, timeout_s=0.3)) == ["connected", "silent"]

    async def test_nothing_listens(self, monkeypatch: pytest.MonkeyPatch):
        with socket.create_server(("127.0.0.1", 0)) as other, socket.create_server(("127.0.0.1", 0)) as closed:
            node = Node("PEER", "127.0.0.1", closed.getsockname()[1])
            closed.close()
            assert codes(await diagnose(node)) == ["refused"]
            monkeypatch.setattr(probe, "USUAL_PORTS", (other.getsockname()[1], node.port))
            found = await diagnose(node)
            assert codes(found) == ["refused-other"]
            assert found.findings[0].values["others"] == str(other.getsockname()[1])

    async def test_no_such_name(self):
        found = await diagnose(Node("PEER", "nobody.invalid", 104))
        assert codes(found)[0] in ("name-unknown", "name-service")

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (TimeoutError(), "no-answer"),
            (OSError(113, "No route to host"), "no-route"),
            (OSError(101, "Network is unreachable"), "no-route"),
            (OSError(110, "Connection timed out"), "no-answer"),
            (OSError(13, "Permission denied"), "not-connected"),
        ],
    )
    async def test_the_network(self, monkeypatch: pytest.MonkeyPatch, error: OSError, code: str):
        async def fail(*_: object) -> probe.Reached:
            raise error

        monkeypatch.setattr(probe, "reach", fail)
        assert codes(await diagnose(Node("PEER", "127.0.0.1", 104))) == [code]


@needs_openssl
class TestTls:
    @pytest.fixture
    def authority(self, tmp_path: Path) -> Authority:
        return Authority(tmp_path)

    def to(self, node: Node, trusted: str, name: str = "") -> Node:
        return dataclasses.replace(node, tls=tls_to(PemFiles(authorities=trusted), "127.0.0.1", name))

    def served(self, authority: Authority, *names: str) -> ssl.SSLContext:
        issued = authority.issue("peer", *names)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.certificate, issued.key)
        return context

    async def test_closes_behind_the_handshake(self, authority: Authority):
        async with server(b"", context=self.served(authority, "IP:127.0.0.1")) as node:
            found = await diagnose(self.to(node, authority.certificate))
        assert codes(found) == ["connected", "tls-good", "closed-tls"]
        assert found.findings[1].values["names"] == "127.0.0.1"

    async def test_an_authority_that_is_not_ours(self, authority: Authority, tmp_path: Path):
        other = Authority(tmp_path, "stranger")
        async with server(b"", context=self.served(authority, "IP:127.0.0.1")) as node:
            found = await diagnose(self.to(node, other.certificate))
        assert codes(found) == ["connected", "tls-authority"]
        assert found.findings[1].values["issuer"] == "CN=authority"

    async def test_another_name(self, authority: Authority):
        async with server(b"", context=self.served(authority, "DNS:pacs.example")) as node:
            found = await diagnose(self.to(node, authority.certificate))
        assert codes(found) == ["connected", "tls-name"]
        assert found.findings[1].values["names"] == "pacs.example"

    @pytest.mark.parametrize(("version", "code"), [("TLSv1_2", "tls-versions"), ("TLSv1_3", "closed-tls")])
    async def test_it_wants_a_certificate_of_ours(self, authority: Authority, version: str, code: str):
        context = self.served(authority, "IP:127.0.0.1")
        context.load_verify_locations(authority.certificate)
        context.verify_mode = ssl.CERT_REQUIRED
        context.maximum_version = ssl.TLSVersion[version]  # 1.3 tells only after the handshake
        # asyncio drops the connection before the alert is sent.
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = asyncio.create_task(asyncio.to_thread(_refuse, listener, context))
            node = Node("PEER", *listener.getsockname())
            found = await diagnose(self.to(node, authority.certificate))
            listener.shutdown(socket.SHUT_RDWR)
            await serving
        assert codes(found)[-1] == code

    async def test_no_tls_there(self, authority: Authority):
        async with asked_node({VERIFICATION: [IMPLICIT]}) as asked:
            assert codes(await diagnose(self.to(asked.node, authority.certificate))) == ["connected", "plain-there"]

    async def test_tls_is_off_here(self, authority: Authority):
        async with server(b"", context=self.served(authority, "IP:127.0.0.1")) as node:
            assert codes(await diagnose(node)) == ["connected", "tls-there"]
