"""Uploading in Chromium: files, a folder of many, what is refused, cancelling, and without scripts."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.datasets import sample
from tests.support.exchange import Window
from tests.support.processes import Gateway
from tests.support.remote import file_of, numbered

pytestmark = [pytest.mark.browser, pytest.mark.interop]

MANY = 300
DROP = """async ([names, data]) => {
  const transfer = new DataTransfer();
  for (const [at, name] of names.entries()) {
    transfer.items.add(new File([Uint8Array.from(atob(data[at]), (letter) => letter.charCodeAt(0))], name));
  }
  const dropped = new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
  document.getElementById("drop").dispatchEvent(dropped);
}"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("upload") / "data") as started:
        yield started


@pytest.fixture
def window(browser: Any, gateway: Gateway) -> Iterator[Window]:
    made = Window(browser)
    made.page.goto(f"{gateway.url}/ui/upload")
    yield made
    made.close()


def counts(page: Any) -> dict[str, str]:
    return {each.get_attribute("data-status"): each.inner_text() for each in page.locator("[data-status]").all()}


def over(page: Any) -> None:
    """Wait until all is done."""
    page.locator("#cancel").wait_for(state="hidden")


def test_files(window: Window, tmp_path: Path) -> None:
    text = tmp_path / "<b>notes.txt"
    text.write_text("no DICOM at all")
    page = window.page
    page.get_by_label("Files or zips").set_input_files([sample("CT_small.dcm"), sample("MR_small.dcm"), text])
    page.locator("#summary").get_by_text("CompressedSamples, CT1").wait_for()
    over(page)
    assert counts(page) == {"stored": "2", "already": "0", "refused": "0", "not_dicom": "1"}
    assert "<b>notes.txt" in page.locator("#refused").inner_text()
    page.get_by_label("Files or zips").set_input_files([sample("CT_small.dcm")])
    page.locator('[data-status="already"]', has_text="1").wait_for()


def test_a_folder_of_many(window: Window, tmp_path: Path) -> None:
    """Each in a folder of its own; few are in the page at a time."""
    for number in range(MANY):
        (tmp_path / f"{number % 7}").mkdir(exist_ok=True)
        (tmp_path / f"{number % 7}" / f"{number}.dcm").write_bytes(file_of(numbered(number + 1)))
        (tmp_path / f"{number % 7}" / f"{number}.txt").write_bytes(b"text")
    page = window.page
    page.evaluate("""() => {
      window.most = 0;
      new MutationObserver(() => {
        const shown = document.querySelectorAll("#current li, #refused li").length;
        window.most = Math.max(window.most, shown);
      }).observe(document.body, { childList: true, subtree: true });
    }""")
    page.get_by_label("A whole folder").set_input_files(tmp_path)
    page.get_by_text(f"All {2 * MANY} files are done.").first.wait_for(timeout=60_000)
    assert counts(page) == {"stored": str(MANY), "already": "0", "refused": "0", "not_dicom": str(MANY)}
    assert page.evaluate("window.most") <= 103
    assert "and 200 more" in page.locator("#more").inner_text()


def test_dropped_and_cancelled(window: Window) -> None:
    page = window.page
    page.route("**/ui/upload/file", lambda route: None)  # never answered
    names = [f"{number}.dcm" for number in range(10)]
    page.evaluate(DROP, [names, [base64.b64encode(b"x" * 100).decode()] * 10])
    page.locator("#current li").nth(2).wait_for()
    assert page.locator("#current li").count() == 3
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled after").first.wait_for()
    assert page.locator("#current li").count() == 0


def test_without_scripts(browser: Any, gateway: Gateway) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{gateway.url}/ui/upload")
    page.get_by_label("Files or zips").set_input_files([sample("rtplan.dcm")])
    page.get_by_role("button", name="Upload").click()
    page.get_by_role("heading", name="What has come").wait_for()
    assert counts(page)["stored"] == "1"
    context.close()


@pytest.mark.parametrize("width", [390, 900, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow(browser: Any, gateway: Gateway, width: int, scheme: str) -> None:
    window = Window(browser, width, color_scheme=scheme)
    window.page.goto(f"{gateway.url}/ui/upload")
    window.page.get_by_label("Files or zips").set_input_files([sample("CT_small.dcm"), Path(__file__)])
    over(window.page)
    assert window.page.evaluate("document.documentElement.scrollWidth") <= width
    window.close()
