"""Query, retrieval, jobs and sending in Chromium, between two gateways: every button does what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.exchange import Two, Window, store, two_gateways

pytestmark = [pytest.mark.browser, pytest.mark.interop]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    with two_gateways(tmp_path_factory.mktemp("exchange")) as started:
        store(started.there, "CT_small.dcm", "MR_small.dcm", "rtplan.dcm")
        yield started


@pytest.fixture
def window(browser: Any) -> Iterator[Window]:
    made = Window(browser)
    yield made
    made.close()


def test_search_and_retrieve(two: Two, window: Window) -> None:
    page = window.page
    page.goto(f"{two.here.url}/ui/query")
    page.get_by_role("link", name=re.compile("Test.*pacs")).click()
    page.get_by_text("Answers, in").wait_for()
    page.get_by_role("link", name=re.compile("Test.*off")).click()
    page.get_by_text("It cannot be reached.").wait_for()

    page.get_by_role("button", name="Search").click()
    page.get_by_text("Choose a system to search.").wait_for()
    for name in ("pacs", "off", "web"):
        page.locator(f'input[name="source"][value$=":{name}"]').check()
    page.get_by_label("Patient name").fill("comp")
    page.get_by_role("button", name="Search").click()
    rows = page.locator("#results > table > tbody > tr")
    page.get_by_text("Waiting for").wait_for(state="detached")
    assert rows.count() == 4, "two studies, at each of two systems"
    assert "source=modality%3Apacs" in page.url
    assert "name=comp" in page.url

    page.reload()
    page.get_by_text("4 results in all").wait_for(state="attached")
    row = rows.filter(has_text="CT1").filter(has_text="pacs")
    series = row.get_by_role("link", name="series")
    series.click()
    page.locator(".below-row .level-series tbody tr").wait_for()
    assert series.get_attribute("aria-expanded") == "true"
    series.click()
    page.locator(".below-row").wait_for(state="hidden")

    page.locator("#results > table > thead [data-all]").check()
    assert page.locator('#results input[name="row"]:checked').count() == 4
    page.locator("#results > table > thead [data-all]").uncheck()
    assert page.locator('#results input[name="row"]:checked').count() == 0
    row.get_by_role("button", name="Retrieve").click()
    row.locator(".retrieval", has_text="Done").wait_for()
    page.locator("#retrievals").get_by_text("Retrieve (C-MOVE)").wait_for()
    rows.filter(has_text="MR1").filter(has_text="web").get_by_role("checkbox").check()
    page.get_by_role("button", name="Retrieve chosen").click()
    page.locator("#retrievals").get_by_text("Retrieve (DICOMweb)").wait_for()
    rows.filter(has_text="MR1").locator(".retrieval", has_text="Done").wait_for()

    page.get_by_role("button", name="Search").click()
    page.get_by_text("4 results in all").wait_for(state="attached")
    assert rows.filter(has_text="Here already").count() == 4

    page.get_by_label("Retrieve to AE title").fill("NOBODY")
    row.get_by_role("button", name="Retrieve").click()
    row.locator(".retrieval", has_text="Failed").wait_for()
    page.get_by_text("It does not know the AE title to which it is to send.").wait_for()
    job = page.locator("#jobs tr[data-state=failed]")
    job.get_by_role("button", name="Try again").click()
    job.wait_for()
    job.get_by_role("button", name="Remove").click()
    job.wait_for(state="detached")


def test_dates(two: Two, window: Window) -> None:
    page = window.page
    page.goto(f"{two.here.url}/ui/query?source=modality:pacs&begin=2004-01-01&end=2004-01-31")
    page.get_by_text("1 result in all").wait_for(state="attached")
    assert page.locator("[name=begin]").input_value() == "2004-01-01"
    page.locator("[name=when]").select_option("today")
    assert not page.locator("[name=begin]").is_visible()
    page.get_by_role("button", name="Search").click()
    page.get_by_text("0 results in all").wait_for(state="attached")


def test_without_scripts(two: Two, browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{two.here.url}/ui/query?source=modality:pacs")
    page.get_by_role("link", name=re.compile("Test.*pacs")).click()
    page.get_by_text("Answers, in").wait_for()
    page.get_by_label("Patient name").fill("comp")
    page.get_by_role("button", name="Search").click()
    row = page.locator("#results tbody tr").filter(has_text="CT1")
    row.get_by_role("button", name="Retrieve").click()
    page.get_by_role("heading", name="Jobs").wait_for()
    page.get_by_text("Retrieve (C-MOVE)").first.wait_for()
    context.close()


def test_send(two: Two, window: Window) -> None:
    (plan,) = store(two.here, "rtdose.dcm")
    page = window.page
    page.goto(f"{two.here.url}/ui/send?id={plan['ParentStudy']}")
    page.get_by_label("pacs").check()
    page.get_by_role("button", name="Send").click()
    page.get_by_role("heading", name="Jobs").wait_for()
    page.locator("tr[data-state=done]").wait_for()
    page.goto(f"{two.here.url}/ui/send?id={plan['ParentStudy']}")
    page.get_by_label("off").check()
    page.get_by_role("button", name="Send").click()
    page.get_by_text("It cannot be reached.").first.wait_for()
    page.get_by_role("link", name="Send what failed again").click()
    assert page.get_by_label("off").is_checked()
    page.get_by_text("1 instance").wait_for()


def test_jobs(two: Two, window: Window) -> None:
    page = window.page
    page.goto(f"{two.here.url}/ui/jobs")
    page.locator("tr[data-job]").first.wait_for()
    page.get_by_label("State").select_option("failed")
    page.wait_for_url("**/ui/jobs?state=failed")


@pytest.mark.parametrize("width", [390, 900, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow(two: Two, browser: Any, width: int, scheme: str) -> None:
    window = Window(browser, width, color_scheme=scheme)
    (instance,) = store(two.here, "CT_small.dcm")
    found = "query?source=modality:pacs&source=modality:off&name=comp"
    for path in (found, f"send?id={instance['ParentStudy']}", "jobs"):
        window.page.goto(f"{two.here.url}/ui/{path}")
        window.page.wait_for_load_state("networkidle") if path == found else None
        assert window.page.evaluate("document.documentElement.scrollWidth") <= width, path
    window.close()
