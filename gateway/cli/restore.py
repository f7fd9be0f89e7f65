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

    target = Path(settings.storage.path)
    with progress_bar("instances", quiet=as_json) as progress:
        report = asyncio.run(run(source, target, progress=progress))
    if as_json:
        print_json(report)
        return
    print_line(f"{target}: {count(report.instances, 'instance')}, {size(report.bytes)}, as of {report.made_at}")
