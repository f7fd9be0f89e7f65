"""`dicom-gateway export`: stored studies as folders that people can browse. The work: `admin/export.py`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.common import (
    ConfigOption,
    DataOption,
    JsonOption,
    audited,
    complain,
    count,
    load_settings,
    print_json,
    print_line,
    progress_bar,
    size,
)
from gateway.cli.nodes import parse_keys

if TYPE_CHECKING:
    from gateway.admin.export import ExportReport


def export(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to, created if necessary.")],
    keys: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Studies that match: PatientName=DOE* StudyDate=20260101-."),
    ] = None,
    studies: Annotated[list[str] | None, typer.Option("--study", metavar="UID", help="A study; repeatable.")] = None,
    patients: Annotated[
        list[str] | None, typer.Option("--patient", metavar="ID", help="All studies of a Patient ID; repeatable.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All studies.")] = False,
    name: Annotated[
        str, typer.Option("--name", metavar="TEMPLATE", help="The path of a file, with keywords in braces.")
    ] = "",
    config_file: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write stored studies as DICOM files, in folders by patient, study and series. A gateway may go on meanwhile.

    Files appear whole or not at all; one that exists is never replaced: a further one of that name is called NAME~2. An
    export that was broken off goes on when it is run again. Exit code 1 if there was no study, or a file is missing.
    """
    ways = [parse_keys(keys)] if keys else []
    ways += [parse_keys([f"StudyInstanceUID={uid}"]) for uid in studies or []]
    ways += [parse_keys([f"PatientID={patient}"]) for patient in patients or []]
    if bool(ways) is everything:
        complain("say what to export: KEY=VALUE, --study UID, --patient ID; or --all, without these")
        raise typer.Exit(2)
    settings = load_settings(config_file, data)

    import uvloop

    from gateway.admin.export import NAME
    from gateway.admin.export import export as run

    with (
        audited(settings, "export", folder=str(folder)) as detail,
        progress_bar("studies", quiet=as_json) as progress,
    ):
        report = uvloop.run(run(settings, folder, ways or [{}], name=name or NAME, progress=progress))
        detail.update(studies=report.studies, files=report.written)
    if as_json:
        print_json(report)
    else:
        _show(folder, report)
    if report.refused or not report.studies:
        raise typer.Exit(1)


def _show(folder: Path, report: ExportReport) -> None:
    present = f", {count(report.present, 'file')} there already" if report.present else ""
    print_line(
        f"{folder}: {count(report.studies, 'study', 'studies')}, {count(report.written, 'file')} written, "
        f"{size(report.bytes)}{present}"
    )
    for uid, why in report.refused:
        complain(f"{uid}: {why}")
