"""`growth`: measures a server as it fills."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loadtest.cli import common


def command(
    steps: Annotated[
        str, typer.Option(help="Numbers of instances at which to measure, separated by commas, rising.")
    ] = "0,200000,1000000",
    server: Annotated[
        str, typer.Option(help="Server to start: gateway, orthanc, orthanc-tuned, orthanc-postgresql-tuned, …")
    ] = "gateway",
    count: Annotated[int, typer.Option(min=8, help="Instances stored for one measurement.")] = 4000,
    folder: Annotated[
        Path | None, typer.Option(help="Folder for the server's data, on the disk to measure.", file_okay=False)
    ] = None,
    html: common.HtmlOption = None,
    results: common.ResultsOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Fill a server by C-STORE and measure intake, QIDO-RS, C-FIND and metadata at each step.

    A million instances take some 6 GB and as many inodes.
    """
    from loadtest import peers, records
    from loadtest.compare.growth import grow
    from loadtest.live import bar
    from loadtest.report import html as pages
    from loadtest.report import text
    from loadtest.run import open_files_to_the_limit

    known = [name for name in peers.PEERS if name.partition("-")[0] in ("gateway", "orthanc")]
    (name,) = common.listed(server, known, "--server")[:1]
    wanted = _steps(steps)
    open_files_to_the_limit()
    with (
        common.room(folder) as place,
        bar("instances") as progress,
        peers.PEERS[name](place / name, peers.ALONE) as peer,
    ):
        found = grow(peer, wanted, count, progress)
    if results is not None:
        records.write(results, found, [place])
    if html is not None:
        html.write_text(pages.growth_page(found), "utf-8")
    if as_json:
        common.print_json(found)
    else:
        print(text.growth_text(found))
        if html is not None:
            print(f"report: {html}")
    if found.troubles:
        raise typer.Exit(1)


def _steps(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts) or sorted(set(map(int, parts))) != [
        *map(int, parts)
    ]:
        raise typer.BadParameter("rising numbers separated by commas: 0,200000,1000000", param_hint="--steps")
    return [int(part) for part in parts]
