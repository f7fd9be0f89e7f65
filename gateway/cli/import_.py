"""`dicom-gateway import`: files, folders and zip archives into the data folder, whether or not a gateway runs on it."""

from __future__ import annotations

import sys
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
)


def import_(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files, folders and zip archives.")],
    config_file: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take in DICOM files as if they had been sent. What is not DICOM is named and passed over.

    Exit code 1 when something that is DICOM was not taken in, or nothing was found at all.
    """
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        sys.stderr.write(f"dicom-gateway: there is no {', '.join(missing)}\n")
        raise typer.Exit(2)
    settings = load_settings(config_file, data)

    import uvloop

    from gateway.archive.importing import ImportReport, import_paths

    with progress_bar("importing", quiet=as_json) as progress:

        def show(report: ImportReport) -> None:
            progress(sum(report.outcomes.values()) + report.skipped + len(report.refused), None)

        report = uvloop.run(import_paths(settings.storage, paths, show))
    taken = sum(report.outcomes.values())
    if as_json:
        refused = [{"file": name, "reason": reason} for name, reason in report.refused]
        print_json({"outcomes": report.outcomes, "skipped": report.skipped, "refused": refused})
    else:
        for name, reason in report.refused:
            sys.stderr.write(f"dicom-gateway: {name}: {reason}\n")
        ways = ", ".join(f"{number:,} {outcome}" for outcome, number in sorted(report.outcomes.items()))
        print_line(
            f"{settings.storage.path}: {count(taken, 'instance')}{f' ({ways})' if ways else ''}, "
            f"{len(report.refused):,} refused, {report.skipped:,} not DICOM"
        )
    if report.refused or not taken:
        raise typer.Exit(1)
