"""The output of a result, and the exit code of the command."""

from __future__ import annotations

from pathlib import Path

import typer

from loadtest.cli import common
from loadtest.run import Result


def result(result: Result, html: Path | None, *, as_json: bool) -> None:
    """Print or write a result. Raises typer.Exit(1) when anything failed, is missing or differs."""
    from loadtest.report import html as pages
    from loadtest.report import text

    if html is not None:
        html.write_text(pages.run_page(result), "utf-8")
    if as_json:
        common.print_json(result)
    else:
        print(text.run_text(result))
        if html is not None:
            print(f"  report        {html}")
    if not result.good:
        raise typer.Exit(1)
