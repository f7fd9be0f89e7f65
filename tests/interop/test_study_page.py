"""The page of a study in Chromium: labels, notes, files, and the forms that make other studies of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.interop.test_page import DESK, PHONE, opened, send
from tests.support.processes import Gateway
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.interop]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(tmp_path / "data", environment={"GATEWAY_DICOMWEB__DELETE": "true"}) as started:
        yield started


def asked(gateway: Gateway, path: str) -> Any:
    with urlopen(f"{gateway.url}{path}", timeout=10) as answer:
        return json.loads(answer.read())


@pytest.fixture
def study(gateway: Gateway) -> str:
    """The public id of a stored study."""
    send(gateway, "CT_small.dcm")
    (found,) = asked(gateway, "/studies")
    return str(found)


def unfolded(page: Any, heading: str) -> Any:
    """A part of the page, after it was unfolded."""
    page.locator("summary", has_text=heading).click()
    return page.locator("details.fold", has=page.locator("summary", has_text=heading))


def outcome(part: Any) -> str:
    """The path of what a form has made."""
    link = part.locator(".outcome a")
    link.wait_for()
    return str(link.get_attribute("href"))


def test_labels_notes_files_and_protection(browser: Any, gateway: Gateway, study: str, tmp_path: Path) -> None:
    complaints: list[str] = []
    page = opened(browser, gateway, DESK, complaints, f"/ui/studies/{study}")
    page.locator(".card img").evaluate("image => image.decode()")
    page.get_by_label("New label").fill("urgent")
    page.get_by_role("button", name="Add").click()
    page.get_by_role("button", name="Remove the label urgent").click()
    page.get_by_text("urgent").wait_for(state="detached")
    assert asked(gateway, f"/studies/{study}/labels") == []

    for text in ("call the ward", "called", ""):
        page.get_by_role("textbox", name="Notes").fill(text)
        page.get_by_role("button", name="Save").click()
        page.get_by_text("Saved", exact=True).wait_for()
        page.reload()
        assert page.get_by_role("textbox", name="Notes").input_value() == text

    page.get_by_role("button", name="Protect the patient").click()
    page.get_by_role("button", name="No longer protect").click()
    page.get_by_role("button", name="Protect the patient").wait_for()

    file = tmp_path / "letter.txt"
    file.write_text("Dear colleague")
    part = unfolded(page, "Attached files")
    part.get_by_label("File").set_input_files(file)
    with page.expect_navigation():
        part.get_by_role("button", name="Attach").click()
    part = unfolded(page, "Attached files")
    with page.expect_download() as download:
        part.get_by_role("link", name="letter.txt", exact=True).click()
    assert Path(download.value.path()).read_text() == "Dear colleague"
    part.get_by_role("link", name="Remove").click()
    page.get_by_role("heading", name="Remove the file letter.txt?").wait_for()
    page.get_by_role("button", name="Remove").click()
    page.wait_for_url(f"**/ui/studies/{study}#attachments")
    assert asked(gateway, f"/studies/{study}/attachments") == []
    assert complaints == []
    page.close()


def test_modified_and_anonymized(browser: Any, gateway: Gateway, study: str) -> None:
    complaints: list[str] = []
    page = opened(browser, gateway, DESK, complaints, f"/ui/studies/{study}")
    part = unfolded(page, "Modify")
    button = part.get_by_role("button", name="Make the modified study")
    assert button.is_disabled()
    part.get_by_label("Study description").fill("Knee <left>")
    part.get_by_label("Patient ID").fill("NEW")
    assert part.locator(".preview tbody tr").count() == 2
    button.click()
    made = outcome(part)
    page.goto(f"{gateway.url}{made}")
    page.get_by_text("Knee <left>").first.wait_for()
    assert page.locator(".facts", has_text="NEW").count() == 1

    page.goto(f"{gateway.url}/ui/studies/{study}")
    part = unfolded(page, "Anonymize")
    part.get_by_role("button", name="What would change").click()
    part.locator(".preview tr", has_text="PatientName").wait_for()
    part.get_by_label("New name").fill("Nobody")
    part.get_by_label("Keep dates and times").check()
    part.get_by_role("button", name="Make the anonymized study").click()
    page.goto(f"{gateway.url}{outcome(part)}")
    page.get_by_role("heading", name="Nobody").wait_for()
    assert "2004-01-19" in page.inner_text(".what")
    assert complaints == []
    page.close()


def test_a_document_is_split_off_and_merged(browser: Any, gateway: Gateway, study: str, tmp_path: Path) -> None:
    complaints: list[str] = []
    page = opened(browser, gateway, DESK, complaints, f"/ui/studies/{study}")
    part = unfolded(page, "Attach a document or picture")
    part.get_by_label("PDF, JPEG or PNG").set_input_files(picture(tmp_path))
    part.get_by_label("Series description").fill("Photo")
    part.get_by_role("button", name="Attach as a series").click()
    page.locator(".card", has_text="Photo").wait_for()

    part = unfolded(page, "Split")
    part.get_by_label("Photo").check()
    part.get_by_label("Study description").fill("Photos")
    part.get_by_label("Remove them there afterwards").check()
    part.locator(".preview tr", has_text="Photos").wait_for()
    part.get_by_role("button", name="Split").click()
    page.goto(f"{gateway.url}{outcome(part)}")
    page.locator(".description", has_text="Photos").wait_for()
    assert page.locator(".card").count() == 1

    page.goto(f"{gateway.url}/ui/studies/{study}")
    assert page.locator(".card").count() == 1
    part = unfolded(page, "Merge")
    part.get_by_label("Take over the series of").select_option(index=1)
    part.get_by_label("Remove them there afterwards").check()
    part.locator(".preview tr", has_text="StudyInstanceUID").wait_for()
    part.get_by_role("button", name="Merge").click()
    page.goto(f"{gateway.url}{outcome(part)}")
    page.locator(".card").nth(1).wait_for()
    assert asked(gateway, "/studies") == [study]
    assert complaints == []
    page.close()


@pytest.mark.parametrize("width", [390, 1600])
def test_without_scripts_a_form_asks_and_leads_to_its_job(
    browser: Any, gateway: Gateway, study: str, width: int
) -> None:
    page = browser.new_context(java_script_enabled=False, viewport={"width": width, "height": 900}).new_page()
    page.goto(f"{gateway.url}/ui/studies/{study}")
    part = unfolded(page, "Modify")
    part.get_by_label("Study description").fill("Knee")
    part.get_by_label("Delete this study").check()
    part.get_by_role("button", name="Make the modified study").click()
    page.get_by_role("heading", name="Modify").wait_for()
    assert page.locator(".preview tr", has_text="StudyDescription").inner_text().split("\t")[-1] == "Knee"
    page.get_by_text("is deleted once everything is stored").wait_for()
    assert page.locator("main").evaluate("main => main.scrollWidth <= innerWidth")
    assert asked(gateway, "/studies") == [study]
    assert page.get_by_role("link", name="Cancel").get_attribute("href") == f"/ui/studies/{study}"
    page.get_by_role("button", name="Do it").click()
    page.wait_for_url("**/ui/jobs?id=*")
    wait_until(lambda: asked(gateway, "/studies") not in ([study], []), 20)
    page.reload()
    page.get_by_text("Modify").first.wait_for()
    page.context.close()


def picture(folder: Path) -> Path:
    """A small PNG."""
    from PIL import Image

    file = folder / "photo.png"
    Image.new("RGB", (8, 8), "red").save(file)
    return file


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize("width", [390, 1600])
def test_deleted_after_a_question(browser: Any, gateway: Gateway, study: str, scripts: bool, width: int) -> None:
    context = browser.new_context(java_script_enabled=scripts, viewport={"width": width, "height": 900})
    page = context.new_page()
    page.goto(f"{gateway.url}/ui/studies/{study}")
    page.get_by_role("link", name="Delete", exact=True).click()
    page.get_by_role("heading", name="Delete this study for good?").wait_for()
    assert "CompressedSamples, CT1" in page.inner_text("main")
    assert "1 series with 1 instance" in page.inner_text("main")
    assert page.locator("main").evaluate("main => main.scrollWidth <= innerWidth")
    page.get_by_role("link", name="Cancel").click()
    assert asked(gateway, "/studies") == [study]
    page.get_by_role("link", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_text("Nothing received yet").wait_for()
    assert asked(gateway, "/studies") == []
    context.close()


def test_without_scripts_all_that_people_add(browser: Any, gateway: Gateway, study: str, tmp_path: Path) -> None:
    context = browser.new_context(java_script_enabled=False, viewport=PHONE)
    page = context.new_page()
    page.goto(f"{gateway.url}/ui/studies/{study}")
    page.get_by_label("New label").fill("urgent")
    page.get_by_role("button", name="Add", exact=True).click()
    page.locator(".labels .tag", has_text="urgent").wait_for()
    page.get_by_role("button", name="Remove the label urgent").click()
    page.locator(".labels .tag", has_text="urgent").wait_for(state="detached")
    page.get_by_role("textbox", name="Notes").fill("call\nthe ward")
    page.get_by_role("button", name="Save").click()
    page.wait_for_url("**#notes")
    assert page.get_by_role("textbox", name="Notes").input_value() == "call\nthe ward"
    page.get_by_role("button", name="Protect the patient").click()
    page.get_by_role("button", name="No longer protect").wait_for()
    file = tmp_path / "Brief für Müller.txt"
    file.write_text("Dear colleague")
    part = unfolded(page, "Attached files")
    part.get_by_label("File").set_input_files(file)
    part.get_by_role("button", name="Attach").click()
    part = unfolded(page, "Attached files")
    part.get_by_role("link", name="Remove").click()
    page.get_by_role("button", name="Remove").click()
    page.wait_for_url("**#attachments")
    assert asked(gateway, f"/studies/{study}/attachments") == []
    context.close()


def test_what_the_gateway_refuses_is_said(browser: Any, gateway: Gateway, study: str) -> None:
    complaints: list[str] = []
    page = opened(browser, gateway, DESK, complaints, f"/ui/studies/{study}")
    part = unfolded(page, "Modify")
    part.get_by_label("Study date").fill("nonsense")
    part.get_by_role("button", name="Make the modified study").click()
    part.get_by_text("That did not work:").wait_for()
    # Chromium itself says that an answer was 400; nothing else complains.
    assert [text for text in complaints if "400" not in text] == []
    page.close()


@pytest.mark.parametrize("scripts", [True, False])
def test_a_phone_need_not_scroll_sideways(browser: Any, gateway: Gateway, study: str, scripts: bool) -> None:
    context = browser.new_context(java_script_enabled=scripts, viewport=PHONE)
    page = context.new_page()
    page.goto(f"{gateway.url}/ui/studies/{study}")
    for summary in page.locator("details.fold summary").all():
        summary.click()
    if scripts:
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    else:
        assert page.get_by_role("button", name="Attach as a series").count() == 0
        assert page.get_by_role("link", name="Download").is_visible()
    context.close()
