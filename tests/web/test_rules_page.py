"""The page of rules: written, checked, explained, replayed, put in force, and taken back."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gateway.config.destinations import FolderDestination
from gateway.web.pages import rules as module
from tests.support.index import data_set
from tests.support.web import House

CT = '[rules.ct]\ndestinations = ["nas"]\nattributes = [{ attribute = "Modality", equals = "CT" }]\n'


@pytest.fixture
def made(gateway: House, tmp_path: Path) -> House:
    gateway.destinations = {"nas": FolderDestination(path=str(tmp_path))}
    return gateway


async def post(house: House, what: str, text: str = "", **form: str) -> tuple[int, str]:
    ours = {"Origin": f"http://{house.client.host}:{house.client.port}"}
    fields = {"what": what, "text": text, **form}
    answer = await house.client.post("/ui/rules", data=fields, headers=ours, allow_redirects=False)
    return answer.status, await answer.text()


async def page(house: House) -> str:
    return await (await house.get("/ui/rules")).text()


async def test_checked_with_line_and_reason(made: House):
    status, text = await post(made, "check", CT.replace("nas", "<pacs>"))
    assert status == 200
    assert "1 problem: nothing was changed." in text
    assert "Line 2:" in text
    assert "[destinations.&lt;pacs&gt;]" in text
    _, text = await post(made, "check", CT)
    assert "Valid: 1 rule." in text
    assert 'class="added">+ [rules.ct]' in text
    assert made.use_cases.settings().rules == {}


async def test_put_in_force_and_taken_back(made: House):
    assert (await post(made, "apply", CT))[0] == 303
    assert list(made.use_cases.settings().rules) == ["ct"]
    assert (await post(made, "apply", ""))[0] == 303
    assert made.use_cases.settings().rules == {}
    text = await page(made)
    assert "Go back to this" in text
    assert (await post(made, "roll-back", version="1"))[0] == 303
    assert list(made.use_cases.settings().rules) == ["ct"]
    assert (await (await made.get("/ui/rules/export?of=page")).text()) == CT
    assert "[rules.ct]" in await (await made.get("/ui/rules/export?of=all")).text()
    assert (await (await made.get("/ui/rules/export?of=file")).text()) == ""
    assert (await made.get("/ui/rules/export?of=x")).status == 400


async def test_what_is_wrong_is_not_put_in_force(made: House):
    status, text = await post(made, "apply", "[rules.ct]\ndestinations = 5\n")
    assert (status, "1 problem" in text) == (200, True)
    assert made.use_cases.settings().rules == {}
    assert (await post(made, "roll-back", version="7"))[0] == 404
    assert (await post(made, "explode"))[0] == 400


async def test_explained_on_a_stored_study(made: House):
    await made.add(data_set("1.1", Modality="CT"))
    await made.add(data_set("1.2", Modality="MR"))
    _, text = await post(made, "explain", CT, study="1.1")
    assert "What the rules do with 1.1" in text
    assert '<span class="tag">nas</span>' in text
    _, text = await post(made, "explain", CT, study="1.2")
    assert "nowhere" in text
    assert "Modality is" in text or "Modality" in text
    _, text = await post(made, "explain", CT, study="9.9")
    assert "Nothing here has this UID" in text


async def test_replayed_on_the_last_week(made: House, monkeypatch: pytest.MonkeyPatch):
    await made.add(data_set("1.1", Modality="CT"))
    await made.add(data_set("1.2", Modality="MR"))
    _, text = await post(made, "replay", CT)
    assert "0 instances received" in text
    monkeypatch.setattr(module, "_WEEK_S", time.time())
    _, text = await post(made, "replay", CT)
    assert "2 instances received" in text
    assert 'changed" data-label="Then">1<' in text
    assert made.use_cases.settings().rules == {}
