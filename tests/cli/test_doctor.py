"""`dicom-gateway doctor`: findings in words and as JSON, and the exit codes."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.cli.main import app
from gateway.errors import ConfigurationError
from gateway.net.association_record import as_json
from tests.support.nodes import IMPLICIT, asked_node
from tests.web.test_modalities_page import record

VERIFICATION = "1.2.840.10008.1.1"
NOBODY = ("--url", "http://127.0.0.1:1")


def doctor(*arguments: str) -> int:
    try:
        app(["doctor", *arguments])
    except SystemExit as ended:
        return int(ended.code or 0)
    except ConfigurationError:
        return 2
    return 0


class TestWords:
    async def test_all_is_well(self, capsys: pytest.CaptureFixture[str]):
        async with asked_node({VERIFICATION: [IMPLICIT]}) as asked:
            code = await asyncio.to_thread(doctor, f"127.0.0.1:{asked.node.port}", "--called", "PEER", *NOBODY)
            assert asked.identities
        assert code == 0
        assert "ok   C-ECHO to it: It answers C-ECHO." in capsys.readouterr().out

    def test_a_remedy_for_what_is_wrong(self, capsys: pytest.CaptureFixture[str]):
        assert doctor("PEER@127.0.0.1:1", *NOBODY) == 1
        found = capsys.readouterr().out
        assert "BAD  Connection: Nothing listens on port 1 of 127.0.0.1" in found
        assert "Start the DICOM service there" in found

    def test_wrong_use(self):
        assert doctor("a@b@c", *NOBODY) != 0
        assert doctor("127.0.0.1", "--config", "/nowhere.toml", *NOBODY) == 2


class TestJson:
    def test_findings(self, capsys: pytest.CaptureFixture[str]):
        assert doctor("PEER@127.0.0.1:1", "--json", *NOBODY) == 1
        found = json.loads(capsys.readouterr().out)
        assert found["good"] is False
        assert (found["findings"][0]["code"], found["findings"][0]["grade"]) == ("refused", "bad")

    async def test_what_it_asked_of_the_gateway_that_runs(self, capsys: pytest.CaptureFixture[str]):
        rejected = record(4, calling_aet="PEER", outcome="rejected", code="1.1.3", detail="'PEER' is no modality")
        running = web.Application()
        body = msgspec.json.encode([as_json(rejected)]).decode()

        async def answer(_: web.Request) -> web.Response:
            return web.Response(text=body, content_type="application/json")

        async def system(_: web.Request) -> web.Response:
            return web.json_response({"DicomPort": 11113})

        running.router.add_get("/associations/records", answer)
        running.router.add_get("/system", system)
        async with TestServer(running) as server, asked_node({VERIFICATION: [IMPLICIT]}) as asked:
            url = str(server.make_url("")).rstrip("/")
            node = f"PEER@127.0.0.1:{asked.node.port}"
            assert await asyncio.to_thread(doctor, node, "--json", "--url", url) == 1
        (found,) = [each for each in json.loads(capsys.readouterr().out)["findings"] if each["step"] == "incoming"]
        assert found["code"] == "in-calling"
        assert found["values"]["our_port"] == "11113"
