"""`sink`: a server that answers at once, to measure what the network allows."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from loadtest.cli import common


def command(
    host: Annotated[str, typer.Argument()] = "127.0.0.1",
    port: Annotated[int, typer.Argument(min=0, max=65535, help="DICOM port; 0 for any.")] = 11112,
    web_port: Annotated[int, typer.Option(min=0, max=65535, help="DICOMweb port; 0 for any.")] = 8080,
) -> None:
    """Accept everything, answer at once, store nothing, until Ctrl-C."""
    from loadtest import run, sink

    run.open_files_to_the_limit()
    with contextlib.suppress(KeyboardInterrupt):
        common.on_loop(sink.serve(host, port, web_port))
