"""The words of the pages, in every language that the pages speak.

They stand in `words/`, one TOML file for each page or group of pages, each string with all of its languages side by
side. A string with placeholders is filled in by `Words`; one that is a list has the form for one first and the form for
other numbers last. That no string and no language is missing, and none is left over, is held by a test.
"""

from __future__ import annotations

import datetime
import re
import tomllib
from collections.abc import Mapping
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any, Final

import babel
import babel.dates
import babel.numbers
from aiohttp import web
from markupsafe import Markup, escape

from gateway.web.sessions import cookie_of

LANGUAGES: Final[Mapping[str, str]] = {
    "en": "English",
    "de": "Deutsch",
    "fr": "Français",
    "es": "Español",
    "pt": "Português",
    "ja": "日本語",
}
"""Each language under its own name. The first is for readers who want none of them."""
COOKIE: Final = "dicom-gateway-language"
"""Name of the cookie with the language that a reader has chosen."""
_ACCEPTED: Final = re.compile(r"([A-Za-z]{1,8})(?:-[A-Za-z0-9-]*)?\s*(?:;\s*q=([01](?:\.[0-9]{0,3})?))?\s*(?:,|\Z)")
_MAX_HEADER_LENGTH: Final = 500


def _read() -> dict[str, Mapping[str, Any]]:
    """Every string under its name `file.key`, or `file.group.key`."""
    found: dict[str, Mapping[str, Any]] = {}
    for path in sorted(Path(__file__).with_name("words").glob("*.toml")):
        _collect(path.stem, tomllib.loads(path.read_text("utf-8")), found)
    return found


def _collect(name: str, entry: Mapping[str, Any], found: dict[str, Mapping[str, Any]]) -> None:
    if next(iter(LANGUAGES)) in entry:
        found[name] = entry
        return
    for key, value in entry.items():
        _collect(f"{name}.{key}", value, found)


CATALOGUE: Final = _read()


class Words:
    """The strings of one language, and its way to write numbers and dates. Called with the name of a string."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._locale = babel.Locale.parse(language)
        self._made: dict[str, Markup] = {}

    def __call__(self, name: str, /, count: int | None = None, **values: object) -> Markup:
        """A string as HTML: with `count` in the form for that number; whole numbers are grouped, text is escaped."""
        if count is None and not values:
            return self._plain(name)
        template = CATALOGUE[name][self.language]
        if isinstance(template, list):
            template = template[0 if self._is_one(count) else -1]
        if count is not None:
            values["count"] = count
        return Markup(escape(template)).format_map({key: self._shown(value) for key, value in values.items()})

    def _plain(self, name: str) -> Markup:
        """A string without placeholders, made once: tables say theirs in every row."""
        made = self._made.get(name)
        if made is None:
            template = CATALOGUE[name][self.language]
            text = template[-1] if isinstance(template, list) else template
            made = self._made[name] = Markup(escape(text)).format_map({})
        return made

    def choices(self, name: str) -> dict[str, Markup]:
        """The strings of a group by their keys, in the order of the file."""
        start = f"{name}."
        return {key.removeprefix(start): self(key) for key in CATALOGUE if key.startswith(start)}

    def for_scripts(self, *files: str) -> dict[str, str | list[str]]:
        """The strings of some files that have `script = true`, for `words.js`, by their names."""
        return {
            name: entry[self.language]
            for name, entry in CATALOGUE.items()
            if entry.get("script") and name.partition(".")[0] in files
        }

    def number(self, value: float) -> str:
        """A number with groups of digits, and at most three decimals."""
        return _decimal(value, self.language)

    def size(self, size: float) -> str:
        """Bytes in decimal units, as disks are sold."""
        units = ["B", "KB", "MB", "GB", "TB", "PB"]
        while size >= 999.5 and len(units) > 1:
            size /= 1000
            units.pop(0)
        pattern = "#,##0" if units[0] == "B" or size >= 99.5 else "#,##0.0"
        return f"{babel.numbers.format_decimal(size, pattern, locale=self._locale)}\N{NO-BREAK SPACE}{units[0]}"

    def date(self, value: str) -> str:
        """A DA value (PS3.5 §6.2) as 2026-11-22, in every language alike; an invalid one unchanged."""
        return f"{value[:4]}-{value[4:6]}-{value[6:]}" if len(value) == 8 and value.isdigit() else value

    def day(self, day: datetime.date) -> str:
        """A date in words."""
        return babel.dates.format_date(day, "long", locale=self._locale)

    @cached_property
    def is_one(self) -> Any:
        """The rule of the language for the form for one."""
        return self._locale.plural_form

    def _is_one(self, count: int | None) -> bool:
        return count is not None and self.is_one(count) == "one"

    def _shown(self, value: object) -> object:
        return self.number(value) if isinstance(value, int) and not isinstance(value, bool) else value


@lru_cache(4096)
def _decimal(value: float, language: str) -> str:
    return babel.numbers.format_decimal(value, locale=language)


@cache
def words_of(language: str) -> Words:
    """The words of a language of `LANGUAGES`."""
    return Words(language)


def reader_words(request: web.Request) -> Words:
    """The words in the language of whoever reads the page: as chosen, or else as the browser prefers."""
    chosen = cookie_of(request, COOKIE)
    return words_of(chosen if chosen in LANGUAGES else _preferred(request.headers.get("Accept-Language", "")))


@cache
def _default() -> str:
    return next(iter(LANGUAGES))


@lru_cache(256)
def _preferred(header: str) -> str:
    """The language that an Accept-Language header (RFC 9110 §12.5.4) prefers."""
    accepted = [
        (float(quality or 1), -place, language.lower())
        for place, (language, quality) in enumerate(_ACCEPTED.findall(header[:_MAX_HEADER_LENGTH]))
        if language.lower() in LANGUAGES and float(quality or 1) > 0
    ]
    return max(accepted)[2] if accepted else _default()
