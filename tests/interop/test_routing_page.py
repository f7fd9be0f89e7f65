"""The page of destinations in Chromium: every button does what it says, and narrow windows show all of it."""

from __future__ import annotations

import http.server
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import peers
from tests.support.datasets import sample
from tests.support.processes import Gateway, free_port
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.interop]

ON_DESTINATION = {"Hold", "Release", "Send refused and dead again"}
ON_DELIVERY = {"Resend", "Cancel", "Hold", "Release"}
STATES = ("waiting", "sending", "held", "delivered", "refused", "dead", "cancelled")
NAMES = ("silent", "nas", "picky", "broken")


class Answers(http.server.BaseHTTPRequestHandler):
    """A peer that takes nothing: /picky refuses for good, /broken says nothing that makes sense."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(400 if self.path.startswith("/picky") else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def peer() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, peer: int) -> Iterator[Gateway]:
    """Two instances, each to four destinations, which keep them in as many states."""
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "nas").mkdir()
    (folder / "gateway.toml").write_text(
        f"""
        [modalities.silent]
        aet = "SILENT"
        host = "127.0.0.1"
        port = {free_port()}
        [modalities.sender]
        aet = "STORESCU"
        [destinations.silent]
        kind = "dicom"
        modality = "silent"
        [destinations.nas]
        kind = "folder"
        path = "{folder / "nas"}"
        [destinations.picky]
        kind = "peer"
        url = "http://127.0.0.1:{peer}/picky"
        [destinations.broken]
        kind = "peer"
        url = "http://127.0.0.1:{peer}/broken"
        attempts = 1
        [rules.all]
        destinations = {json.dumps(NAMES)}
        """
    )
    with Gateway(folder / "data", "--config", str(folder / "gateway.toml")) as started:
        address = ["-aec", started.aet, started.host, str(started.port)]
        files = [str(sample(name)) for name in ("CT_small.dcm", "MR_small.dcm")]
        subprocess.run([peers.need("storescu"), *address, *files], check=True, capture_output=True, timeout=30)
        wait_until(lambda: states(started) == {"nas": "delivered", "picky": "refused", "broken": "dead"}, 30)
        yield started


def states(gateway: Gateway, *names: str) -> dict[str, str]:
    """The state of what goes to each destination that has been reached, as far as it is one."""
    _, body = gateway.get("/deliveries?limit=100", 10)
    found: dict[str, set[str]] = {}
    for each in json.loads(body)["Deliveries"]:
        if each["Destination"] != "silent":
            found.setdefault(each["Destination"], set()).add(each["State"].lower())
    return {name: next(iter(words)) for name, words in found.items() if len(words) == 1}


class Window:
    """The page in a tab; what it complains of is kept."""

    def __init__(self, browser: Any, gateway: Gateway, width: int = 1280) -> None:
        self.gateway = gateway
        self.complaints: list[str] = []
        self.page = browser.new_page(viewport={"width": width, "height": 900})
        self.page.set_default_timeout(10_000)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def show(self, destination: str, state: str) -> None:
        self.page.goto(f"{self.gateway.url}/ui/routing?destination={destination}&state={state}")

    def row(self, name: str) -> Any:
        """Of a destination."""
        return self.page.locator(".destinations tbody tr").filter(has=self.page.get_by_text(name, exact=True))

    def press(self, button: Any) -> None:
        with self.page.expect_navigation() as navigation:
            button.click()
        assert navigation.value.status == 200
        assert "/ui/routing?destination=" in self.page.url

    def on_destination(self, name: str, word: str) -> None:
        self.press(self.row(name).get_by_role("button", name=word, exact=True))

    def on_delivery(self, destination: str, state: str, word: str) -> None:
        """Press the button of the first delivery to it that is in a state."""
        self.show(destination, state)
        self.press(self.page.locator(".deliveries").get_by_role("button", name=word, exact=True).first)

    def count(self, destination: str, state: str) -> int:
        self.show(destination, state)
        return int(self.page.locator(".deliveries tbody tr").count())

    def words(self, destination: str, state: str) -> list[set[str]]:
        """What the buttons say: of destinations, and of deliveries."""
        _, body = self.gateway.get(f"/ui/routing?destination={destination}&state={state}")
        tables = body.decode().partition('class="studies deliveries"')
        return [set(re.findall(r"<button[^>]*>([^<]*)</button>", table)) - {"Trace", "Choose"} for table in tables[::2]]


@pytest.fixture
def window(browser: Any, gateway: Gateway) -> Iterator[Window]:
    made = Window(browser, gateway)
    yield made
    made.page.close()
    assert made.complaints == []


@pytest.mark.case("every button of the destinations page works in a browser")
def test_every_button(window: Window) -> None:
    seen_on_destination, seen_on_delivery = set[str](), set[str]()

    def look() -> None:
        for name in NAMES:
            for state in STATES:
                first, second = window.words(name, state)
                seen_on_destination.update(first)
                seen_on_delivery.update(second)

    window.show("silent", "waiting")
    window.on_destination("silent", "Hold")  # so that nothing moves meanwhile
    assert "held" in window.row("silent").inner_text()
    window.page.get_by_role("heading", name="silent: waiting").wait_for()
    look()

    window.on_delivery("silent", "waiting", "Hold")
    assert (window.count("silent", "waiting"), window.count("silent", "held")) == (1, 1)
    look()
    window.on_delivery("silent", "held", "Release")
    assert (window.count("silent", "waiting"), window.count("silent", "held")) == (2, 0)
    window.on_delivery("silent", "waiting", "Resend")
    assert window.count("silent", "waiting") == 2
    window.on_delivery("silent", "waiting", "Cancel")
    assert (window.count("silent", "waiting"), window.count("silent", "cancelled")) == (1, 1)
    look()
    window.on_delivery("silent", "cancelled", "Resend")
    assert window.count("silent", "waiting") == 2
    window.show("silent", "waiting")
    window.on_destination("silent", "Release")
    assert "held" not in window.row("silent").locator(".tag").inner_text()

    for name, state in (("picky", "refused"), ("broken", "dead")):
        window.show(name, "held")
        window.on_destination(name, "Hold")
        window.on_delivery(name, state, "Resend")
        assert (window.count(name, "waiting"), window.count(name, state)) == (1, 1)
        window.on_destination(name, "Send refused and dead again")
        assert (window.count(name, "waiting"), window.count(name, state)) == (2, 0)
        window.on_destination(name, "Release")
    window.on_delivery("nas", "delivered", "Resend")
    wait_until(lambda: states(window.gateway) == {"nas": "delivered", "picky": "refused", "broken": "dead"}, 30)
    assert seen_on_destination == ON_DESTINATION, "drive the new button too"
    assert seen_on_delivery == ON_DELIVERY, "drive the new button too"


def test_a_study_is_traced(window: Window) -> None:
    window.show("nas", "delivered")
    window.page.get_by_label("Study or instance").fill("1.3.6.1.4.1.5962.1.2.1.20040119072730.12322")
    window.page.get_by_role("button", name="Trace").click()
    window.page.get_by_text("1 instance, from").wait_for()


SHAPES = """() => {
  const found = [];
  for (const each of document.querySelectorAll('button, .tag, .name, .number a, .brand span, .pages a')) {
    const range = document.createRange();
    range.selectNodeContents(each);
    const tops = new Set([...range.getClientRects()].filter((box) => box.width).map((box) => Math.round(box.top)));
    const box = each.getBoundingClientRect();
    if (tops.size > 1 && !each.matches('.name')) found.push(`broken: ${each.textContent}`);
    if (box.width && (box.left < 0 || box.right > innerWidth + 1)) found.push(`outside: ${each.textContent}`);
  }
  for (const each of document.querySelectorAll('.destinations td.number')) {
    const label = getComputedStyle(each, '::before').content.replaceAll('"', '');
    const head = document.querySelector('.destinations thead').getBoundingClientRect().height > 5;
    if (!head && label !== each.dataset.label) found.push(`no label: ${each.dataset.label}`);
    if (each.getBoundingClientRect().width < 20) found.push(`hidden: ${each.dataset.label}`);
  }
  return found;
}"""


@pytest.mark.case("narrow windows keep the words of the destinations table, and the labels of its numbers")
@pytest.mark.parametrize("width", [1280, 900, 390])
def test_narrow(browser: Any, gateway: Gateway, width: int) -> None:
    window = Window(browser, gateway, width)
    for name, state in (("picky", "refused"), ("silent", "waiting"), ("nas", "delivered")):
        window.show(name, state)
        assert window.page.evaluate("document.documentElement.scrollWidth") <= width
        assert window.page.evaluate(SHAPES) == []
        assert window.page.locator(".destinations td.number:visible").count() == 5 * len(NAMES)
    assert window.page.locator(".deliveries .reason").first.is_visible()
    window.page.close()
    assert window.complaints == []
