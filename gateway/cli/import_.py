"""`dicom-gateway import`: stores files, folders and zip archives, whether or not a gateway uses the data folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from gateway.cli.common import (
    ConfigOption,
    CreateOption,
    DataOption,
    JsonOption,
    audited,
    complain,
    count,
    load_settings,
    need_archive,
    print_json,
    print_line,
    progress_bar,
)

_MAX_NAMED: Final = 20
"""Paths that the audit log names."""


def import_(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files, folders and zip archives.")],
    config_file: ConfigOption = None,
    data: DataOption = None,
    create: CreateOption = False,
    as_json: JsonOption = False,
) -> None:
    """Store DICOM files as if they had been sent. Other files are counted and skipped.

    Exit code 1 if a DICOM file was not stored, or no file was found at all.
    """
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        complain(f"there is no {', '.join(missing)}")
        raise typer.Exit(2)
    settings = load_settings(config_file, data)
    need_archive(settings.storage, create)

    import uvloop

    from gateway.ingest.file_import import ImportReport, import_paths

    with (
        audited(settings, "import", paths=[str(path) for path in paths][:_MAX_NAMED]) as detail,
        progress_bar("importing", quiet=as_json) as progress,
    ):

        def show(report: ImportReport) -> None:
            progress(sum(report.outcomes.values()) + report.skipped + len(report.refused), None)

        report = uvloop.run(import_paths(settings.storage, paths, show, url=settings.database.url))
        detail.update(report.outcomes, refused=len(report.refused))
    taken = sum(report.outcomes.values())
    if as_json:
        refused = [{"file": name, "reason": reason} for name, reason in report.refused]
        incomplete = [{"file": name, "lacking": lacking} for name, lacking in report.incomplete]
        print_json(
            {
                "outcomes": report.outcomes,
                "skipped": report.skipped,
                "refused": refused,
                "incomplete": incomplete,
            }
        )
    else:
        for name, reason in report.refused:
            complain(f"{name}: {reason}")
        for name, lacking in report.incomplete:
            complain(f"{name}: stored, but incomplete: {lacking}")
        ways = ", ".join(f"{number:,} {outcome}" for outcome, number in sorted(report.outcomes.items()))
        print_line(
            f"{settings.storage.path}: {count(taken, 'instance')}{f' ({ways})' if ways else ''}, "
            f"{len(report.refused):,} refused, {report.skipped:,} not DICOM"
            f"{f', {len(report.incomplete):,} incomplete' if report.incomplete else ''}"
        )
    if report.refused or not taken:
        raise typer.Exit(1)
