"""The pages with a view of frames in a tab of a browser."""

from __future__ import annotations

import json
from typing import Any
from urllib.request import urlopen

from tests.support.processes import Gateway


def upload(gateway: Gateway, data: bytes) -> dict[str, str]:
    with urlopen(f"{gateway.url}/instances", data, 30) as answer:
        found: dict[str, str] = json.load(answer)
    return found


class Window:
    """A page in a tab; what it complains of is kept."""

    def __init__(
        self,
        browser: Any,
        gateway: Gateway,
        path: str,
        width: int = 1280,
        scheme: str = "light",
        *,
        has_view: bool = True,
    ) -> None:
        self.complaints: list[str] = []
        self.page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page.set_default_timeout(10_000)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(gateway.url + path)
        if has_view:
            self.shown()

    def shown(self) -> None:
        self.page.locator('#view[data-state="shown"]').wait_for()

    def part(self, name: str) -> Any:
        return self.page.locator(f'[data-part="{name}"]')

    def press(self, name: str) -> None:
        self.page.locator(f'[data-do="{name}"], [data-tool="{name}"]').first.click()

    def key(self, key: str) -> None:
        self.part("stage").press(key)

    def at(self) -> int:
        """The place of the frame that is shown, from 0."""
        return int(self.part("slider").input_value())

    def address(self) -> str:
        """The address as the page has it now; `page.url` is that of the last event."""
        return str(self.page.evaluate("location.href"))

    def screenshot(self) -> bytes:
        made: bytes = self.page.locator(".stage canvas").screenshot()
        return made

    def expect(self, name: str, text: str) -> None:
        from playwright.sync_api import expect

        expect(self.part(name)).to_contain_text(text)

    def drag(self, start: tuple[float, float], end: tuple[float, float], button: str = "left") -> None:
        """Drag over the canvas between places in parts of its size."""
        box = self.page.locator(".stage canvas").bounding_box()
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
        self.page.mouse.move(*places[0])
        self.page.mouse.down(button=button)
        self.page.mouse.move(*places[1], steps=5)
        self.page.mouse.up(button=button)

    def close(self) -> None:
        self.page.close()
        assert self.complaints == []
