"""Pages in Chromium that lose the gateway, or the session under them: nothing on them is taken for what it is not."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.test_page import rows
from tests.support.datasets import sample
from tests.support.processes import Gateway
from tests.support.sign_in import ADMIN, PASSWORD, by_password

pytestmark = [pytest.mark.browser, pytest.mark.interop]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    (tmp_path / "gateway.toml").write_text(f'[[http.users]]\nname = "ann"\npassword = "{ADMIN.password}"\n')
    with Gateway(tmp_path / "data", "--config", str(tmp_path / "gateway.toml")) as started:
        for name in ("CT_small.dcm", "MR_small.dcm"):
            data = sample(name).read_bytes()
            request = urllib.request.Request(f"{started.url}/instances", data, by_password("ann"), method="POST")
            urllib.request.urlopen(request).close()
        yield started


@pytest.fixture
def context(browser: Any, gateway: Gateway) -> Iterator[Any]:
    """A browser in which somebody has signed in."""
    made = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-US")
    made.set_default_timeout(15_000)
    page = made.new_page()
    page.goto(f"{gateway.url}/ui/sign-in")
    page.locator("input[name=name]").fill("ann")
    page.locator("input[name=password]").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/ui/")
    page.close()
    yield made
    made.close()


def opened(context: Any, gateway: Gateway, path: str) -> Any:
    page = context.new_page()
    page.goto(gateway.url + path)
    return page


def test_a_search_while_the_gateway_is_away(context: Any, gateway: Gateway) -> None:
    """Shows no rows of another search, says so, and is answered once the gateway is back."""
    page = opened(context, gateway, "/ui/")
    rows(page, 2)
    context.set_offline(True)
    page.get_by_role("searchbox", name="Patient").fill("mr1")
    page.get_by_role("alert").get_by_text("could not be loaded").wait_for()
    rows(page, 0)
    context.set_offline(False)
    rows(page, 1)
    assert page.get_by_role("alert").count() == 0


@pytest.mark.parametrize("path", ["/ui/", "/ui/now", "/ui/routing", "/ui/jobs"])
def test_a_session_that_ends_under_a_page(context: Any, gateway: Gateway, path: str) -> None:
    """In another tab: the page asks for a sign-in, by itself, and leads back to where it was."""
    page, other = opened(context, gateway, path), opened(context, gateway, "/ui/account")
    page.bring_to_front()
    other.locator("form[action$='/ui/sign-out'] button").click()
    page.locator("input[name=password]").wait_for()
    assert page.locator("tr[data-study]").count() == 0
    page.locator("input[name=name]").fill("ann")
    page.locator("input[name=password]").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.locator("input[name=password]").wait_for(state="detached")
    assert page.url == gateway.url + path


def test_a_search_after_the_session_has_ended(context: Any, gateway: Gateway) -> None:
    page = opened(context, gateway, "/ui/")
    context.clear_cookies(name="dicom-gateway")
    page.get_by_role("searchbox", name="Patient").fill("mr1")
    page.locator("input[name=password]").wait_for()
    assert "patient=mr1" in page.locator("input[name=next]").get_attribute("value")
