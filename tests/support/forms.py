"""The forms of a page, as a browser without scripts has them."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser


class Forms(HTMLParser):
    """The fields of each form of a page, as a browser would send them untouched, by its address, and its text areas by
    name."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: dict[str, dict[str, str]] = {}
        self._here: dict[str, str] = {}
        self.feed(text)
        areas = re.findall(r'<textarea name="(\w+)"[^>]*>\n?(.*?)</textarea>', text, re.DOTALL)
        self.areas = {name: html.unescape(value) for name, value in areas}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = dict(attrs)
        if tag == "form":
            self._here = self.found.setdefault(of.get("action") or "", {})
        elif tag == "input" and (of.get("type") not in ("checkbox", "file") or "checked" in of):
            self._here[of.get("name") or ""] = of.get("value") or ""
