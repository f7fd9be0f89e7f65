"""gateway/net/tls.py, and the acceptor's TLS port: both sides over real sockets, and who speaks the wrong language."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Dicom, Http, Modality
from gateway.config.destinations import DicomwebDestination
from gateway.dicom import uids
from gateway.dimse import status
from gateway.errors import AssociationLost, ConfigurationError
from gateway.net import tls
from gateway.net.requestor import Call, associate
from gateway.net.tls import ClientTls, client_tls, server_certificates
from gateway.remote.http import tls_context
from gateway.ul.association import Association
from gateway.ul.items import ProposedContext, UserInformation
from gateway.ul.pdu import AssociateRQ
from gateway.web.listener import certificates_of
from tests.support.certificates import Authority, Issued, needs_openssl
from tests.support.intake import CT, Intake, intake
from tests.support.waiting import until

pytestmark = needs_openssl


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Issued:
    return authority.issue("gateway", "DNS:localhost", "IP:127.0.0.1")


@pytest.fixture(scope="module")
def theirs(authority: Authority) -> Issued:
    return authority.issue("TEST", "DNS:ct.example")


@asynccontextmanager
async def listening(path: Path, ours: Issued, **dicom: Any) -> AsyncIterator[Intake]:
    sections = {"tls_port": 0, "tls_certificate": ours.certificate, "tls_key": ours.key, **dicom}
    modalities = sections.pop("modalities", {})
    async with asyncio.timeout(20), intake(path, dicom=sections, modalities=modalities) as gateway:
        yield gateway


def over_tls(gateway: Intake, authority: Authority | None, shown: Issued | None = None, **changes: Any) -> Call:
    """A call to the TLS port that trusts `authority` and shows a certificate."""
    dicom = Dicom(
        tls_ca=authority.certificate if authority else "",
        tls_certificate=shown.certificate if shown else "",
        tls_key=shown.key if shown else "",
    )
    address = gateway.acceptor.tls_address
    assert address is not None
    modality = Modality(aet="GATEWAY", host="127.0.0.1", port=1, tls=True, **changes)
    return gateway.call(port=address[1], tls=client_tls(dicom, modality))


async def echo(call: Call) -> int:
    async with associate(call) as association:
        return await association.echo()


class TestBothSides:
    async def test_echo_and_store(
        self, tmp_path: Path, authority: Authority, ours: Issued, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        async with listening(tmp_path, ours) as gateway, associate(over_tls(gateway, authority)) as association:
            assert await association.echo() == status.SUCCESS
            data = bytes.fromhex("08001600554900 00".replace(" ", ""))  # A data set that is none: refused, but it came.
            response = await association.store(association.context_for(CT), "1.2.3", [data, bytes(3_000_000)])
            assert response.status != status.SUCCESS
            assert await association.echo() == status.SUCCESS
            assert gateway.acceptor.established()["TEST"] == 1
            assert [one.state for one in gateway.acceptor.associations()] == ["Sta6"]
            assert gateway.blocks.available == 32, "an idle association holds no block"
            await association.release()
            await until(lambda: not gateway.acceptor.associations())
        assert "over TLSv1.3" in caplog.text
        assert "ERROR" not in caplog.text

    @pytest.mark.parametrize("suite", tls.SUITES_1_2)
    async def test_tls_1_2(self, tmp_path: Path, authority: Authority, suite: str) -> None:
        """Each suite of the profile (RFC 9325 §4.2), with a certificate of its kind of key."""
        issued = authority.issue(suite, "IP:127.0.0.1", rsa="RSA" in suite)
        async with listening(tmp_path, issued) as gateway:
            call = over_tls(gateway, authority, tls_name="")
            context = authority.client_context()
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(suite)
            assert await echo(dataclasses.replace(call, tls=ClientTls(context, "127.0.0.1"))) == status.SUCCESS

    @pytest.mark.parametrize("suite", ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256"])
    async def test_a_suite_outside_of_the_profile(
        self, tmp_path: Path, authority: Authority, ours: Issued, suite: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with listening(tmp_path, ours) as gateway:
            context = authority.client_context()
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(suite)
            call = dataclasses.replace(over_tls(gateway, authority), tls=ClientTls(context, "127.0.0.1"))
            with pytest.raises(OSError):
                await echo(call)
            await until_said(caplog, "no shared cipher")

    async def test_a_stranger_certificate_is_not_called(self, tmp_path: Path, authority: Authority) -> None:
        other = Authority(tmp_path, "other").issue("gateway", "IP:127.0.0.1")
        async with listening(tmp_path / "data", other) as gateway:
            with pytest.raises(ssl.SSLCertVerificationError):
                await echo(over_tls(gateway, authority))

    async def test_a_wrong_name_is_not_called_unless_any_will_do(
        self, tmp_path: Path, authority: Authority, ours: Issued
    ) -> None:
        async with listening(tmp_path, ours) as gateway:
            with pytest.raises(ssl.SSLCertVerificationError):
                await echo(over_tls(gateway, authority, tls_name="elsewhere"))
            assert await echo(over_tls(gateway, authority, tls_name="*")) == status.SUCCESS
            assert await echo(over_tls(gateway, authority, tls_name="localhost")) == status.SUCCESS

    async def test_the_common_name_serves_where_there_is_no_other(self, tmp_path: Path, authority: Authority) -> None:
        async with listening(tmp_path, authority.issue("CT ROOM 1")) as gateway:
            assert await echo(over_tls(gateway, authority, tls_name="CT ROOM 1")) == status.SUCCESS


@pytest.mark.case("the plain port can be switched off")
async def test_without_a_plain_port(tmp_path: Path, authority: Authority, ours: Issued) -> None:
    async with listening(tmp_path, ours, port="off") as gateway:
        assert gateway.acceptor.plain_address is None
        assert gateway.acceptor.address == gateway.acceptor.tls_address
        assert await echo(over_tls(gateway, authority)) == status.SUCCESS
        with pytest.raises(AssociationLost):
            await echo(gateway.call())


class TestClientCertificates:
    async def test_required(
        self,
        tmp_path: Path,
        authority: Authority,
        ours: Issued,
        theirs: Issued,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        dicom = {"tls_client_certificates": "required", "tls_ca": authority.certificate}
        async with listening(tmp_path, ours, **dicom) as gateway:
            assert await echo(over_tls(gateway, authority, theirs)) == status.SUCCESS
            with pytest.raises(Exception, match=r"(?i)certificate|closed"):
                await echo(over_tls(gateway, authority))
            await until_said(caplog, "peer did not return a certificate")

    async def test_of_a_stranger(self, tmp_path: Path, authority: Authority, ours: Issued) -> None:
        stranger = Authority(tmp_path, "strangers").issue("TEST")
        for wanted in ("optional", "required"):
            dicom = {"tls_client_certificates": wanted, "tls_ca": authority.certificate}
            async with listening(tmp_path / wanted, ours, **dicom) as gateway:
                with pytest.raises(Exception, match=r"(?i)ca|closed"):
                    await echo(over_tls(gateway, authority, stranger))

    async def test_optional(self, tmp_path: Path, authority: Authority, ours: Issued) -> None:
        dicom = {"tls_client_certificates": "optional", "tls_ca": authority.certificate}
        async with listening(tmp_path, ours, **dicom) as gateway:
            assert await echo(over_tls(gateway, authority)) == status.SUCCESS


class TestWrongLanguage:
    """Named in the log, and closed at once."""

    async def test_plain_dicom_on_the_tls_port(
        self, tmp_path: Path, ours: Issued, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with listening(tmp_path, ours) as gateway:
            address = gateway.acceptor.tls_address
            assert address is not None
            reader, writer = await asyncio.open_connection(*address)
            association = Association.requestor()
            contexts = [ProposedContext(1, uids.VERIFICATION, [uids.IMPLICIT_VR_LITTLE_ENDIAN.uid])]
            association.request(AssociateRQ("GATEWAY", "TEST", contexts, UserInformation()), 0.0)
            association.connected(0.0)
            writer.writelines(association.data_to_send())
            async with asyncio.timeout(5):
                assert await ended(reader) == b""
            writer.close()
            await until_said(
                caplog,
                f"speaks plain DICOM on the port for TLS; turn on TLS in the peer, or have it "
                f"call port {gateway.acceptor.address[1]}",
            )

    async def test_tls_on_the_plain_port(
        self, tmp_path: Path, ours: Issued, authority: Authority, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        async with listening(tmp_path, ours) as gateway:
            call = dataclasses.replace(over_tls(gateway, authority), port=gateway.acceptor.address[1])
            with pytest.raises(OSError):
                await echo(call)
            await until_said(caplog, "the peer speaks TLS on the port for plain DICOM")

    async def test_who_says_nothing_is_let_go(
        self, tmp_path: Path, ours: Issued, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        async with listening(tmp_path, ours, artim_timeout=0.05) as gateway:
            for said in (b"", b"\x16"):
                address = gateway.acceptor.tls_address
                assert address is not None
                reader, writer = await asyncio.open_connection(*address)
                writer.write(said)
                async with asyncio.timeout(5):
                    await ended(reader)
                writer.close()
            await until_said(caplog, "no data in")
            await until_said(caplog, "TLS handshake failed")

    async def test_a_port_probe_is_no_error(
        self, tmp_path: Path, ours: Issued, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING)
        async with listening(tmp_path, ours) as gateway:
            address = gateway.acceptor.tls_address
            assert address is not None
            with socket.create_connection(address):
                pass
            assert await echo(gateway.call()) == status.SUCCESS
        assert caplog.text == ""


@pytest.mark.case("an authority without a key usage extension is taken on every Python")
class TestContexts:
    """VERIFY_X509_STRICT, which `ssl.create_default_context` sets from Python 3.13 on, refuses such."""

    @pytest.mark.parametrize("dicom", [True, False])
    def test_none_is_strict(self, authority: Authority, ours: Issued, dicom: bool) -> None:
        files = tls.PemFiles(ours.certificate, ours.key, authority.certificate)
        contexts = [
            tls.client_context(files, dicom=dicom),
            tls.server_context(files, ssl.CERT_REQUIRED, dicom=dicom),
        ]
        for context in contexts:
            assert not context.verify_flags & ssl.VERIFY_X509_STRICT
            assert context.verify_mode is ssl.CERT_REQUIRED
            assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert contexts[0].check_hostname

    def test_a_destination_and_the_web_have_them_too(self, authority: Authority, ours: Issued) -> None:
        section = DicomwebDestination(url="https://x.example", ca=authority.certificate)
        assert not tls_context("x", section).verify_flags & ssl.VERIFY_X509_STRICT
        web = certificates_of(Http(certificate=ours.certificate, key=ours.key)).context
        assert not web.verify_flags & ssl.VERIFY_X509_STRICT
        assert web.verify_mode is ssl.CERT_NONE


class TestFiles:
    async def test_a_new_certificate_is_shown_to_the_next(self, tmp_path: Path, authority: Authority) -> None:
        first = authority.issue("first", "IP:127.0.0.1", file="turns")
        certificates = server_certificates(Dicom(tls_port=0, tls_certificate=first.certificate, tls_key=first.key))
        assert certificates is not None
        before = certificates.newest
        assert not certificates.reload_if_changed()
        authority.issue("second", "IP:127.0.0.1", file="turns")
        assert certificates.reload_if_changed()
        assert certificates.newest is not before

    def test_what_cannot_be_used_is_named(self, tmp_path: Path, ours: Issued) -> None:
        nothing = tmp_path / "nothing.pem"
        with pytest.raises(ConfigurationError, match=r"dicom\.tls_certificate .*nothing.pem.*dicom\.tls_key"):
            server_certificates(Dicom(tls_port=0, tls_certificate=str(nothing), tls_key=ours.key))
        nothing.write_text("not a certificate")
        with pytest.raises(ConfigurationError, match=r"dicom\.tls_ca .*nothing.pem"):
            server_certificates(
                Dicom(
                    tls_port=0,
                    tls_certificate=ours.certificate,
                    tls_key=ours.key,
                    tls_client_certificates="required",
                    tls_ca=str(nothing),
                )
            )

    def test_no_port_no_certificates(self) -> None:
        assert server_certificates(Dicom()) is None

    def test_contexts_of_calls_are_kept_until_their_files_change(self, tmp_path: Path, authority: Authority) -> None:
        copy = tmp_path / "ca.pem"
        copy.write_bytes(Path(authority.certificate).read_bytes())
        modality = Modality(aet="X", host="x.example", port=104, tls=True)
        one, two = (client_tls(Dicom(tls_ca=str(copy)), modality) for _ in range(2))
        assert one is not None
        assert two is not None
        assert one.context is two.context
        assert one.name == "x.example"
        copy.write_bytes(copy.read_bytes() + b"\n")
        three = client_tls(Dicom(tls_ca=str(copy)), modality)
        assert three is not None
        assert three.context is not one.context

    def test_names(self) -> None:
        certificate = {
            "subject": ((("countryName", "CH"),), (("commonName", "CT1"),)),
            "subjectAltName": (("DNS", "ct1.example"), ("IP Address", "10.0.0.5"), ("DirName", ())),
        }
        assert set(tls.names_in(certificate)) == {"CT1", "ct1.example", "10.0.0.5"}
        assert set(tls.names_in(None)) == set()


async def ended(reader: asyncio.StreamReader) -> bytes:
    with contextlib.suppress(ConnectionResetError):
        return await reader.read()
    return b""


async def until_said(caplog: pytest.LogCaptureFixture, words: str) -> None:
    await until(lambda: words in caplog.text, words, within_s=5)
