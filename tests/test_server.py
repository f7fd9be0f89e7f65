"""The gateway as its own process: start, reload, drain, stop, and a port that is taken."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest

from gateway.dimse import status
from gateway.errors import AssociationLost, AssociationRefused
from gateway.net.buffers import BlockPool
from gateway.net.requestor import Call, Requestor, associate
from tests.support.processes import Gateway, NotStarted, is_listening, wait_until

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
    while True:
        await association.echo()
        await asyncio.sleep(0.02)


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


def test_the_data_of_a_stopped_gateway_is_served_by_the_next(tmp_path: Path) -> None:
    with Gateway(tmp_path / "data") as gateway:
        gateway.stop()
        gateway.start()
        code, body = gateway.get("/statistics")
        assert (code, json.loads(body)["CountInstances"]) == (200, 0)
