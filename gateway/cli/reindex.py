"""`dicom-gateway reindex`: rebuilds the index from the files of the store. `admin/reindex.py` does the work."""

from __future__ import annotations

import asyncio
from pathlib import Path

import typer

from gateway.cli.common import (
    ConfigOption,
    DataOption,
    JsonOption,
    audited,
    complain,
    count,
    count_stored,
    load_settings,
    print_json,
    print_line,
    progress_bar,
)
from gateway.errors import ConfigurationError


def reindex(config_file: ConfigOption = None, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Read every stored file again and rebuild what the index derives from them. Entries that users made stay.

    Stop the gateway first. The new index is built beside the old one and replaces it at the end: an interrupted run
    changes nothing. Exit code 1 if a file could not be read; it is listed and stays in place.
    """
    settings = load_settings(config_file, data)
    if not Path(settings.storage.path).is_dir():
        raise ConfigurationError(f"{settings.storage.path}: there is no data folder here; name one with --data")

    from gateway.admin.reindex import reindex as run

    with audited(settings, "reindex") as detail, progress_bar("files", quiet=as_json) as progress:
        report = asyncio.run(run(settings.storage, settings.database.url, progress=progress))
        detail.update(instances=report.instances, unreadable=len(report.unreadable))
    if as_json:
        print_json(report)
    else:
        for path, reason in report.unreadable:
            complain(f"{path}: {reason}")
        for path in report.strays:
            complain(f"{path}: not a file of the gateway, ignored")
        older = f", {count(report.superseded, 'older version')} left out" if report.superseded else ""
        held = count_stored(report.instances, report.attachments)
        print_line(f"{settings.storage.path}: {held} indexed{older}")
    if report.unreadable:
        raise typer.Exit(1)
