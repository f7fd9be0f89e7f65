"""A reader of the pages who has a keyboard and nothing else: every key is one that the browser is sent, and wherever
the focus stops it must be seen."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.support.waiting import wait_until

MAX_STOPS = 250
"""Presses of Tab before something is called out of reach."""
_STOP = """() => {
  const at = document.activeElement;
  if (!at || at === document.body || at === document.documentElement) return null;
  const style = getComputedStyle(at), box = at.getBoundingClientRect();
  const over = document.querySelector('dialog[open]');
  const isThere = at.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && box.width && box.height;
  const seen = isThere
    && box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  const ring = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2
    && !/rgba\\(.*, 0\\)|transparent/.test(style.outlineColor);
  const name = at.getAttribute('aria-label') || [...at.labels ?? []].map((each) => each.innerText).join(' ')
    || at.textContent;
  return {
    tag: at.localName, name: name.replace(/\\s+/g, ' ').trim(), value: String(at.value ?? ''),
    field: at.getAttribute('name') ?? '', href: at.getAttribute('href') ?? '',
    html: at.outerHTML.slice(0, 160), seen, ring, outside: !!over && !over.contains(at),
  };
}"""


class Keyboard:
    """The keyboard of a page of Playwright's."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.unseen: list[str] = []
        """Stops of the focus that a sighted reader would not find."""

    def stop(self) -> dict[str, Any]:
        """Where the focus is; it must be somewhere, and seen."""
        found: dict[str, Any] | None = self.page.evaluate(_STOP)
        assert found is not None, f"the focus is lost on {self.page.url}"
        if not found["seen"] or not found["ring"] or found["outside"]:
            self.unseen.append(f"{self.page.url}: {found['html']} {found['seen']} {found['ring']}")
        return found

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def type(self, text: str) -> None:
        self.page.keyboard.type(text)

    def to(
        self, name: str = "", *, field: str = "", tag: str = "", href: str = "", back: bool = False
    ) -> dict[str, Any]:
        """Press Tab until the focus is on what has a name (a pattern for all of it), a `name`, an element's tag."""
        for _ in range(MAX_STOPS):
            self.press("Shift+Tab" if back else "Tab")
            if self.page.evaluate("document.activeElement === document.body"):
                continue  # Round the end of the page.
            at = self.stop()
            if (
                (not name or re.fullmatch(name, at["name"]))
                and (not field or at["field"] == field)
                and (not tag or at["tag"] == tag)
                and href in at["href"]
            ):
                return at
        raise AssertionError(f"{name or field or tag or href} is not reached by Tab on {self.page.url}")

    def follow(self, name: str, address: str, *, href: str = "") -> None:
        """Go to a link and press Enter; wait for the page at an address."""
        self.to(name, tag="a", href=href)
        self.press("Enter")
        self.page.wait_for_url(address)

    def fill(self, field: str, text: str) -> None:
        """Go to a field and type in it, in place of what it has."""
        self.to(field=field)
        self.press("Control+a")
        self.type(text)

    def send(self, name: str, key: str = "Enter") -> None:
        """Go to a button that loads a page, and press it. Wherever it leads, something must have the focus there."""
        self.to(name, tag="button")
        self.sent(key)

    def sent(self, key: str = "Enter") -> None:
        """Press a key that loads a page anew; the focus must not be lost on it."""
        with self.page.expect_navigation():
            self.press(key)
        self.held()

    def held(self) -> dict[str, Any]:
        """Wait for the focus to be somewhere after something has happened, and see it."""
        wait_until(lambda: self.page.evaluate(_STOP), within_s=10)
        return self.stop()

    def choose(self, file: Path) -> None:
        """Press the button of a file field, and have the browser's own dialog choose a file."""
        with self.page.expect_file_chooser() as chooser:
            self.press("Space")
        chooser.value.set_files(file)
