"""The pages for whoever runs the gateway, in Chromium: every button does what it says, nothing complains."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import peers
from tests.support.datasets import sample
from tests.support.processes import Gateway, free_port

pytestmark = [pytest.mark.browser, pytest.mark.interop]

WIDTHS = (390, 900, 1600)
PATHS = (
    *("/ui/now", "/ui/modalities", "/ui/modalities?name=sender", "/ui/associations/1"),
    *("/ui/rules", "/ui/configuration", "/ui/worklist"),
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "gateway.toml").write_text(
        f"""
        [modalities.sender]
        aet = "STORESCU"
        host = "127.0.0.1"
        port = {free_port()}
        [destinations.nas]
        kind = "folder"
        path = "{folder}"
        """
    )
    with Gateway(folder / "data", "--config", str(folder / "gateway.toml")) as started:
        address = ["-aec", started.aet, started.host, str(started.port)]
        subprocess.run([peers.need("storescu"), *address, str(sample("CT_small.dcm"))], check=True, timeout=30)
        yield started


class Tab:
    """A page in a browser; what it complains of is kept."""

    def __init__(self, browser: Any, gateway: Gateway, path: str, width: int = 1280) -> None:
        self.gateway = gateway
        self.complaints: list[str] = []
        self.page = browser.new_page(viewport={"width": width, "height": 900})
        self.page.set_default_timeout(15_000)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(gateway.url + path)

    def close(self) -> None:
        assert self.complaints == []
        self.page.close()


def test_a_modality_is_added_tried_and_removed(browser: Any, gateway: Gateway) -> None:
    tab = Tab(browser, gateway, "/ui/modalities")
    page = tab.page
    page.get_by_label("Name", exact=True).fill("mr1")
    page.get_by_label("AE title", exact=True).fill("MR1")
    page.get_by_label("Host or IP address").fill("127.0.0.1")
    page.get_by_label("Port", exact=True).fill(str(gateway.port))
    page.get_by_role("button", name="Keep and test").click()
    page.get_by_text("Something is wrong.").wait_for()
    page.get_by_text("it does not know GATEWAY").wait_for()  # The gateway itself, which knows no GATEWAY.

    echo = [peers.need("echoscu"), "-aet", "MR1", "-aec", gateway.aet, gateway.host, str(gateway.port)]
    subprocess.run(echo, check=True, timeout=30)
    page.get_by_text("MR1 at 127.0.0.1 has sent a C-ECHO").wait_for()

    page.get_by_role("button", name="Test the connection").click()
    page.get_by_text("it does not know GATEWAY").wait_for()
    page.get_by_role("button", name="Remove").click()
    page.wait_for_url("**/ui/modalities")
    assert page.get_by_role("link", name="mr1").count() == 0
    tab.close()


def test_now_is_live_and_leads_to_the_negotiation(browser: Any, gateway: Gateway) -> None:
    tab = Tab(browser, gateway, "/ui/now")
    echo = [peers.need("echoscu"), "-aet", "NOBODY", "-aec", gateway.aet, gateway.host, str(gateway.port)]
    subprocess.run(echo, check=False, capture_output=True, timeout=30)
    trouble = tab.page.get_by_text("We have rejected NOBODY at 127.0.0.1")
    trouble.first.wait_for()
    tab.page.get_by_role("link", name="Show the negotiation").first.click()
    tab.page.get_by_text("Verification SOP Class").wait_for()
    tab.page.get_by_text("the association was rejected").wait_for()
    tab.page.get_by_role("link", name="All associations").click()
    tab.page.wait_for_url("**/ui/now")
    tab.close()


def test_rules_are_tried_put_in_force_and_taken_back(browser: Any, gateway: Gateway) -> None:
    tab = Tab(browser, gateway, "/ui/rules")
    page = tab.page
    text = page.get_by_label("Rules as TOML")
    text.fill('[rules.ct]\ndestinations = ["nowhere"]\n')
    page.get_by_role("button", name="Check", exact=True).click()
    page.get_by_text("Line 2:").wait_for()
    text.fill('[rules.ct]\ndestinations = ["nas"]\nattributes = [{ attribute = "Modality", equals = "CT" }]\n')
    page.get_by_label("Study or instance to explain").fill("1.3.6.1.4.1.5962.1.2.1.20040119072730.12322")
    page.get_by_role("button", name="Explain").click()
    page.get_by_text("What the rules do with").wait_for()
    page.get_by_text("nas", exact=True).wait_for()
    page.get_by_role("button", name="Try on the last week").click()
    page.get_by_text("1 instance received since").wait_for()
    page.get_by_role("button", name="Put in force").click()
    page.get_by_text("in force", exact=True).wait_for()

    send = [peers.need("storescu"), "-aec", gateway.aet, gateway.host, str(gateway.port)]
    subprocess.run([*send, str(sample("CT_small.dcm"))], check=True, timeout=30)
    text.fill("")
    page.get_by_role("button", name="Put in force").click()
    page.get_by_role("button", name="Go back to this").first.click()
    page.wait_for_load_state()
    assert "rules.ct" in text.input_value()
    tab.page.goto(f"{gateway.url}/ui/configuration?set")
    page.get_by_text("page or REST").wait_for()
    page.get_by_role("link", name="Everything").click()
    page.get_by_text("max_associations_per_aet").wait_for()
    tab.close()


def test_a_worklist_item_is_made_changed_and_deleted(browser: Any, gateway: Gateway) -> None:
    tab = Tab(browser, gateway, "/ui/worklist")
    page = tab.page
    for label, value in (("Patient", "Doe^Jane"), ("Patient ID", "P1"), ("Modality", "CT"), ("Date", "2026-01-31")):
        page.get_by_label(label, exact=True).fill(value)
    page.get_by_label("Time", exact=True).fill("09:30")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("link", name="Doe, Jane").click()
    page.get_by_label("Requested procedure", exact=True).fill("Knee")
    page.get_by_label("Status").select_option("ARRIVED")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("cell", name="Knee").wait_for()
    page.get_by_role("link", name="Doe, Jane").click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_text("Nothing is scheduled.").wait_for()
    tab.close()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_scrolls_sideways(browser: Any, gateway: Gateway, path: str, width: int) -> None:
    tab = Tab(browser, gateway, path, width)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    tab.close()
