"""/modalities: what scripts that were written for Orthanc do with them, and how long it lasts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.access.callers import CallerFacts, recognize
from gateway.config import Modality
from gateway.scu.node import find_node
from tests.support.web import House, archive, house

NEW = {"AET": "NEW", "Host": "10.1.2.3", "Port": 1234}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[House]:
    async with asyncio.timeout(30), house(tmp_path) as made:
        made.modalities = {"ct": Modality(aet="CT", host="10.0.0.1", port=104, allow=("echo", "store"))}
        yield made


async def put(gateway: House, name: str, body: Any) -> tuple[int, Any]:
    answer = await gateway.client.put(f"/modalities/{name}", json=body)
    return answer.status, await answer.json(content_type=None)


class TestConfigured:
    async def test_is_shown_in_the_fields_of_orthanc(self, gateway: House) -> None:
        assert await gateway.json("/modalities") == ["ct"]
        shown = await gateway.json("/modalities/ct/configuration")
        assert await gateway.json("/modalities?expand") == {"ct": shown}
        assert (await gateway.json("/modalities?expand=false")) == ["ct"]
        assert shown == {
            "AET": "CT",
            "AllowEcho": True,
            "AllowEventReport": True,
            "AllowFind": False,
            "AllowFindWorklist": False,
            "AllowGet": False,
            "AllowMove": False,
            "AllowNAction": False,
            "AllowStore": True,
            "AllowTranscoding": True,
            "Host": "10.0.0.1",
            "LocalAet": "",
            "Manufacturer": "Generic",
            "Port": 104,
            "RetrieveMethod": "SystemDefault",
            "Source": "Configuration",
            "Timeout": 0,
            "UseDicomTls": False,
        }

    async def test_is_not_changed_here(self, gateway: House) -> None:
        status, answer = await put(gateway, "ct", NEW)
        assert status == 403
        assert answer["Details"] == "[modalities.ct] stands in the configuration file; change it there"
        removed = await gateway.client.delete("/modalities/ct")
        assert removed.status == 403


class TestAdded:
    @pytest.mark.parametrize("body", [NEW, ["NEW", "10.1.2.3", 1234], ["NEW", "10.1.2.3", "1234", "Dcm4Chee"]])
    async def test_is_known_wherever_a_modality_is_looked_up(self, gateway: House, body: Any) -> None:
        assert await put(gateway, "new", body) == (200, {})
        shown = await gateway.json("/modalities/new/configuration")
        assert (shown["AET"], shown["Port"], shown["Source"]) == ("NEW", 1234, "REST")
        assert "configuration" in await gateway.json("/modalities/new")
        settings = gateway.use_cases.settings()
        assert str(find_node(settings, "new")) == "new (NEW@10.1.2.3:1234)"
        assert (await recognize(settings, CallerFacts("NEW", "10.1.2.3", None))).name == "new"

    async def test_what_it_may_ask_and_how_it_is_called(self, gateway: House) -> None:
        more = {"AllowMove": False, "AllowNAction": False, "LocalAet": "US", "Timeout": 7, "UseDicomTls": False, "X": 1}
        await put(gateway, "new", NEW | more)
        node = find_node(gateway.use_cases.settings(), "new")
        assert (node.calling_aet, node.response_timeout, node.association_timeout) == ("US", 7.0, 7.0)
        allow = gateway.use_cases.settings().modalities["new"].allow
        assert allow == ("echo", "store", "find", "get", "worklist")

    async def test_changes_and_goes(self, gateway: House) -> None:
        await put(gateway, "new", NEW)
        await put(gateway, "new", NEW | {"Port": 11112})
        assert gateway.use_cases.settings().modalities["new"].port == 11112
        answer = await gateway.client.delete("/modalities/new")
        assert (answer.status, await answer.json()) == (200, {})
        assert await gateway.json("/modalities") == ["ct"]
        assert (await gateway.client.delete("/modalities/new")).status == 404
        assert (await gateway.get("/modalities/new")).status == 404

    async def test_lasts_over_a_restart(self, tmp_path: Path) -> None:
        async with asyncio.timeout(30):
            async with archive(tmp_path) as before:
                await put(before, "new", NEW)
            async with archive(tmp_path) as after:
                assert await after.json("/modalities") == ["new"]

    async def test_is_there_for_the_other_processes(self, gateway: House) -> None:
        told: list[None] = []
        directory = gateway.use_cases.directory
        directory._changed = lambda: told.append(None)
        other = type(directory)(gateway.database, gateway.settings)
        await put(gateway, "new", NEW)
        assert len(told) == 1
        assert "new" not in other.settings().modalities
        await other.refresh()
        assert "new" in other.settings().modalities

    async def test_shuts_nobody_out(self, tmp_path: Path) -> None:
        async with asyncio.timeout(30), house(tmp_path) as gateway:
            await put(gateway, "new", NEW)
            caller = await recognize(gateway.use_cases.settings(), CallerFacts("ANYBODY", "127.0.0.1", None))
            assert caller.name == ""

    async def test_wins_over_one_of_the_file_that_came_later(self, gateway: House) -> None:
        await put(gateway, "new", NEW)
        gateway.modalities = {**gateway.modalities, "new": Modality(aet="FILE", host="10.9.9.9", port=1)}
        assert (await gateway.json("/modalities/new/configuration"))["AET"] == "NEW"
        assert gateway.use_cases.settings().modalities["new"].aet == "NEW"
        assert (await gateway.client.delete("/modalities/new")).status == 200
        assert (await gateway.json("/modalities/new/configuration"))["AET"] == "FILE"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (["NEW"], "a modality is a list"),
        ("x", "a modality is a JSON object"),
        ({"AET": "x"}, "String value expected in field: Host"),
        (NEW | {"AET": "seventeen letters"}, "AET:"),
        (NEW | {"AET": " "}, "AET:"),
        (NEW | {"AET": "A\\B"}, "AET:"),
        (NEW | {"Host": "a b"}, "Host:"),
        (NEW | {"Port": 0}, "a TCP port is 1 to 65535, but found: 0"),
        (NEW | {"Port": "x"}, "Whole number expected in field: Port"),
        (NEW | {"Port": True}, "Whole number expected in field: Port"),
        (NEW | {"Manufacturer": "Foo"}, "'Foo' is none of"),
        (NEW | {"AllowEcho": "yes"}, "Boolean value expected in field: AllowEcho"),
        (NEW | {"Timeout": -1}, "Timeout:"),
    ],
)
async def test_what_makes_no_sense_is_said(gateway: House, body: Any, said: str) -> None:
    status, answer = await put(gateway, "bad", body)
    assert (status, answer["OrthancStatus"]) == (400, 15)
    assert said in answer["Details"]
    assert await gateway.json("/modalities") == ["ct"]


@pytest.mark.parametrize("name", ["sp%20ace", "%C3%BC", "a" * 65, "a.b"])
async def test_a_name_is_letters_digits_and_dashes(gateway: House, name: str) -> None:
    assert (await put(gateway, name, NEW))[0] == 400
