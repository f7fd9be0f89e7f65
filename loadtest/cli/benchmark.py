"""`benchmark`: makes the tables of the page of results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_HERE = Path(__file__).parents[1]


def command(
    page: Annotated[Path, typer.Option(help="The page.", dir_okay=False)] = _HERE / "BENCHMARK.md",
    results: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder with the results that it shows.", file_okay=False)
    ] = _HERE / "results",
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 where something differs.")
    ] = False,
) -> None:
    """Make the tables and plots of BENCHMARK.md from what `compare --results` and `growth --results` have written."""
    from loadtest import records
    from loadtest.compare.rows import ROWS
    from loadtest.report import benchmark

    found = records.read(results)
    before = page.read_text("utf-8")
    wanted = {page: benchmark.page(before, ROWS, found)}
    wanted |= {results / name: plot for name, plot in benchmark.plots(found).items()}
    different = [file for file, text in wanted.items() if not file.is_file() or file.read_text("utf-8") != text]
    if not check:
        for file in different:
            file.write_text(wanted[file], "utf-8")
    for file in different:
        print(f"{'differs' if check else 'made'}: {file.name}")
    if check and different:
        raise typer.Exit(1)
