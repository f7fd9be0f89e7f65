"""The pages of patients in Chromium: the list, one, labels, several studies, other attributes, deletion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.test_page import DESK, PHONE, opened, send
from tests.interop.test_study_page import asked, outcome, unfolded
from tests.support.processes import Gateway

pytestmark = [pytest.mark.browser, pytest.mark.interop]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(tmp_path / "data", environment={"GATEWAY_DICOMWEB__DELETE": "true"}) as started:
        yield started


def test_a_patient(browser: Any, gateway: Gateway) -> None:
    complaints: list[str] = []
    send(gateway, "CT_small.dcm", "MR_small.dcm")
    page = opened(browser, gateway, DESK, complaints, "/ui/patients")
    page.get_by_role("searchbox", name="Patient").fill("ct1")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="CompressedSamples, CT1").click()
    page.wait_for_url("**/ui/patients/*")
    page.get_by_label("New label").fill("vip")
    page.get_by_role("button", name="Add").click()
    page.get_by_role("button", name="Remove the label vip").wait_for()

    page.locator("td.pick input").check()
    page.get_by_text("1 study selected").wait_for()
    page.locator("#selection").get_by_role("button", name="Labels").click()
    page.get_by_role("dialog").get_by_label("Label").fill("urgent")
    page.get_by_role("dialog").get_by_role("button", name="Add").click()
    page.locator("tr[data-study] .label", has_text="urgent").wait_for()

    part = unfolded(page, "Modify")
    part.get_by_label("Patient ID").fill("OTHER")
    assert part.locator(".preview tbody tr").count() == 1
    part.get_by_role("button", name="Make the modified patient").click()
    page.goto(f"{gateway.url}{outcome(part)}")
    page.locator(".facts", has_text="OTHER").wait_for()
    assert len(asked(gateway, "/patients")) == 3

    part = unfolded(page, "Anonymize")
    part.get_by_label("New name").fill("Nobody")
    part.get_by_role("button", name="What would change").click()
    part.locator(".preview tr", has_text="Nobody").wait_for()
    part.get_by_role("button", name="Make the anonymized patient").click()
    made = outcome(part)
    assert len(asked(gateway, "/patients")) == 4
    page.goto(f"{gateway.url}{made}")
    page.get_by_role("heading", name="Nobody").wait_for()

    page.locator(".actions").get_by_role("link", name="Delete").click()
    page.get_by_role("heading", name="Delete this patient with all studies for good?").wait_for()
    page.get_by_role("button", name="Delete").click()
    page.wait_for_url("**/ui/patients")
    assert len(asked(gateway, "/patients")) == 3
    assert complaints == []
    page.close()


def test_a_phone_need_not_scroll_sideways(browser: Any, gateway: Gateway) -> None:
    complaints: list[str] = []
    send(gateway, "CT_small.dcm")
    page = opened(browser, gateway, PHONE, complaints, "/ui/patients")
    for _ in range(2):
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        page.get_by_role("link", name="CompressedSamples, CT1").first.click()
        page.wait_for_url("**/ui/*/*-*")
    assert complaints == []
    page.close()
