"""`dicom-gateway restore`: a backup into an empty data folder. The work: `archive/backup.py`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.common import (
    ConfigOption,
    DataOption,
    JsonOption,
    count,
    load_settings,
    print_json,
    print_line,
    progress_bar,
    show_lost,
    size,
)


def restore(
    source: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `backup` made.")],
    config_file: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring back a backup into a data folder that is new or empty; then start the gateway on it."""
    settings = load_settings(config_file, data)

    from gateway.archive.backup import restore as run

    with progress_bar("instances", quiet=as_json) as progress:
        report = asyncio.run(run(source, settings.storage, progress=progress))
    if as_json:
        print_json(report)
    else:
        held = f"{count(report.instances, 'instance')}, {size(report.bytes)}"
        print_line(f"{settings.storage.path}: {held}, as of {report.made_at}")
        show_lost(report.lost)
    if report.lost:
        raise typer.Exit(1)
