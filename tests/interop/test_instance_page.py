"""The page of an instance in Chromium: attributes searched as one types, what is no image shown in place, deletion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate

from gateway.web.pages import tag_rows
from tests.render.test_pdf import pdf
from tests.support import pictures
from tests.support.datasets import sample
from tests.support.processes import Gateway
from tests.support.view_window import Window, upload
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.interop]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "gateway.toml").write_text("[dicomweb]\ndelete = true\n")
    with Gateway(folder / "data", "--config", str(folder / "gateway.toml")) as started:
        yield started


@pytest.fixture(scope="module")
def ct(gateway: Gateway) -> str:
    return upload(gateway, sample("CT_small.dcm").read_bytes())["ID"]


def shown_rows(window: Window) -> list[str]:
    """The tags of the rows that are shown."""
    return [text for text in window.page.locator(".tags tbody tr:visible td.code").all_inner_texts() if text]


class TestAttributes:
    def test_searched_as_one_types(self, browser: Any, gateway: Gateway, ct: str) -> None:
        window = Window(browser, gateway, f"/ui/instances/{ct}")
        window.page.get_by_role("searchbox").type("patientna")
        wait_until(lambda: shown_rows(window) == ["0010,0010"], 10)
        window.page.get_by_role("searchbox").fill("nothing like it")
        window.page.get_by_text("No attribute matches.").wait_for()
        window.page.get_by_role("searchbox").fill("")
        wait_until(lambda: len(shown_rows(window)) > 100, 10)
        window.close()

    def test_folded_and_copied(self, browser: Any, gateway: Gateway, ct: str) -> None:
        window = Window(browser, gateway, f"/ui/instances/{ct}")
        all_of_them = shown_rows(window)
        window.page.get_by_role("button", name="Show what is inside").first.press("Enter")
        assert len(shown_rows(window)) == len(all_of_them) - 4
        window.page.get_by_role("button", name="Show what is inside").first.press("Enter")
        assert shown_rows(window) == all_of_them
        button = window.page.get_by_role("button", name="PatientName: Copy")
        button.focus()
        button.press("Enter")
        window.page.get_by_role("button", name="PatientName: Selected").or_(
            window.page.get_by_role("button", name="PatientName: Copied")
        ).wait_for()
        window.close()

    def test_more_of_many(self, browser: Any, gateway: Gateway) -> None:
        many = pictures.ct(2)[0]
        block = many.private_block(0x0099, "MANY", create=True)
        for number in range(200):
            block.add_new(number, "LO", "x")
        other = many.private_block(0x009B, "MORE", create=True)
        third = many.private_block(0x009D, "MOST", create=True)
        for number in range(200):
            other.add_new(number, "LO", "y")
            third.add_new(number, "LO", "z")
        found = upload(gateway, pictures.file(many))
        window = Window(browser, gateway, f"/ui/instances/{found['ID']}")
        assert len(shown_rows(window)) == tag_rows.PAGE_ROWS
        window.page.get_by_role("link", name="more row").click()
        wait_until(lambda: len(shown_rows(window)) > 600, 10)
        assert window.page.get_by_role("link", name="more row").count() == 0
        window.close()

    def test_without_scripts_a_form_searches(self, browser: Any, gateway: Gateway, ct: str) -> None:
        from playwright.sync_api import expect

        context = browser.new_context(java_script_enabled=False)
        page = context.new_page()
        page.goto(f"{gateway.url}/ui/instances/{ct}")
        page.get_by_role("img", name="The image").wait_for()
        page.get_by_role("searchbox").fill("patientna")
        page.get_by_role("button", name="Search").click()
        assert page.locator(".tags tbody tr").count() == 1
        expect(page.get_by_role("button", name="Copy")).to_have_count(0)  # Once the style is there.
        context.close()


@pytest.mark.parametrize("width", [390, 900, 1600])
def test_no_window_scrolls_sideways(browser: Any, gateway: Gateway, ct: str, width: int) -> None:
    for name in ("CT_small.dcm", "waveform_ecg.dcm", "test-SR.dcm"):
        found = upload(gateway, sample(name).read_bytes())
        window = Window(browser, gateway, f"/ui/instances/{found['ID']}", width, "dark", has_view=False)
        window.page.get_by_role("heading", name="Attributes").wait_for()
        assert window.page.evaluate("document.documentElement.scrollWidth") <= width
        window.close()


def test_a_frame_that_is_too_large_for_the_view_is_a_picture(browser: Any, gateway: Gateway, ct: str) -> None:
    page = browser.new_page()
    page.route("**/pixels", lambda route: route.fulfill(status=415, body="{}"))
    page.goto(f"{gateway.url}/ui/instances/{ct}")
    image = page.get_by_role("img", name="The image")
    wait_until(lambda: image.evaluate("image => image.naturalWidth") == 128, 10)
    assert page.locator("#view").is_hidden()
    page.close()


def test_an_ecg_is_drawn(browser: Any, gateway: Gateway) -> None:
    found = upload(gateway, sample("waveform_ecg.dcm").read_bytes())
    window = Window(browser, gateway, f"/ui/instances/{found['ID']}", has_view=False)
    image = window.page.get_by_role("img", name="Waveforms on a millimetre grid")
    wait_until(lambda: image.evaluate("image => image.naturalWidth") > 800, 10)
    window.close()


def test_a_pdf_is_shown_in_place(browser: Any, gateway: Gateway) -> None:
    made = pictures.ct(2)[0]
    made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.104.1"
    for name in ("PixelData", "Rows", "Columns"):
        delattr(made, name)
    made.EncapsulatedDocument = pdf("0 0 595 842", pages=3).ljust(4000, b" ")
    found = upload(gateway, pictures.file(made))
    for width in (390, 900, 1600):
        window = Window(browser, gateway, f"/ui/instances/{found['ID']}", width, "dark", has_view=False)
        for number in (1, 3):
            image = window.page.get_by_role("img", name=f"Page {number} of 3")
            image.scroll_into_view_if_needed()
            wait_until(lambda image=image: image.evaluate("image => image.naturalWidth") == 1240, 20)
        assert window.page.evaluate("document.documentElement.scrollWidth") <= width
        window.close()


def test_a_report_is_shown_in_place(browser: Any, gateway: Gateway) -> None:
    found = upload(gateway, sample("reportsi.dcm").read_bytes())
    window = Window(browser, gateway, f"/ui/instances/{found['ID']}", has_view=False)
    window.page.get_by_text("Observation Context Mode").first.wait_for()
    window.page.get_by_role("link", name="The whole report").click()
    window.page.get_by_role("heading", name="Document Title").wait_for()
    window.close()


def test_a_video_is_asked_for_as_it_is(browser: Any, gateway: Gateway) -> None:
    made = pictures.ct(2)[0]
    made.PixelData = encapsulate([b"\0\0\0\x18ftypmp42" + bytes(64)])
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"
    found = upload(gateway, pictures.file(made))
    page = browser.new_page()
    with page.expect_response(lambda answer: "/rendered" in answer.url) as asked:
        page.goto(f"{gateway.url}/ui/instances/{found['ID']}")
    assert asked.value.status in (200, 206)
    assert asked.value.headers["content-type"] == "video/mp4"
    page.close()


def test_downloads(browser: Any, gateway: Gateway, ct: str, tmp_path: Path) -> None:
    window = Window(browser, gateway, f"/ui/instances/{ct}")
    for name, start in (("DICOM file", b"\0" * 128 + b"DICM"), ("PNG", b"\x89PNG"), ("JPEG", b"\xff\xd8")):
        with window.page.expect_download() as download:
            window.page.get_by_role("link", name=name, exact=True).click()
        target = tmp_path / name
        download.value.save_as(target)
        assert target.read_bytes().startswith(start)
    window.close()


def test_an_instance_is_deleted_behind_a_question(browser: Any, gateway: Gateway) -> None:
    first, second = (upload(gateway, pictures.file(each)) for each in pictures.mr(2))
    window = Window(browser, gateway, f"/ui/instances/{second['ID']}")
    window.page.get_by_text("Delete …").press("Enter")
    window.page.get_by_role("button", name="Delete the instance").press("Enter")
    window.page.wait_for_url(f"**/ui/series/{first['ParentSeries']}")
    assert window.page.locator("#film a").count() == 1
    window.shown()
    window.close()
