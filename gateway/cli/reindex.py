"""`dicom-gateway reindex`: make the index anew from the files of the store. The work: `archive/reindex.py`."""

from __future__ import annotations

import asyncio
import sys

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
)


def reindex(config_file: ConfigOption = None, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Read every stored file again and rebuild what the index derives from them. What people made stays.

    Stop the gateway first. Exit code 1 when a file could not be read; it is named and left where it is.
    """
    settings = load_settings(config_file, data)

    from gateway.archive.reindex import reindex as run

    with progress_bar("files", quiet=as_json) as progress:
        report = asyncio.run(run(settings.storage, progress=progress))
    if as_json:
        print_json(report)
    else:
        for path, reason in report.unreadable:
            sys.stderr.write(f"dicom-gateway: {path}: {reason}\n")
        older = f", {count(report.superseded, 'older version')} left out" if report.superseded else ""
        print_line(f"{settings.storage.path}: {count(report.instances, 'instance')} indexed{older}")
    if report.unreadable:
        raise typer.Exit(1)
