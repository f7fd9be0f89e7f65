"""The page of users and roles in Chromium: every button does what it says, and narrow windows show all of it."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import Gateway
from tests.support.remote import file_of, numbered
from tests.support.sign_in import ADMIN, PASSWORD, by_password

pytestmark = [pytest.mark.browser, pytest.mark.interop]

SIZES = {"phone": (390, 844), "half": (900, 900), "wide": (1600, 1000)}
CONFIGURATION = f"""
[[http.users]]
name = "ann"
password = "{ADMIN.password}"

[[http.users]]
name = "dr.with-a-rather-long-name-of-a-department@hospital.example"
password = "{ADMIN.password}"
roles = ["research", "view"]

[[http.users]]
name = "robot"
password = "{ADMIN.password}"
roles = ["store"]

[roles.research]
permissions = ["view", "download", "anonymize", "delete:series"]
labels = ["trial-7"]
without_labels = ["no-consent"]
days = 30

[modalities.ct1]
aet = "CT1"
roles = ["store"]
"""


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    (tmp_path / "gateway.toml").write_text(CONFIGURATION)
    with Gateway(tmp_path / "data", "--config", str(tmp_path / "gateway.toml")) as started:
        ask(started, "POST", "/instances", file_of(numbered(1)))
        study = {"Level": "study", "DicomUid": "1.2.3"}
        link = {"Resources": [study], "Label": "Dr. Who", "Count": 3, "ValidityDuration": 3600}
        ask(started, "PUT", "/auth/tokens/ohif-viewer-publication", json.dumps(link).encode())
        ask(started, "POST", "/auth/api-tokens", json.dumps({"Name": "nightly export"}).encode())
        yield started


def ask(gateway: Gateway, method: str, path: str, data: bytes) -> Any:
    headers = {**by_password("ann"), "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(gateway.url + path, data, headers, method=method)) as answer:
        return json.load(answer)


def opened(browser: Any, gateway: Gateway, complaints: list[str], **context: Any) -> Any:
    """The page, opened by the administrator."""
    page = browser.new_context(**context).new_page()
    page.set_default_timeout(10_000)
    page.goto(f"{gateway.url}/ui/sign-in?next=/ui/users")
    page.locator("input[name=name]").fill("ann")  # In whatever language the page is.
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("form button").click()
    page.wait_for_url("**/ui/users*")
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.reload()
    return page


def test_every_button(browser: Any, gateway: Gateway) -> None:
    complaints: list[str] = []
    page = opened(browser, gateway, complaints)
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Users").click()

    page.get_by_label("Name", exact=True).fill("teaching")
    page.get_by_label("See studies").check()
    page.get_by_label("Labels, one of").fill("teach")
    assert page.get_by_label("Settings and operation").is_disabled()
    page.get_by_label("Labels, one of").fill("")
    page.get_by_label("Settings and operation").check()
    page.get_by_label("Labels, one of").fill("teach")
    page.get_by_text("With a condition on studies a role cannot permit this.").wait_for()
    page.get_by_role("button", name="Save the role").click()
    page.get_by_role("alert").get_by_text("Settings and operation").wait_for()
    assert [each for each in complaints if "400" not in each] == []
    complaints.clear()
    page.get_by_label("Settings and operation").uncheck()
    page.get_by_role("button", name="Save the role").click()
    page.get_by_text("The role is saved.").wait_for()
    page.get_by_text("With one of the labels teach").wait_for()

    page.get_by_role("link", name="Change the role teaching").click()
    assert page.get_by_label("Name", exact=True).input_value() == "teaching"
    assert page.get_by_label("See studies").is_checked()
    page.get_by_role("link", name="A new one instead").click()
    assert page.get_by_label("Name", exact=True).input_value() == ""
    page.get_by_role("button", name="Remove the role teaching").click()
    page.get_by_text("The role is removed.").wait_for()

    page.get_by_role("combobox", name="Give a role to robot").select_option("view")
    page.get_by_role("button", name="Give a role to robot").click()
    page.get_by_text("The role is given.").wait_for()
    page.get_by_role("button", name="Take away view from robot").click()
    page.get_by_text("The role is taken away.").wait_for()

    page.locator("input[name=labels]").last.fill("teach, trial-7")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("The labels are saved.").wait_for()
    assert page.locator("input[name=labels]").last.input_value() == "teach, trial-7"

    page.get_by_role("button", name="Revoke nightly export of ann").click()
    page.get_by_text("It is revoked.").wait_for()
    page.get_by_role("button", name="Revoke Dr. Who of ann").click()
    page.get_by_text("There are none.", exact=True).wait_for()

    page.get_by_label("Sessions, tokens and links of").fill("robot")
    page.get_by_role("button", name="Show", exact=True).click()
    page.get_by_text("Nobody is signed in on a page.").wait_for()
    page.get_by_role("link", name="Show all").click()
    page.get_by_text("This one").wait_for()
    page.get_by_label("Sessions, tokens and links of").fill("ann")
    page.get_by_role("button", name="Show", exact=True).click()
    page.get_by_role("button", name="End all of ann").wait_for()
    assert complaints == []
    page.get_by_role("button", name="End the session of ann").click()
    page.get_by_role("button", name="Sign in").wait_for()
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_no_scrolling_sideways(browser: Any, gateway: Gateway, size: str, scheme: str) -> None:
    complaints: list[str] = []
    width, height = SIZES[size]
    page = opened(
        browser, gateway, complaints, viewport={"width": width, "height": height}, color_scheme=scheme, locale="de"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert complaints == []
    page.context.close()


def test_without_scripts(browser: Any, gateway: Gateway) -> None:
    page = opened(browser, gateway, [], java_script_enabled=False)
    page.get_by_label("Name", exact=True).fill("teaching")
    page.get_by_label("See studies").check()
    page.get_by_role("button", name="Save the role").click()
    page.get_by_text("The role is saved.").wait_for()
    page.get_by_role("button", name="Remove the role teaching").click()
    page.get_by_text("The role is removed.").wait_for()
    page.context.close()
