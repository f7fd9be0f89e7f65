"""The page of studies in Chromium: live, search, orders, pages, columns, and what is done with several."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from pydicom.dataset import Dataset

from gateway.dicom.part10 import file_header
from tests.support import peers
from tests.support.datasets import EXPLICIT, encode, sample
from tests.support.index import data_set
from tests.support.processes import Gateway
from tests.support.sign_in import ADMIN, by_password

pytestmark = [pytest.mark.browser, pytest.mark.interop]

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1360, "height": 900}
THREE = ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm")


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(tmp_path / "data", environment={"GATEWAY_DICOMWEB__DELETE": "true"}) as started:
        yield started


def send(gateway: Gateway, *names: str) -> None:
    address = ["-aec", gateway.aet, gateway.host, str(gateway.port)]
    files = [str(sample(name)) for name in names]
    subprocess.run([peers.need("storescu"), *address, *files], check=True, capture_output=True, timeout=30)


def opened(
    browser: Any, gateway: Gateway, size: dict[str, int], complaints: list[str], path: str = "/", **context: Any
) -> Any:
    page = browser.new_page(viewport=size, **context)
    page.set_default_timeout(10_000)
    page.on("console", lambda message: complaints.append(f"{message.text} {message.location['url']}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{gateway.url}{path}")
    return page


def rows(page: Any, number: int) -> None:
    """Wait until so many studies are shown."""
    from playwright.sync_api import expect

    expect(page.locator("tr[data-study]")).to_have_count(number, timeout=10_000)


def names(page: Any) -> list[str]:
    return [text.partition(",")[0] for text in page.locator("tr[data-study] a.name").all_inner_texts()]


def test_live_and_searched(browser: Any, gateway: Gateway) -> None:
    complaints: list[str] = []
    page = opened(browser, gateway, DESK, complaints)
    page.get_by_text("Nothing received yet").wait_for()
    assert f"storescu -v -aec GATEWAY 127.0.0.1 {gateway.port}" in page.inner_text("#first")
    page.get_by_text("Live", exact=True).wait_for()

    send(gateway, "CT_small.dcm", "MR_small.dcm")
    page.get_by_text("CompressedSamples, CT1").wait_for()
    page.locator("#total-instances", has_text="2").wait_for()

    page.get_by_role("searchbox", name="Patient").fill("mr1")
    rows(page, 1)
    assert "4MR1" in page.inner_text("tr[data-study]")
    assert page.url.endswith("?patient=mr1")
    page.reload()
    rows(page, 1)
    page.get_by_role("link", name="Clear").click()
    rows(page, 2)
    page.locator(".matches", has_text="2 studies").wait_for()
    page.locator("details[data-name=modality] summary").click()
    page.get_by_role("checkbox", name="US", exact=True).check()
    page.get_by_role("heading", name="No study matches").wait_for()
    page.get_by_role("checkbox", name="CT", exact=True).check()
    rows(page, 1)
    assert "CT, US" in page.inner_text("details[data-name=modality] summary")
    page.keyboard.press("Escape")
    assert not page.get_by_role("checkbox", name="US", exact=True).is_visible()
    assert complaints == []
    page.close()


def test_orders_columns_and_saved_searches(browser: Any, gateway: Gateway) -> None:
    complaints: list[str] = []
    send(gateway, *THREE)
    page = opened(browser, gateway, DESK, complaints)
    rows(page, 3)
    page.get_by_role("link", name="Study date").click()
    page.locator("th.of-date[aria-sort=descending]").wait_for()
    assert names(page)[-1] == "Last"
    page.get_by_role("link", name="Study date").click()
    page.locator("th.of-date[aria-sort=ascending]").wait_for()
    assert names(page)[0] == "Last"
    page.go_back()
    page.locator("th.of-date[aria-sort=descending]").wait_for()

    page.get_by_role("link", name="From STORESCU").click()
    rows(page, 3)
    page.get_by_role("button", name="Save this search").click()
    page.get_by_role("dialog").get_by_label("Name").fill("mine")
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    page.get_by_role("link", name="mine").wait_for()
    page.goto(f"{gateway.url}/ui/")
    page.get_by_role("link", name="mine").click()
    page.wait_for_url("**?source=STORESCU")
    page.get_by_role("button", name="Forget the search mine").click()
    assert page.get_by_role("link", name="mine").count() == 0

    page.get_by_text("Columns").click()
    page.get_by_role("checkbox", name="Source", exact=True).check()
    page.get_by_role("button", name="Apply").click()
    page.locator("th.of-source").wait_for()
    page.get_by_text("Columns").click()
    page.get_by_role("button", name="Move Source forward").click()
    page.locator("th.of-received").wait_for()
    heads = page.locator("table.list thead th").evaluate_all("all => all.map((each) => each.className)")
    assert heads.index("of-source") == heads.index("of-received") - 1
    assert complaints == []
    page.close()


def test_searches_of_a_user_are_there_in_every_browser(browser: Any, tmp_path: Path) -> None:
    complaints: list[str] = []
    users = [f"[[http.users]]\nname = '{name}'\npassword = '{ADMIN.password}'\n" for name in ("ann", "bob")]
    (tmp_path / "gateway.toml").write_text("\n".join(users))

    def browse(name: str) -> Any:
        headers = by_password(name)
        return opened(browser, gateway, DESK, complaints, "/ui/?modality=MR", extra_http_headers=headers)

    with Gateway(tmp_path / "data", "--config", str(tmp_path / "gateway.toml")) as gateway:
        page = browse("ann")
        page.get_by_role("button", name="Save this search").click()
        page.get_by_role("dialog").get_by_role("heading", name="Save this search", exact=True).wait_for()
        page.get_by_role("dialog").get_by_label("Name").fill("mine & all")
        page.get_by_role("dialog").get_by_role("button", name="Save").click()
        page.locator("#saved a[aria-current]", has_text="mine & all").wait_for()
        other = browse("ann")
        other.goto(f"{gateway.url}/ui/")
        other.get_by_role("link", name="mine & all").click()
        other.wait_for_url("**?modality=MR")
        assert not other.locator("#save").is_visible()
        stranger = browse("bob")
        stranger.locator("#save").wait_for()
        assert stranger.locator("#saved a").count() == 0
        other.get_by_role("button", name="Forget the search mine & all").click()
        other.locator("#saved a").wait_for(state="detached")
        page.reload()
        page.locator("#save").wait_for()
        assert page.locator("#saved a").count() == 0
        for each in (page, other, stranger):
            each.close()
    assert complaints == []


def test_several_are_chosen(browser: Any, gateway: Gateway) -> None:
    complaints: list[str] = []
    send(gateway, *THREE)
    page = opened(browser, gateway, DESK, complaints)
    rows(page, 3)
    boxes = page.locator("td.pick input")
    boxes.nth(0).check()
    boxes.nth(2).click(modifiers=["Shift"])
    page.get_by_text("3 studies selected").wait_for()
    page.get_by_role("button", name="Select none").click()
    page.get_by_role("checkbox", name="Select all on this page").check()
    page.get_by_text("3 studies selected").wait_for()

    page.get_by_role("button", name="Labels", exact=True).click()
    page.get_by_role("dialog").get_by_label("Label").fill("urgent")
    page.get_by_role("dialog").get_by_role("button", name="Add").click()
    page.locator("tr[data-study] .label").nth(2).wait_for()
    page.get_by_role("link", name="Labels").click()
    page.locator("th.of-labels[aria-sort=ascending]").wait_for()
    rows(page, 3)

    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename.endswith(".zip")

    boxes.nth(0).uncheck()
    page.get_by_text("2 studies selected").wait_for()
    page.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Delete these 2 studies for good?").wait_for()
    assert dialog.locator("li").count() == 2
    dialog.get_by_role("button", name="Cancel").click()
    rows(page, 3)
    page.get_by_role("button", name="Delete").click()
    dialog.get_by_role("button", name="Delete").click()
    rows(page, 1)
    page.get_by_text("2 studies deleted").wait_for()
    assert complaints == []
    page.close()


def test_a_row_opens_the_study(browser: Any, gateway: Gateway) -> None:
    complaints: list[str] = []
    send(gateway, "CT_small.dcm")
    page = opened(browser, gateway, DESK, complaints)
    page.locator("tr[data-study] td.of-date").click()
    page.wait_for_url("**/ui/studies/*")
    page.get_by_role("heading", name="CompressedSamples, CT1").wait_for()
    assert complaints == []
    page.close()


def test_a_phone_need_not_scroll_sideways(browser: Any, gateway: Gateway) -> None:
    complaints: list[str] = []
    send(gateway, "CT_small.dcm", "rtplan.dcm")
    page = opened(browser, gateway, PHONE, complaints)
    page.get_by_text("CompressedSamples, CT1").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.get_by_text("Menu").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.get_by_role("link", name="Destinations").click()
    page.wait_for_url("**/ui/routing")
    assert complaints == []
    page.close()


def test_a_phone_sorts_and_chooses_the_page(browser: Any, gateway: Gateway) -> None:
    complaints: list[str] = []
    send(gateway, *THREE)
    page = opened(browser, gateway, PHONE, complaints)
    rows(page, 3)
    page.locator(".matches", has_text="3 studies").wait_for()
    page.get_by_text("Sort", exact=True).click()
    page.get_by_role("link", name="Study date").click()
    page.wait_for_url("**?sort=-date")
    page.locator(".sorting [data-order=descending]", has_text="Study date").wait_for(state="attached")
    assert page.locator(".sorting summary").evaluate("each => each === document.activeElement")
    page.get_by_text("Sort", exact=True).click()
    page.get_by_role("link", name="Patient").click()
    page.wait_for_url("**?sort=name")
    rows(page, 3)
    assert names(page) == sorted(names(page))
    assert page.locator("thead a:visible").count() == 0
    page.get_by_role("checkbox", name="Select all on this page").check()
    page.get_by_text("3 studies selected").wait_for()
    assert page.locator("td.pick input:checked").count() == 3
    page.locator("td.pick input").first.uncheck()
    assert page.locator(".pick-page input").evaluate("each => each.indeterminate")
    page.get_by_role("checkbox", name="Select all on this page").check()
    page.get_by_role("checkbox", name="Select all on this page").uncheck()
    assert page.locator("td.pick input:checked").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.get_by_role("searchbox", name="Patient").fill("mr1")
    page.locator("#announce", has_text="1 study").wait_for(state="attached")
    assert complaints == []
    page.close()


def test_without_scripts_it_shows_searches_and_has_a_menu(browser: Any, gateway: Gateway) -> None:
    send(gateway, "CT_small.dcm", "MR_small.dcm")
    context = browser.new_context(java_script_enabled=False, viewport=PHONE)
    page = context.new_page()
    page.goto(f"{gateway.url}/ui/")
    page.get_by_role("searchbox", name="Patient").fill("ct1")
    page.get_by_role("button", name="Search", exact=True).click()
    page.get_by_text("CompressedSamples, CT1").wait_for()
    assert page.get_by_text("CompressedSamples, MR1").count() == 0
    assert page.locator(".pick input:visible").count() == 0
    page.get_by_text("CompressedSamples, CT1").click()
    page.wait_for_url("**/ui/studies/*")
    page.get_by_text("Menu").click()
    page.get_by_role("link", name="Studies").click()
    page.wait_for_url("**/ui/")
    context.close()


def test_turning_pages_holds_no_more_rows(browser: Any, gateway: Gateway) -> None:
    """Forth and back, by the links and by the browser: one page of rows is there at a time."""
    complaints: list[str] = []
    for number in range(60):
        image = data_set(
            f"1.{number}", f"1.{number}.1", f"1.{number}.1.1", PatientName=f"N{number:03}", PatientID=f"P{number}"
        )
        urlopen(Request(f"{gateway.url}/instances", data=part10(image), method="POST"), timeout=10).close()
    page = opened(browser, gateway, DESK, complaints, "/ui/?sort=name")
    rows(page, 50)
    page.locator("td.pick input").first.check()
    page.get_by_role("link", name="Next page").click()
    rows(page, 10)
    assert names(page) == [f"N{number:03}" for number in range(50, 60)]
    page.locator("td.pick input").first.check()
    page.get_by_text("2 studies selected").wait_for()
    page.reload()
    rows(page, 10)
    page.get_by_role("link", name="Previous page").click()
    rows(page, 50)
    page.go_back()
    rows(page, 10)
    turn(page, 10)  # What the browser and the scripts set up once is there by then.
    before = held(page)
    turn(page, 100)
    after = held(page)
    assert after["Nodes"] <= before["Nodes"] + 50
    assert after["JSEventListeners"] <= before["JSEventListeners"] + 5
    assert after["JSHeapUsedSize"] <= before["JSHeapUsedSize"] + 500_000
    assert complaints == []
    page.close()


TURN = """async (count) => {
  const results = document.getElementById("results");
  for (let turned = 0; turned < count; turned += 1) {
    const shown = new Promise((done) => {
      new MutationObserver((_, observer) => { observer.disconnect(); done(); }).observe(results, { childList: true });
    });
    results.querySelector(turned % 2 ? "[rel=next]" : "[rel=prev]").click();
    await shown;
  }
}"""


def turn(page: Any, count: int) -> None:
    """Turn so many pages, from the second of two and back to it."""
    page.evaluate(TURN, count)
    rows(page, 10)


def held(page: Any) -> dict[str, float]:
    """What the tab holds, without garbage."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    session.send("HeapProfiler.collectGarbage")
    found = session.send("Performance.getMetrics")["metrics"]
    session.detach()
    return {each["name"]: each["value"] for each in found}


def part10(image: Dataset) -> bytes:
    """The file of an instance."""
    head = file_header(
        sop_class_uid=image.SOPClassUID,
        sop_instance_uid=image.SOPInstanceUID,
        transfer_syntax_uid=EXPLICIT,
        source_aet="MODALITY",
        sending_aet="SENDER",
        receiving_aet="GATEWAY",
    )
    return head + encode(image, EXPLICIT)
