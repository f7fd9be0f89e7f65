"""/tools/…: the log level, metrics, and the end of the gateway, which `[rest]` of the settings must allow."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from gateway import telemetry
from gateway.config import Dicom, Rest
from tests.support.index import data_set
from tests.support.web import House


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    libraries = {name: logging.getLogger(name).level for name in ("asyncio", "aiohttp", "aiosqlite")}
    yield
    telemetry.set_verbosity("default")
    for name, level in libraries.items():
        logging.getLogger(name).setLevel(level)


async def text(gateway: House, path: str) -> str:
    return await (await gateway.get(path)).text()


class TestLogLevel:
    async def test_of_all_and_of_a_category(self, gateway: House) -> None:
        gateway.rest = Rest(log_level=True)
        assert await text(gateway, "/tools/log-level") == "default"
        assert (await gateway.client.put("/tools/log-level", data=b"verbose")).status == 200
        assert await text(gateway, "/tools/log-level-jobs") == "verbose"
        assert (await gateway.client.put("/tools/log-level-http", data=b"trace")).status == 200
        assert await text(gateway, "/tools/log-level-http") == "trace"
        assert await text(gateway, "/tools/log-level") == "trace"
        assert await text(gateway, "/tools/log-level-dicom") == "verbose"
        assert logging.getLogger("gateway.web.rest").getEffectiveLevel() == logging.DEBUG
        assert logging.getLogger("aiohttp").level == logging.DEBUG
        assert logging.getLogger("aiosqlite").level == logging.WARNING
        assert (await gateway.client.put("/tools/log-level", data=b"default")).status == 200
        assert await text(gateway, "/tools/log-level") == "default"
        assert logging.getLogger("gateway.web").level == logging.NOTSET

    async def test_is_set_only_where_that_is_allowed(self, gateway: House) -> None:
        answer = await gateway.client.put("/tools/log-level", data=b"verbose")
        assert answer.status == 403
        assert "rest.log_level" in (await answer.json())["Details"]
        assert await text(gateway, "/tools/log-level") == "default"

    async def test_nonsense(self, gateway: House) -> None:
        gateway.rest = Rest(log_level=True)
        answer = await gateway.client.put("/tools/log-level-sqlite", data=b"loud")
        assert answer.status == 400
        assert "default, verbose, trace" in (await answer.json())["Details"]
        assert (await gateway.get("/tools/log-level-lua")).status == 404


class TestMetrics:
    async def test_are_always_collected(self, gateway: House) -> None:
        assert await text(gateway, "/tools/metrics") == "1"
        for body, status in ((b"1", 200), (b"true", 200), (b"0", 403), (b"x", 400)):
            assert (await gateway.client.put("/tools/metrics", data=body)).status == status

    async def test_by_our_names_and_by_orthancs(self, gateway: House) -> None:
        await gateway.add(data_set())
        lines = (await text(gateway, "/tools/metrics-prometheus")).splitlines()
        values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        assert values["orthanc_count_instances"] == values["gateway_stored_instances"] == "1.0"
        assert values["orthanc_last_change"] == "4.0"
        assert {"orthanc_jobs_success", "orthanc_jobs_total_success", "orthanc_disk_size_mb"} <= values.keys()


class TestTheEnd:
    async def test_is_allowed_by_a_setting(self, gateway: House) -> None:
        for name in ("reset", "shutdown"):
            answer = await gateway.client.post(f"/tools/{name}")
            assert answer.status == 403
            assert "rest.shutdown" in (await answer.json())["Details"]

    async def test_comes_and_the_configuration_is_read(self, gateway: House) -> None:
        gateway.rest = Rest(shutdown=True)
        for name in ("reset", "shutdown"):
            answer = await gateway.client.post(f"/tools/{name}")
            assert (answer.status, await answer.json()) == (200, {})
        assert gateway.controls == ["reload", "stop"]


async def test_settings_are_not_changed(gateway: House) -> None:
    for body, status in ((b"0", 200), (b"1", 403), (b"maybe", 400)):
        assert (await gateway.client.put("/tools/unknown-sop-class-accepted", data=body)).status == status
    gateway.dicom = Dicom(accept_unknown_sop_classes=True)
    answer = await gateway.client.put("/tools/unknown-sop-class-accepted", data=b"0")
    assert "accept_unknown_sop_classes = false" in (await answer.json())["Details"]
    assert (await gateway.client.post("/tools/invalidate-tags")).status == 200
