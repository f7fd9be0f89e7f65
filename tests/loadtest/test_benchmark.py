"""The page of results: that it shows what the files have, and that the page in the tree is the one made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

import loadtest
from gateway.errors import ConfigurationError
from loadtest import records
from loadtest.compare.rows import ROWS
from loadtest.report import benchmark
from tests.loadtest.test_cli import run
from tests.loadtest.test_growth import growth
from tests.loadtest.test_records import comparison

FRAME = "".join(f"<!-- made: {name} -->\nold\n<!-- end: {name} -->\n" for name in ("rows", "promises", "results"))


def test_the_page_in_the_tree_is_made_of_the_files_beside_it() -> None:
    code, out, _ = run("benchmark", "--check")
    assert code == 0, f"run `dicom-gateway-loadtest benchmark`: {out}"


def test_results_of_the_tree_name_no_place() -> None:
    for file in (Path(loadtest.__file__).parent / "results").glob("*.json"):
        text = file.read_text()
        assert "/tmp/" not in text, file.name
        assert "/home/" not in text, file.name
        assert "/root/" not in text, file.name


def test_every_run_is_in_the_tables(tmp_path: Path) -> None:
    first = comparison("it broke")
    page = benchmark.page(
        FRAME, ROWS, {"compare-1.json": first, "growth-1.json": growth({"intake": 100}, {"intake": 9})}
    )
    assert "\nold\n" not in page
    assert "| 8 associations, 512 KB | gateway | 200 | 100 to 300 | instances/s |  |  | 2 of 2 |" in page
    assert "| orthanc-tuned | 50.0 | 50.0 to 50.0 | instances/s | 2.00 \u00d7 | 2.00 to 2.00 | 1 of 2 |" in page
    assert "1 of 2 runs failed (it broke)" in page
    assert "2 cores of A processor, virtual, 8 GiB, ext4; Debian, Linux 6.1, Python 3.11" in page
    assert "- gateway: gateway 1.2 at abc1234" in page
    assert "(results/compare-1.json)" in page
    assert "9.00, 0.09 of the first" in page or "9.00, 0.090 of the first" in page
    assert all(f"`{name}`" in page for name in ROWS)
    assert benchmark.page(page, ROWS, {}).endswith("No run is recorded yet.\n\n<!-- end: results -->\n")


def test_a_page_without_a_place_for_a_table_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no place for its promises"):
        benchmark.page(FRAME.replace("made: promises", "made: nothing"), ROWS, {})


def test_the_command_makes_and_checks_the_page(tmp_path: Path) -> None:
    page, results = tmp_path / "PAGE.md", tmp_path / "results"
    page.write_text(FRAME)
    name = records.write(results, comparison(), []).name
    options = ("--page", page, "--results", results)
    assert run("benchmark", "--check", *options)[0] == 1
    assert page.read_text() == FRAME
    assert run("benchmark", *options)[0] == 0
    assert name in page.read_text()
    assert (results / name).with_suffix(".svg").read_text().startswith("<svg")
    assert run("benchmark", "--check", *options) == (0, "", "")
    (results / name).write_text((results / name).read_text().replace("300.0", "301.0"))
    assert run("benchmark", "--check", *options)[0] == 0  # Medians are kept in the file.


def test_a_comparison_leaves_a_file_for_the_page(tmp_path: Path) -> None:
    code, out, _ = run(
        *("compare", "--rows", "store-1", "--rounds", 1, "--scale", "0.01", "--peers", "gateway,sink"),
        *("--results", tmp_path / "results"),
    )
    assert code == 0, out
    ((name, found),) = records.read(tmp_path / "results").items()
    assert found.machine is not None
    text = (tmp_path / "results" / name).read_text()
    assert "loadtest-" not in text  # The folder of the servers.
    assert str(Path(loadtest.__file__).parents[1]) not in text
