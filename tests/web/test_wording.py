"""gateway/web/pages/wording: every string in every language, each used, and the choice of a language."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

import gateway.web.pages
from gateway.web.pages.wording import CATALOGUE, LANGUAGES, words_of
from tests.support.web import House

PAGES = Path(gateway.web.pages.__file__).parent
_USED = re.compile(r"""\bt\(\s*["']([a-z0-9_.-]*[a-z0-9])["']""")
_GROUP = re.compile(
    r"""\bt\.choices\(\s*["']([a-z0-9_.-]+)["']|\bt\(\s*["']([a-z0-9_.-]+\.)["']\s*[~+]|\bt\(\s*`([a-z0-9_.-]+\.)\$"""
)


def _sources() -> list[tuple[Path, str]]:
    kinds = ("*.py", "templates/*.html", "static/*.js")
    return [(path, path.read_text("utf-8")) for kind in kinds for path in sorted(PAGES.glob(kind))]


def _fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_language_has_the_string(name: str):
    entry = CATALOGUE[name]
    assert set(entry) - {"script"} == set(LANGUAGES)
    fields = set()
    for language in LANGUAGES:
        forms = entry[language] if isinstance(entry[language], list) else [entry[language]]
        assert forms
        assert all(form.strip() for form in forms)
        fields.add(frozenset().union(*map(_fields, forms)) | ({"count"} if isinstance(entry["en"], list) else set()))
    assert len(fields) == 1, f"the languages differ in their placeholders: {fields}"


def test_every_string_that_is_used_is_there():
    missing = [(path.name, name) for path, text in _sources() for name in _USED.findall(text) if name not in CATALOGUE]
    assert missing == []


def test_scripts_are_given_what_they_use():
    scripts = [(path.name, name) for path, text in _sources() if path.suffix == ".js" for name in _USED.findall(text)]
    assert [found for found in scripts if not CATALOGUE[found[1]].get("script")] == []


def test_no_string_is_left_over():
    text = [text for _, text in _sources()]
    used = {name for each in text for name in _USED.findall(each)}
    groups = {next(filter(None, found)) for each in text for found in _GROUP.findall(each)}
    left = [name for name in CATALOGUE if name not in used and not name.startswith(tuple(groups))]
    assert left == []


class TestWords:
    def test_text_is_escaped_and_markup_is_kept(self):
        t = words_of("en")
        shown = t("frame.emergency_until", title=t("frame.emergency"), time="<12:00>", user="a&b", reason="'")
        assert "&lt;12:00&gt;" in shown
        assert "a&amp;b" in shown

    @pytest.mark.parametrize(
        ("language", "number", "size"),
        [("en", "1,234.5", "1.5\N{NO-BREAK SPACE}MB"), ("de", "1.234,5", "1,5\N{NO-BREAK SPACE}MB")],
    )
    def test_numbers(self, language: str, number: str, size: str):
        assert (words_of(language).number(1234.5), words_of(language).size(1_500_000)) == (number, size)

    def test_sizes(self):
        sizes = [words_of("en").size(n).replace("\N{NO-BREAK SPACE}", " ") for n in (0, 999, 1000, 99_600, 10**15)]
        assert sizes == ["0 B", "999 B", "1.0 KB", "100 KB", "1.0 PB"]


class TestChoice:
    @pytest.mark.parametrize(
        ("header", "language"),
        [
            ("", "en"),
            ("de-CH, en;q=0.8", "de"),
            ("nl, fr;q=0.3, ja;q=0.7", "ja"),
            ("de;q=0, es", "es"),
            ("nl", "en"),
            ("*", "en"),
            (";;,,=" * 3000, "en"),
        ],
    )
    async def test_the_browser_prefers(self, gateway: House, header: str, language: str):
        answer = await gateway.client.get("/ui/", headers={"Accept-Language": header})
        assert f'<html lang="{language}">' in await answer.text()

    async def test_the_reader_chooses(self, gateway: House):
        ours = {"Origin": f"http://{gateway.client.host}:{gateway.client.port}"}
        form = {"language": "ja", "next": "/ui/routing"}
        answer = await gateway.client.post("/ui/language", data=form, headers=ours, allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (303, "/ui/routing")
        page = await gateway.client.get("/ui/", headers={"Accept-Language": "de"})
        assert '<html lang="ja">' in await page.text()

    async def test_no_other_language_and_nowhere_else(self, gateway: House):
        ours = {"Origin": f"http://{gateway.client.host}:{gateway.client.port}"}
        answer = await gateway.client.post("/ui/language", data={"language": "xx"}, headers=ours)
        assert answer.status == 400
        form = {"language": "de", "next": "//elsewhere.example/"}
        answer = await gateway.client.post("/ui/language", data=form, headers=ours, allow_redirects=False)
        assert answer.headers["Location"] == "/ui/"
