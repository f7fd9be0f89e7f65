"""`dicom-gateway echo`: tests whether a DICOM node answers (C-ECHO, PS3.4 A)."""

from __future__ import annotations

import time

import typer

from gateway.cli.common import JsonOption, print_json, print_line
from gateway.cli.nodes import (
    Calling,
    NodeArgument,
    calls_a_node,
    node_of,
)


@calls_a_node(timeout_s=10.0)
def echo(
    node: NodeArgument,
    calling: Calling,
    as_json: JsonOption = False,
) -> None:
    """Open an association, send C-ECHO, release it. Exit code 1, with the reason, if that fails."""
    _, called = node_of(node, calling)

    import uvloop

    from gateway.dimse.status import describe
    from gateway.scu.echo import echo as ask

    began = time.monotonic()
    result = uvloop.run(ask(called))
    seconds = time.monotonic() - began
    if as_json:
        print_json(
            {
                "host": called.host,
                "port": called.port,
                "called_aet": called.aet,
                "status": f"{result:04X}",
                "seconds": round(seconds, 4),
            }
        )
    else:
        answer = "answers" if result == 0 else f"answers with {describe(result)}"
        print_line(f"{called} {answer}, in {seconds * 1000:.0f} ms")
    if result != 0:
        raise typer.Exit(1)
