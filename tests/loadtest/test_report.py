"""The page that is mailed: it stands alone, it is well formed, and nothing that a server says becomes markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from loadtest.compare.rows import ROWS
from loadtest.report import html, plot, text
from loadtest.run import Ceiling, Result, near
from loadtest.stats import Stats
from loadtest.verify import Verification
from loadtest.watch import Sample, Usage
from tests.loadtest.test_compare import comparison, failed, found, run

VOID = {"meta", "br", "hr", "img", "input", "link"}
EVIL = '<script src="https://example.com/x.js"></script>'


def result(*, failures: bool = True, **changes: object) -> Result:
    stats = Stats(f"CT & {EVIL}", "store", 20)
    for _ in range(10):
        stats.done(stats._began, 1, 500_000)
    if failures:
        stats.failure(EVIL)
    quiet = Stats("nothing", "echo", 0)
    fields: dict[str, object] = {
        "title": f"A morning {EVIL}",
        "about": "A sentence.",
        "target": "ARCHIVE@host:104",
        "began": "2026-11-24T10:00:00+00:00",
        "seconds": 3.0,
        "cpus": 2,
        "works": [stats.summary(), quiet.summary()],
        "ceilings": [Ceiling(5000.0, 2500.0), None],
        "usage": Usage(
            pid=1,
            command=f"server {EVIL}",
            samples=[Sample(0, 0, 10**8), Sample(1, 1.5, 2 * 10**8)],
            cpu_seconds=1.5,
            memory_before=10**8,
            memory_peak=2 * 10**8,
            budget=15 * 10**7,
        ),
        "verification": Verification("http://host", 40, 28, [f"1.{n}" for n in range(12)], {"2.1": "differs"}, 3),
        "troubles": ["interrupted"],
        "remarks": ["a remark"],
    }
    return Result(**(fields | changes))  # type: ignore[arg-type]


class Checker(HTMLParser):
    """Every element is closed in its turn, and what refers to something else is noted."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.elements: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.references += [
            f"{tag} {name}={value}" for name, value in attributes if name in ("src", "href", "xlink:href")
        ]

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


def comparison_page() -> str:
    table = found(gateway=run(0.5, 0.7), orthanc=run(8, 9), **{"orthanc-tuned": failed(2, 2)}, less_is_better=True)
    return html.comparison_page(comparison(list(table.values()), ROWS["storescu"]))


@pytest.mark.parametrize("page", [html.run_page(result()), comparison_page()], ids=["run", "comparison"])
def test_a_page_stands_alone_and_is_well_formed(page: str) -> None:
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    assert checker.references == []
    assert not {"script", "link", "img", "iframe", "object", "embed"} & set(checker.elements)
    assert not re.search(r"url\(|@import|@font-face", page)
    assert "prefers-color-scheme: dark" in page
    for drawing in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(drawing)
        assert "nan" not in drawing
    assert len(page) < 200_000


def test_what_a_page_tells() -> None:
    page = html.run_page(result())
    for said in (
        "ARCHIVE@host:104",
        "12 missing, 1 differ",
        "over its budget of 150 MB",
        "5,000/s",
        "a remark",
        "interrupted",
    ):
        assert said in page
    assert "&lt;script src=" in page
    assert html.run_page(result(usage=None, verification=None, works=[], ceilings=[])).endswith("</html>")


def test_what_a_comparison_tells() -> None:
    page = comparison_page()
    assert "20 \N{MULTIPLICATION SIGN} orthanc: missed" in re.sub(r"\s+", " ", page)
    assert "2 of 2 runs failed (A700H out of resources)" in page
    assert "left out: &lt;orthanc&gt;" in page


def test_the_text_names_what_went_wrong() -> None:
    shown = text.run_text(result())
    assert "28 of 40 are there, 12 missing, 1 differ" in shown
    assert "and 2 more" in shown
    assert "2.1: differs" in shown
    assert "100 to 200 MB of 150 MB allowed" in shown
    one = text.run_text(result(works=[result().works[0]]))
    assert "done          10 of 20" in one
    assert f"1 x {EVIL}" in one


def test_a_result_near_the_generators_ceiling_is_marked() -> None:
    work = Stats("CT", "store")
    for _ in range(10):
        work.done(work._began, 1, 1000)
    summary = work.summary()
    rate = summary.operations_per_second
    assert "at 90%" in near(summary, Ceiling(rate / 0.9, 1))
    assert near(summary, Ceiling(rate / 0.5, 1)) == ""
    assert near(summary, None) == ""


class TestPlots:
    @pytest.mark.parametrize(("rough", "step"), [(0.03, 0.05), (1, 1), (1.01, 2), (23, 50), (99, 100), (0, 1)])
    def test_steps_are_round_numbers(self, rough: float, step: float) -> None:
        assert plot.nice_step(rough) == pytest.approx(step)

    @pytest.mark.parametrize("log", [False, True])
    @pytest.mark.parametrize(
        "points", [[], [(0, None)], [(0, 1.0)], [(0, 0.0), (1, 0.0)], [(0, 1.0), (1, None), (2, 3000.0)]]
    )
    def test_any_points_make_a_drawing(self, points: plot.Points, log: bool) -> None:
        what = [plot.Band(points, points, "band"), plot.Line(points, "line"), plot.Marks([0.5], "failures")]
        drawing = plot.lines(what, unit=str, until=2.0, title="<&>", limit=5.0, log=log)
        root = ElementTree.fromstring(drawing)
        assert root.attrib["aria-label"] == "<&>"

    def test_a_gap_breaks_the_line(self) -> None:
        points = [(0.0, 1.0), (1.0, 2.0), (2.0, None), (3.0, 1.0), (4.0, 1.0)]
        drawing = plot.lines([plot.Line(points, "line")], unit=str, until=4.0, title="t")
        assert drawing.count('class="line"') == 2
