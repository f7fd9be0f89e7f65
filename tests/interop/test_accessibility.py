"""Every page against axe-core's rules for WCAG 2.2 A and AA, narrow and wide, light and dark.

Pages join by themselves: whatever the program serves under `/ui` as a page is visited, but for what NOT_VISITED names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from gateway.web.routes import declared
from tests.interop.test_page import send
from tests.support import npm
from tests.support.processes import Gateway

pytestmark = [pytest.mark.browser, pytest.mark.interop]

AXE = "4.10.3"
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
NOT_VISITED = {
    "/ui": "leads on to /ui/",
    "/ui/reports/{study}": "a report, or a list of links",
    "/ui/sign-in/basic": "asks for a password",
    "/ui/sign-in/begin": "leads on",
    "/ui/sign-in/return": "leads on",
}
LEVELS = ("patients", "studies", "series", "instances")


def paths() -> list[str]:
    """The paths of all pages, with `{id}` for a resource."""
    found = [
        route.path
        for route in declared()
        if route.method == "GET" and route.path.startswith("/ui") and route.answers == ("text/html",)
    ]
    return [path for path in found if path not in NOT_VISITED and not re.search(r"{(?!id})", path)]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with an image, labels, notes, and every permission."""
    folder = tmp_path_factory.mktemp("gateway")
    with Gateway(folder / "data", environment={"GATEWAY_DICOMWEB__DELETE": "true"}) as started:
        send(started, "CT_small.dcm", "MR_small.dcm")
        (study, *_), body = ids(started, "studies"), b"call the ward"
        for path in (f"/studies/{study}/labels/urgent", f"/studies/{study}/metadata/Notes"):
            urlopen(Request(f"{started.url}{path}", data=body, method="PUT"), timeout=10).close()
        yield started


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core."""
    return npm.member(npm.packed("axe-core", AXE, tmp_path_factory.mktemp("npm")), "axe.min.js")


def ids(gateway: Gateway, level: str) -> list[str]:
    with urlopen(f"{gateway.url}/{level}", timeout=10) as answer:
        return list(json.loads(answer.read()))


def addresses(gateway: Gateway) -> Iterator[str]:
    """The address of every page, those of resources with one that is there."""
    for path in paths():
        level = next((each for each in LEVELS if f"/{each}/" in path), "")
        if "{id}" not in path:
            yield path
        elif level:
            yield path.replace("{id}", ids(gateway, level)[0])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1600])
def test_every_page(browser: Any, gateway: Gateway, axe: str, scheme: str, width: int) -> None:
    # What axe does stands in the page as a script, which its policy forbids to everybody else.
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True, reduced_motion="reduce"
    )
    page, found, wide, seen = context.new_page(), [], [], 0
    for path in addresses(gateway):
        answer = page.goto(f"{gateway.url}{path}")
        if not answer.text().lstrip().lower().startswith("<!doctype html"):
            continue  # A part of a page, which its script fetches.
        seen += 1
        page.evaluate("for (const part of document.querySelectorAll('details.fold')) part.open = true")
        page.add_script_tag(content=axe)
        result = page.evaluate("rules => axe.run(document, {runOnly: rules, resultTypes: ['violations']})", list(RULES))
        for violation in result["violations"]:
            nodes = [f"{node['html'][:160]}: {node['failureSummary'][:200]}" for node in violation["nodes"][:3]]
            found.append(f"{path} {violation['id']}: {nodes}")
        if page.evaluate("document.documentElement.scrollWidth") > width:
            wide.append(path)
    context.close()
    assert seen > 8
    assert found == [], "\n".join(found)
    assert wide == [], "scrolls sideways"


def test_what_is_not_visited_is_there() -> None:
    served = {route.path for route in declared() if route.method == "GET"}
    assert set(NOT_VISITED) <= served
    assert len(paths()) > 8


def test_a_violation_is_seen(browser: Any, axe: str, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text("<!doctype html><html lang=en><title>x</title><main><h1>x</h1><img src=x><input></main></html>")
    page = browser.new_page()
    page.goto(file.as_uri())
    page.add_script_tag(content=axe)
    result = page.evaluate("axe.run(document, {runOnly: ['wcag2a']})")
    assert {each["id"] for each in result["violations"]} == {"image-alt", "label"}
    page.close()
