"""Every task of the pages, done once in Chromium by keyboard alone: Tab, arrows, Enter, Space, Escape, typed text."""

from __future__ import annotations

import base64
import json
import re
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import pictures
from tests.support.datasets import sample
from tests.support.exchange import Two
from tests.support.keyboard import Keyboard
from tests.support.processes import Gateway
from tests.support.sign_in import ADMIN, PASSWORD
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.interop]

CONFIGURATION = f"""
[[http.users]]
name = "ann"
password = "{ADMIN.password}"
[destinations.nas]
kind = "folder"
path = "/nowhere/to/write"
"""
AS_ANN = "Basic " + base64.b64encode(f"ann:{PASSWORD}".encode()).decode()
CT1 = "CompressedSamples, CT1"


def ask(gateway: Gateway, method: str, path: str, body: bytes | None = None) -> Any:
    request = urllib.request.Request(gateway.url + path, body, {"Authorization": AS_ANN}, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    """`here` with a user, and a CT of twelve slices; `there`, its modality `pacs`, with an MR and a plan."""
    folder = tmp_path_factory.mktemp("keyboard")
    (folder / "here.toml").write_text(CONFIGURATION)
    here = Gateway(folder / "here", "--config", str(folder / "here.toml"), environment={"GATEWAY_DICOM__AET": "HERE"})
    there = Gateway(folder / "there", environment={"GATEWAY_DICOM__AET": "THERE"})
    with here, there:
        for gateway, name, other in ((here, "pacs", there), (there, "gateway", here)):
            place = {"AET": other.aet, "Host": other.host, "Port": other.port}
            ask(gateway, "PUT", f"/modalities/{name}", json.dumps(place).encode())
        for each in pictures.ct():
            ask(here, "POST", "/instances", pictures.file(each))
        ask(here, "POST", "/instances", sample("CT_small.dcm").read_bytes())
        for name in ("MR_small.dcm", "rtplan.dcm"):
            ask(there, "POST", "/instances", sample(name).read_bytes())
        yield Two(here, there)


@pytest.fixture(scope="module")
def signed_in(browser: Any, two: Two) -> Iterator[Any]:
    """A context of the browser in which somebody has signed in, by keyboard."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-US", reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(10_000)
    page.goto(f"{two.here.url}/ui/")
    keys = Keyboard(page)
    assert keys.held()["field"] == "name", "the form has the focus"
    keys.type("ann")
    keys.to(field="password")
    keys.type("wrong")
    keys.sent()
    page.get_by_role("alert").wait_for()
    assert keys.stop()["field"] == "name"
    keys.press("Control+a")
    keys.type("ann")
    keys.to(field="password")
    keys.type(PASSWORD)
    keys.press("Enter")
    page.wait_for_url("**/ui/")
    assert keys.unseen == []
    page.close()
    yield context
    context.close()


@pytest.fixture
def keys(signed_in: Any, two: Two) -> Iterator[Keyboard]:
    """The keyboard at the page of studies."""
    complaints: list[str] = []
    page = signed_in.new_page()
    page.set_default_timeout(10_000)
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{two.here.url}/ui/")
    made = Keyboard(page)
    yield made
    page.close()
    assert made.unseen == []
    assert [each for each in complaints if not re.search("status of 40[01]", each)] == []


def shows(keys: Keyboard, selector: str, text: str) -> None:
    """Wait for a part of the page to say something."""
    keys.page.locator(selector, has_text=re.compile(text)).first.wait_for()


def test_skip_to_the_content(keys: Keyboard) -> None:
    keys.press("Tab")
    assert keys.stop()["name"] == "Skip to content"
    keys.press("Enter", "Tab")
    assert keys.page.evaluate("document.getElementById('content').contains(document.activeElement)")


def test_search_and_open_down_to_an_instance(keys: Keyboard) -> None:
    page = keys.page
    keys.to(field="patient")
    keys.type("ct1")
    page.wait_for_url("**?patient=ct1")
    shows(keys, "tr[data-study]", "CT1")
    assert keys.stop()["field"] == "patient"
    keys.to("Modality.*", tag="summary")
    keys.press("Enter")
    keys.to("CT", field="modality")
    keys.press("Space")
    page.wait_for_url("**modality=CT*")
    assert keys.stop()["value"] == "CT"
    keys.press("Escape")
    assert keys.stop()["tag"] == "summary"
    keys.to("Study date", tag="a")
    keys.press("Enter")
    page.locator("th.of-date[aria-sort]").wait_for()
    assert keys.held()["name"] == "Study date"
    keys.follow(CT1, "**/ui/studies/*")
    keys.follow("", "**/ui/series/*", href="/ui/series/")
    page.locator('#view[data-state="shown"]').wait_for()
    keys.follow("Attributes and more", "**/ui/instances/*")
    keys.to(field="search")
    keys.type("Rows")
    shows(keys, "#tag-rows", "Rows")
    assert keys.stop()["field"] == "search"


def test_window_zoom_and_frames(keys: Keyboard) -> None:
    page = keys.page
    page.goto(page.url + "?patient=picture")
    keys.follow("Picture, CT", "**/ui/studies/*")
    keys.follow("", "**/ui/series/*", href="/ui/series/")
    page.locator('#view[data-state="shown"]').wait_for()
    keys.to("Image; press .*", tag="div")

    def said(part: str) -> str:
        return str(page.locator(f'[data-part="{part}"]').inner_text())

    place, window, value = said("corner-place"), said("window"), page.screenshot()
    keys.press("ArrowDown", "PageDown")
    wait_until(lambda: said("corner-place") != place, within_s=10)
    assert said("corner-place").startswith("Image 12 ")
    keys.press("Home", "]", "]", ".")
    wait_until(lambda: said("window") != window, within_s=10)
    keys.press("+", "+", "Shift+ArrowLeft")
    assert page.screenshot() != value
    assert keys.stop()["tag"] == "div"
    keys.press("?")
    page.get_by_role("dialog").wait_for()
    assert keys.held()["name"] == "Close"
    keys.press("Escape")
    assert keys.held()["tag"] == "div"
    keys.to("Invert")
    keys.press("Space")
    assert keys.stop()["name"] == "Invert"
    slider = keys.to("", tag="input")
    assert slider["tag"] == "input"
    keys.press("ArrowRight")
    wait_until(lambda: said("corner-place").startswith("Image 2 "), within_s=10)
    film = keys.to("Instance [0-9]+", tag="a", back=True)
    keys.press("Enter")
    assert keys.stop()["name"] == film["name"]


@pytest.mark.parametrize("level", ["study", "series"])
def test_change_labels(keys: Keyboard, level: str) -> None:
    page = keys.page
    page.goto(page.url + "?patient=picture")
    keys.follow("Picture, CT", "**/ui/studies/*")
    if level == "series":
        keys.follow("", "**/ui/series/*", href="/ui/series/")
    for label in ("urgent", "teaching"):
        keys.to("New label")
        keys.type(label)
        keys.sent()
        shows(keys, ".labels .tag", label)
        assert keys.stop()["name"] == "New label", "ready for another"
    keys.to("Remove the label urgent", back=True)
    keys.sent("Space")
    page.locator(".labels .tag", has_text="urgent").wait_for(state="detached")
    keys.to("Remove the label teaching", back=True)
    keys.sent()


def test_query_and_retrieve(keys: Keyboard, two: Two) -> None:
    page = keys.page
    keys.follow("Query", "**/ui/query")
    keys.to(field="source")  # The only one, which is chosen.
    keys.to("Test, pacs")
    keys.press("Enter")
    shows(keys, ".outcome", "Answers, in")
    assert keys.stop()["name"] == "Test, pacs"
    keys.to(field="name")
    keys.type("comp")
    keys.press("Enter")
    shows(keys, "#results tbody tr", "MR1")
    assert keys.stop()["field"] == "name"
    keys.to("1 series.*", tag="a")
    keys.press("Enter")
    page.locator(".below-row tbody tr").wait_for()
    assert keys.stop()["name"].startswith("1 series")
    keys.press("Enter")
    keys.to("Retrieve,.*", tag="button")
    keys.press("Enter")
    shows(keys, ".retrieval", "Done")
    assert keys.stop()["name"].startswith("Retrieve,")
    keys.to("Retrieve.*MOVE.*", tag="a")


def test_send(keys: Keyboard) -> None:
    keys.page.goto(keys.page.url + "?patient=picture")
    keys.follow("Picture, CT", "**/ui/studies/*")
    keys.follow("Send", "**/ui/send?*")
    keys.to(field="to")
    keys.press("Space")
    keys.to("Send", tag="button")
    keys.press("Enter")
    keys.page.get_by_role("heading", name="Jobs").wait_for()
    shows(keys, "tr[data-state=done]", "pacs")


def test_upload(keys: Keyboard) -> None:
    keys.follow("Upload", "**/ui/upload")
    keys.to(field="file")
    keys.choose(sample("examples_overlay.dcm"))
    shows(keys, "#studies tr", ".+")
    assert keys.stop()["field"] == "file"
    keys.to(".*", tag="a")


def test_add_a_modality(keys: Keyboard, two: Two) -> None:
    keys.follow("Modalities", "**/ui/modalities")
    for name, text in (("name", "ct2"), ("aet", "THERE"), ("host", two.there.host), ("port", "1")):
        keys.fill(name, text)
    keys.to("Keep and test", tag="button")
    keys.press("Enter")
    shows(keys, "[role=status]", ".+")
    shows(keys, ".findings", "refuse")
    keys.held()
    keys.fill("port", str(two.there.port))
    keys.send("Keep and test")
    keys.send("Test the connection")
    shows(keys, "[role=status]", ".+")
    keys.send("Remove")


def test_write_check_and_apply_a_rule(keys: Keyboard) -> None:
    keys.follow("Rules", "**/ui/rules")
    keys.to(field="text")
    keys.press("Control+a")
    keys.type('[rules.ct]\ndestinations = ["nas"]\n')
    keys.send("Check")
    shows(keys, "[role=status]", ".+")
    keys.send("Put in force")
    shows(keys, ".version", "in force")


def test_share_by_a_link(keys: Keyboard) -> None:
    keys.page.goto(keys.page.url + "?patient=picture")
    keys.follow("Picture, CT", "**/ui/studies/*")
    keys.to("Share.*", tag="summary")
    keys.press("Enter")
    keys.fill("name", "Dr. Who")
    keys.fill("days", "7")
    keys.send("Make a link")
    shows(keys, "#shared-url", "http")
    keys.to("Copy", tag="button")


def test_make_and_revoke_a_token(keys: Keyboard) -> None:
    page = keys.page
    keys.follow("ann", "**/ui/account")
    keys.fill("name", "nightly")
    keys.to(field="role")
    keys.press("ArrowDown")
    keys.fill("days", "30")
    keys.sent()
    shows(keys, ".command", ".+")
    keys.to("Revoke.*", tag="button")
    keys.sent("Space")
    page.locator("table.issued", has_text="nightly").wait_for(state="detached")


def test_add_a_worklist_item(keys: Keyboard) -> None:
    page = keys.page
    keys.follow("Worklist", "**/ui/worklist")
    for name, text in (("patient_name", "Weber^Anna"), ("patient_id", "4711"), ("modality", "CT")):
        keys.fill(name, text)
    keys.to(field="date")
    keys.type("12242026")
    keys.to(field="time")
    keys.type("0945AM")
    keys.to(field="status")
    keys.press("ArrowDown")
    keys.send("Save")
    shows(keys, "table.list tr", "Weber")
    keys.follow("Weber, Anna", "**/ui/worklist?item=*")
    assert page.locator("[name=time]").input_value().startswith("09:45")
    keys.send("Delete")


def test_choose_a_language_and_a_state(keys: Keyboard) -> None:
    """Arrows pass over choices without sending them."""
    page = keys.page
    keys.follow("Jobs", "**/ui/jobs")
    keys.to(field="state")
    keys.press("ArrowDown", "ArrowDown")
    assert keys.stop()["field"] == "state"
    keys.to("Show", tag="button")
    keys.sent()
    assert "state=" in page.url


def test_sign_out(keys: Keyboard) -> None:
    """The last: it ends the session of all tests here."""
    keys.follow("ann", "**/ui/account")
    keys.to("Sign out", tag="button")
    keys.press("Enter")
    keys.page.wait_for_url("**/ui/sign-out")
    keys.follow("Sign in.*", "**/ui/")
    assert keys.held()["field"] == "name"
