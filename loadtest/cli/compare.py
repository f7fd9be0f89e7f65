"""`compare`: compares servers on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loadtest.cli import common

if TYPE_CHECKING:
    from loadtest.peers import Start

_PEERS = "gateway,orthanc,orthanc-tuned,orthanc-postgresql-tuned,storescp,storescp-tuned,dcmqrscp-tuned,pynetdicom,sink"


def command(
    rows: Annotated[
        str,
        typer.Option(help="Rows to measure, separated by commas: names, or table, quick, memory, all. See --list."),
    ] = "table",
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each row for each server.")] = 3,
    scale: Annotated[float, typer.Option(min=0.0001, help="Multiplies the amount of work of a run.")] = 1.0,
    peers: Annotated[
        str, typer.Option(help="Servers to start, separated by commas; the sink shows what the sender itself can do.")
    ] = _PEERS,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="CHECKOUT", help="Compare with the gateway of this checkout too, as other-build.", file_okay=False
        ),
    ] = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=HOST:PORT,AET[,URL]",
            help="Compare with a server that runs already, by its address and the URL of its DICOMweb service if it "
            "has one; may be given several times. The instances stay there.",
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="Folder for the servers' data, on the disk to measure.", file_okay=False),
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="List the rows and the servers instead.")] = False,
    html: common.HtmlOption = None,
    markdown: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a table of the goals to this file, as Markdown.", dir_okay=False),
    ] = None,
    svg: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a plot of the ratios to this file.", dir_okay=False)
    ] = None,
    results: common.ResultsOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Give the gateway and other servers the same work in turn; print figures, ratios, and goals held or missed.

    "-tuned" is an installed server with TCP_NODELAY=1 added (for DCMTK's clients: on both sides).
    """
    from loadtest import records
    from loadtest.compare import rounds as turns
    from loadtest.compare.rows import GROUPS, ROWS
    from loadtest.live import bar
    from loadtest.peers import OTHER_BUILD, PEERS, other_build
    from loadtest.report import html as pages
    from loadtest.report import summary, text

    if show:
        width = max(map(len, ROWS))
        for name, row in ROWS.items():
            print(f"{name:<{width}}  {row.title}")
        print(f"\nservers: {', '.join(PEERS)}")
        return
    chosen: dict[str, None] = {}
    for name in common.listed(rows, [*ROWS, *GROUPS], "--rows"):
        chosen |= dict.fromkeys(GROUPS.get(name, (name,)))
    # The other build comes first, and so next to this one: what happens between two runs is in their ratio.
    servers = {OTHER_BUILD: other_build(against)} if against is not None else {}
    servers |= {name: PEERS[name] for name in common.listed(peers, PEERS, "--peers")}
    servers |= _by_address(peer or [])
    with common.room(folder) as place, bar("runs") as progress:
        comparison = turns.compare([ROWS[name] for name in chosen], servers, rounds, scale, place, progress)
    if results is not None:
        checkouts = [against, against.resolve()] if against is not None else []
        records.write(results, comparison, [place, *checkouts, *_places(peer or [])])
    if html is not None:
        html.write_text(pages.comparison_page(comparison), "utf-8")
    if markdown is not None:
        markdown.write_text(summary.markdown(comparison), "utf-8")
    if svg is not None:
        svg.write_text(summary.svg(comparison), "utf-8")
    if as_json:
        common.print_json(comparison)
    else:
        print(text.comparison_text(comparison))
        if html is not None:
            print(f"report: {html}")
    if not comparison.complete:
        raise typer.Exit(1)


def _by_address(texts: list[str]) -> dict[str, Start]:
    """The servers of `--peer`, by name."""
    from loadtest.peers import OTHER_BUILD, PEERS, by_address

    found: dict[str, Start] = {}
    for text in texts:
        try:
            name, start = by_address(text)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--peer") from None
        if name in (*PEERS, OTHER_BUILD, *found):
            raise typer.BadParameter(f"{name} is the name of another server", param_hint="--peer")
        found[name] = start
    return found


def _places(texts: list[str]) -> Iterator[str]:
    """The hosts and addresses in the values of `--peer`, which no result may name."""
    for text in texts:
        node, *rest = text.partition("=")[2].split(",")
        yield from (node, node.rpartition(":")[0], *rest[1:])
