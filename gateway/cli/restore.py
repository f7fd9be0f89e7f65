"""`dicom-gateway restore`: restores a backup into an empty data folder. `admin/backup.py` does the work."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.common import (
    ConfigOption,
    DataOption,
    JsonOption,
    audited,
    count_stored,
    load_settings,
    print_json,
    print_line,
    progress_bar,
    show_lost,
    size,
)


def restore(
    source: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder written by `backup`.")],
    config_file: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Restore a backup into a data folder that is new or empty; then start the gateway on it."""
    settings = load_settings(config_file, data)

    from gateway.admin.backup import restore as run

    with audited(settings, "restore", folder=str(source)), progress_bar("instances", quiet=as_json) as progress:
        report = asyncio.run(run(source, settings.storage, progress=progress))
    if as_json:
        print_json(report)
    else:
        held = f"{count_stored(report.instances, report.attachments)}, {size(report.bytes)}"
        print_line(f"{settings.storage.path}: {held}, as of {report.made_at}")
        show_lost(report.lost)
    if report.lost:
        raise typer.Exit(1)
