"""The first page in Chromium: a study appears by itself, the search works, nothing is logged as an error."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import peers
from tests.support.datasets import sample
from tests.support.processes import Gateway

pytestmark = [pytest.mark.browser, pytest.mark.interop]

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1360, "height": 900}


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(tmp_path / "data") as started:
        yield started


def send(gateway: Gateway, *names: str) -> None:
    address = ["-aec", gateway.aet, gateway.host, str(gateway.port)]
    files = [str(sample(name)) for name in names]
    subprocess.run([peers.need("storescu"), *address, *files], check=True, capture_output=True, timeout=30)


def opened(browser: Any, gateway: Gateway, size: dict[str, int], complaints: list[str]) -> Any:
    page = browser.new_page(viewport=size)
    page.set_default_timeout(10_000)
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{gateway.url}/")
    return page


def rows(page: Any, number: int) -> None:
    """Wait until so many studies are shown."""
    from playwright.sync_api import expect

    expect(page.locator("tr[data-study]")).to_have_count(number, timeout=10_000)


def test_live_and_searched(browser: Any, gateway: Gateway) -> None:
    complaints: list[str] = []
    page = opened(browser, gateway, DESK, complaints)
    page.get_by_text("Nothing received yet").wait_for()
    assert f"storescu -v -aec GATEWAY 127.0.0.1 {gateway.port}" in page.inner_text("#first")
    page.get_by_text("Live", exact=True).wait_for()

    send(gateway, "CT_small.dcm", "MR_small.dcm")
    page.get_by_text("CompressedSamples, CT1").wait_for()
    page.locator("#total-instances", has_text="2").wait_for()

    page.get_by_label("Patient").type("mr1")
    rows(page, 1)
    assert "4MR1" in page.inner_text("tr[data-study]")
    assert page.url.endswith("?patient=mr1")
    page.reload()
    rows(page, 1)
    page.get_by_role("link", name="Clear").click()
    rows(page, 2)
    page.get_by_label("Modality").fill("us")
    page.get_by_text("No study matches").wait_for()
    assert complaints == []
    page.close()


def test_a_phone_need_not_scroll_sideways(browser: Any, gateway: Gateway) -> None:
    complaints: list[str] = []
    send(gateway, "CT_small.dcm", "rtplan.dcm")
    page = opened(browser, gateway, PHONE, complaints)
    page.get_by_text("CompressedSamples, CT1").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert complaints == []
    page.close()


def test_without_scripts_it_shows_and_searches(browser: Any, gateway: Gateway) -> None:
    send(gateway, "CT_small.dcm", "MR_small.dcm")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{gateway.url}/ui/")
    page.get_by_label("Patient").fill("ct1")
    page.get_by_role("button", name="Search").click()
    page.get_by_text("CompressedSamples, CT1").wait_for()
    assert page.get_by_text("CompressedSamples, MR1").count() == 0
    context.close()
