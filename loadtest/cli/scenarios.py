"""`scenarios`: lists the scenarios that are included."""

from __future__ import annotations

from typing import Annotated

import typer

from loadtest.cli import common


def command(
    show: Annotated[str, typer.Argument(metavar="[NAME]", help="Print this one, as a start for your own.")] = "",
    as_json: common.JsonOption = False,
) -> None:
    """List the scenarios that `run` knows by name, or print one."""
    from loadtest import scenario

    if show:
        print(scenario.text_of(show), end="")
        return
    found = dict(scenario.shipped())
    if as_json:
        common.print_json({name: {"title": one.title, "about": one.about} for name, one in found.items()})
        return
    width = max(map(len, found))
    for name, one in found.items():
        print(f"{name:<{width}}  {one.about}")
