"""`dicom-gateway backup`: a consistent copy of the data, while the gateway runs. The work: `admin/backup.py`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from gateway.admin.backup import Report


def backup(
    target: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new or empty folder.")],
    config_file: ConfigOption = None,
    data: DataOption = None,
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy the instances even where hard links are possible (same file system).")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Copy index and instances to FOLDER; the gateway may continue to receive meanwhile.

    On the file system of the data, instances become hard links: fast, but no protection against a broken disk.
    """
    settings = load_settings(config_file, data)

    from gateway.admin.backup import backup as run

    with audited(settings, "backup", folder=str(target)), progress_bar("instances", quiet=as_json) as progress:
        report = asyncio.run(run(settings.storage, target, settings.database.url, copy=copy, progress=progress))
    if as_json:
        print_json(report)
    else:
        _show(target, report)
    if report.lost:
        raise typer.Exit(1)


def _show(target: Path, report: Report) -> None:
    how = f"{report.linked:,} linked, {report.copied:,} copied"
    print_line(f"{target}: {count_stored(report.instances, report.attachments)}, {size(report.bytes)} ({how})")
    show_lost(report.lost)
    if report.linked:
        print_line("Linked instances share the disk with the originals: copy the folder elsewhere, or use --copy.")
