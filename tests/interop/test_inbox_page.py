"""The inbox in Chromium: a link is made, an outsider uploads with it, a person accepts and deletes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gateway.access.passwords import hash_password
from tests.support.datasets import sample
from tests.support.exchange import Window
from tests.support.processes import Gateway

pytestmark = [pytest.mark.browser, pytest.mark.interop]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("inbox")
    (folder / "gateway.toml").write_text(
        f'[[http.users]]\nname = "ann"\npassword = "{hash_password("a long password")}"\n'
    )
    with Gateway(folder / "data", "--config", str(folder / "gateway.toml")) as started:
        yield started


@pytest.mark.parametrize("width", [390, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_from_the_link_to_the_archive(browser: Any, gateway: Gateway, width: int, scheme: str) -> None:
    ours, theirs = Window(browser, width, color_scheme=scheme), Window(browser, width, color_scheme=scheme)
    page = ours.page
    page.goto(f"{gateway.url}/ui/sign-in?next=/ui/inbox")
    page.locator("[name=name]:focus").wait_for()  # Its autofocus is late, and complains of a focus before it.
    page.get_by_label("Name").fill("ann")
    page.get_by_label("Password").fill("a long password")
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_text("Nothing waits").wait_for()
    page.get_by_label("Name").fill("Practice X")
    page.get_by_role("button", name="Make a link").click()
    link = page.locator("#link").inner_text()

    theirs.page.goto(link)
    theirs.page.get_by_role("heading", name="Send images to us").wait_for()
    assert "token" not in theirs.page.url
    assert theirs.page.locator(".pages a").count() == 0
    theirs.page.get_by_label("Files or zips").set_input_files([sample("CT_small.dcm"), sample("MR_small.dcm")])
    theirs.page.get_by_text("All 2 files are done.").first.wait_for()
    assert theirs.page.evaluate("document.documentElement.scrollWidth") <= width
    theirs.close()

    page.goto(f"{gateway.url}/ui/inbox")
    rows = page.locator("table.inbox").first.locator("tbody tr")
    assert rows.count() == 2
    assert "Practice X" in rows.first.inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for name in ("CT1", "MR1"):
        row = rows.filter(has_text=name)
        row.get_by_text("Delete …").click()
        row.get_by_role("button", name="Delete 1 instance").click()
        row.wait_for(state="detached")
    page.get_by_text("Nothing waits").wait_for()
    page.get_by_role("button", name="Revoke").first.click()
    page.get_by_text("Practice X").wait_for(state="detached")
    ours.close()
