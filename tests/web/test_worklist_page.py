"""The page of the worklist: items made, changed and deleted in a form; those of files stay as they are."""

from __future__ import annotations

import re

import pytest

from gateway.dicom.encode import Attribute
from gateway.errors import BadRequest
from gateway.web.pages.worklist_form import data_set_of, values_of
from gateway.workflow.worklist_items import STEPS
from tests.support.web import House

FORM = {
    "patient_name": "Yamada^Tarou",
    "patient_id": "P1",
    "birth_date": "1980-02-03",
    "sex": "M",
    "accession": "A1",
    "physician": "",
    "procedure": "Knee",
    "procedure_id": "R1",
    "modality": "ct",
    "station": "CT1",
    "date": "2026-01-31",
    "time": "09:30",
    "step": "",
    "step_id": "S1",
    "status": "SCHEDULED",
}


async def post(gateway: House, what: str, **form: str) -> tuple[int, str]:
    ours = {"Origin": f"http://{gateway.client.host}:{gateway.client.port}"}
    fields = {"what": what, **form}
    answer = await gateway.client.post("/ui/worklist", data=fields, headers=ours, allow_redirects=False)
    return answer.status, await answer.text()


async def page(gateway: House, query: str = "") -> str:
    answer = await gateway.get(f"/ui/worklist{query}")
    assert answer.status == 200, await answer.text()
    return await answer.text()


class TestForm:
    def test_there_and_back(self):
        made = data_set_of(FORM)
        assert values_of(made) == FORM | {"modality": "CT"}
        assert made[STEPS].values[0][0x00400003].values == ["093000"]

    def test_what_has_no_field_stays(self):
        before = data_set_of(FORM)
        before[0x00104000] = Attribute("LT", ["kept"])
        before[STEPS].values[0][0x00400010] = Attribute("SH", ["ROOM7"])
        after = data_set_of(FORM | {"patient_id": "P2"}, before)
        assert after[0x00104000].values == ["kept"]
        assert after[STEPS].values[0][0x00400010].values == ["ROOM7"]
        assert values_of(after)["patient_id"] == "P2"
        assert values_of(before)["patient_id"] == "P1"

    @pytest.mark.parametrize(
        "wrong",
        [
            {"patient_id": ""},
            {"patient_id": "a\\b"},
            {"accession": "x" * 17},
            {"date": "31.1.2026"},
            {"time": "9"},
            {"station": "Ä"},
            {"procedure": "a\nb"},
        ],
    )
    def test_what_cannot_be(self, wrong: dict[str, str]):
        with pytest.raises(BadRequest, match=next(iter(wrong))):
            data_set_of(FORM | wrong)


class TestPage:
    async def test_made_changed_deleted(self, gateway: House):
        assert "Nothing is scheduled." in await page(gateway)
        assert (await post(gateway, "save", **FORM))[0] == 303
        text = await page(gateway)
        assert "Yamada, Tarou" in text
        (item,) = set(re.findall(r"\?item=([0-9a-f-]+)", text))
        assert 'value="2026-01-31"' in await page(gateway, f"?item={item}")
        assert (await post(gateway, "save", **{**FORM, "patient_name": "<b>^x", "item": item}))[0] == 303
        text = await page(gateway)
        assert "&lt;b&gt;, x" in text
        assert "Yamada" not in text
        assert "Nothing is scheduled." in await page(gateway, "?day=2026-02-01")
        assert (await post(gateway, "remove", item=item))[0] == 303
        assert await gateway.json("/worklists") == []

    async def test_nonsense_is_said_and_not_lost(self, gateway: House):
        status, text = await post(gateway, "save", **{**FORM, "date": "soon"})
        assert status == 200
        assert "Not saved: date" in text
        assert 'value="Yamada^Tarou"' in text
        assert await gateway.json("/worklists") == []
        assert (await post(gateway, "explode"))[0] == 400
        assert (await post(gateway, "remove", item="nothing"))[0] == 404

    async def test_performed_steps(self, gateway: House):
        step = {0x00100010: Attribute("PN", ["Doe^Jane"]), 0x00400252: Attribute("CS", ["IN PROGRESS"])}
        await gateway.use_cases.steps.create("1.2.3.4", step, "CT1", "GATEWAY")
        text = await page(gateway)
        assert "Doe, Jane" in text
        assert "in progress" in text
        assert "1.2.3.4" in text
