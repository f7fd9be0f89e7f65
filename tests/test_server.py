"""The gateway as its own process: start, reload, drain, stop, and a port that is taken."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import pytest

from gateway.access.passwords import hash_password
from gateway.dimse import status
from gateway.errors import AssociationLost, AssociationRefused
from gateway.net.buffers import BlockPool
from gateway.net.requestor import Call, Requestor, associate
from gateway.net.tls import names_in
from gateway.ul.items import UserIdentity
from tests.support.certificates import Authority, needs_openssl
from tests.support.processes import Gateway, NotStarted, is_listening
from tests.support.waiting import paced, wait_until

EXPLICIT = "1.2.840.10008.1.2.1"
VERIFICATION = "1.2.840.10008.1.1"


def call(gateway: Gateway, calling: str = "TEST") -> Call:
    return Call(gateway.host, gateway.port, gateway.aet, calling, [(VERIFICATION, [EXPLICIT])])


async def test_it_listens_on_loopback_says_where_and_stops(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "data")
    with gateway:
        assert gateway.host == "127.0.0.1"
        assert await asyncio.to_thread(gateway.get, "/livez") == (200, b"alive\n")
        assert (await asyncio.to_thread(gateway.get, "/readyz"))[0] == 200
        async with asyncio.timeout(10), associate(call(gateway)) as association:
            assert await association.echo() == status.SUCCESS
        assert await asyncio.to_thread(gateway.stop) == 0
    assert not is_listening(gateway.port)


async def echo_for_ever(association: Requestor) -> None:
    async for _ in paced():
        await association.echo()


async def test_sigterm_drains(tmp_path: Path) -> None:
    """New associations are rejected for now, open ones are served, and what stays open is aborted in the end."""
    environment = {"GATEWAY_DICOM__DRAIN_TIMEOUT": "1.5"}
    with Gateway(tmp_path / "data", environment=environment) as gateway:
        async with asyncio.timeout(15):
            before = await Requestor.open(call(gateway), BlockPool(4))
            gateway.signal(signal.SIGTERM)
            refused = None
            while refused is None:
                try:
                    async with associate(call(gateway)):
                        pass
                except AssociationRefused as error:
                    refused = error
            assert (refused.result, refused.source, refused.reason) == (2, 3, 1)
            assert await before.echo() == status.SUCCESS
            assert (await asyncio.to_thread(gateway.get, "/readyz"))[0] == 503
            with pytest.raises(AssociationLost, match="aborted the association"):
                await echo_for_ever(before)
            await before.abort()
        assert gateway.wait(10) == 0


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with Gateway(tmp_path / "one") as gateway:
        other = Gateway(tmp_path / "two", "--dicom-port", str(gateway.port))
        with pytest.raises(NotStarted, match="cannot listen on"):
            other.start()
        assert "Traceback" not in other.log


@pytest.mark.timeout(200)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_data_folder_that_another_gateway_serves(tmp_path: Path, workers: str) -> None:
    """However many processes either has; commands beside it work, and a killed one leaves nothing to clear away."""
    arguments = ("--workers", workers)
    gateway = Gateway(tmp_path / "data", *arguments, environment={"GATEWAY_SERVER__WORKERS": workers})
    with ExitStack() as stopped:
        gateway.start(50)
        stopped.push(gateway)
        for other_workers in ("1", "2"):
            other = Gateway(tmp_path / "data", "--workers", other_workers, log=tmp_path / "other.log")
            with pytest.raises(NotStarted, match=rf"another gateway, process {gateway.pid}, serves .*data already"):
                other.start(50)
            assert "Traceback" not in other.log
        command = [sys.executable, "-m", "gateway", "backup", "--data", str(tmp_path / "data"), str(tmp_path / "copy")]
        subprocess.run(command, check=True, capture_output=True, timeout=50)
        assert gateway.get("/readyz")[0] == 200
        gateway.kill()
        gateway.start(50)
        assert gateway.get("/readyz")[0] == 200


async def test_sighup_reads_the_configuration_again(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text("")
    with Gateway(tmp_path / "data", "--config", str(file)) as gateway:
        async with asyncio.timeout(10), associate(call(gateway)):
            pass
        file.write_text("dicom = 3")
        gateway.signal(signal.SIGHUP)
        await asyncio.to_thread(wait_until, lambda: "is not used" in gateway.log, 5)
        file.write_text('[modalities.known]\naet = "KNOWN"\n')
        gateway.signal(signal.SIGHUP)
        await asyncio.to_thread(wait_until, lambda: "has been read again" in gateway.log, 5)
        async with asyncio.timeout(10):
            with pytest.raises(AssociationRefused, match="calling AE title"):
                async with associate(call(gateway)):
                    pass
            async with associate(call(gateway, "KNOWN")) as association:
                assert await association.echo() == status.SUCCESS


async def test_a_changed_file_is_read_by_itself(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text("")
    with Gateway(tmp_path / "data", "--config", str(file)) as gateway:
        async with asyncio.timeout(10), associate(call(gateway)):
            pass
        wrong = '[dicom]\nrefused_transfer_syntaxes = ["Nonsense"]\n[modalities.known]\naet = "KNOWN"\n'
        file.write_text(wrong)
        await asyncio.to_thread(wait_until, lambda: "'Nonsense'" in gateway.log or "Nonsense is no" in gateway.log, 10)
        assert gateway.log.count("is not used") == 1
        async with asyncio.timeout(10), associate(call(gateway)):
            pass  # Nothing of it has taken effect.
        file.write_text('[dicom]\ncheck_called_aet = true\naets = ["ARCHIVE"]\n[modalities.known]\naet = "KNOWN"\n')
        await asyncio.to_thread(wait_until, lambda: "has been read again" in gateway.log, 10)
        assert "modalities.known has changed" in gateway.log
        async with asyncio.timeout(10):
            with pytest.raises(AssociationRefused, match="calling AE title"):
                async with associate(call(gateway)):
                    pass
            async with associate(dataclasses.replace(call(gateway, "KNOWN"), called_aet="ARCHIVE")):
                pass


@needs_openssl
async def test_certificates_are_replaced_while_it_runs(tmp_path: Path) -> None:
    """Another file in the settings, by SIGHUP; a bad one changes nothing."""
    authority = Authority(tmp_path)
    first, second = (authority.issue(name, "IP:127.0.0.1") for name in ("first", "second"))
    file = tmp_path / "gateway.toml"

    def write(certificate: str, key: str) -> None:
        file.write_text(f'[dicom]\ntls_port = 0\ntls_certificate = "{certificate}"\ntls_key = "{key}"\n')

    write(first.certificate, first.key)
    with Gateway(tmp_path / "data", "--config", str(file)) as gateway:
        assert shown(gateway, authority) == "first"
        write(second.certificate, first.key)
        gateway.signal(signal.SIGHUP)
        await asyncio.to_thread(wait_until, lambda: ": dicom.tls_certificate" in gateway.log, 10)
        assert shown(gateway, authority) == "first"
        write(second.certificate, second.key)
        gateway.signal(signal.SIGHUP)
        await asyncio.to_thread(wait_until, lambda: "has been read again" in gateway.log, 10)
        assert shown(gateway, authority) == "second"


def shown(gateway: Gateway, authority: Authority) -> str:
    """The common name in the certificate on the TLS port."""
    context = authority.client_context()
    with (
        socket.create_connection((gateway.host, gateway.tls_port), 5) as connection,
        context.wrap_socket(connection, server_hostname="127.0.0.1") as over_tls,
    ):
        return next(iter(names_in(over_tls.getpeercert())))


def test_the_data_of_a_stopped_gateway_is_served_by_the_next(tmp_path: Path) -> None:
    with Gateway(tmp_path / "data") as gateway:
        gateway.stop()
        gateway.start()
        code, body = gateway.get("/statistics")
        assert (code, json.loads(body)["CountInstances"]) == (200, 0)


@pytest.mark.case("broken 11 wrong passwords are counted together, over DICOM and over HTTP")
async def test_wrong_passwords_are_counted_together(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    users = f'[[http.users]]\nname = "ann"\npassword = "{hash_password("right")}"\n'
    file.write_text(f'[dicom]\nuser_identity = "required"\n{users}')
    with Gateway(tmp_path / "data", "--config", str(file)) as gateway:
        async with asyncio.timeout(30):
            async with aiohttp.ClientSession() as session:
                wrong = aiohttp.encode_basic_auth("ann", "wrong")
                async with session.get(gateway.url + "/system", headers={"Authorization": wrong}) as answer:
                    assert answer.status == 401
            tried = dataclasses.replace(call(gateway), identity=UserIdentity(2, b"ann", b"wrong"))
            with pytest.raises(AssociationRefused):
                async with associate(tried):
                    pass
            assert "failure 2 in a row" in gateway.log
            async with associate(dataclasses.replace(call(gateway), identity=UserIdentity(2, b"ann", b"right"))) as one:
                assert await one.echo() == status.SUCCESS
