"""`dicom-gateway storage`: lists, checks and extracts what segments of a store hold, without an index; and moves what
is in files of its own into segments. The work: `storage/segments/inspection.py`, `admin/repack.py`."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

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
from gateway.errors import StorageError

if TYPE_CHECKING:
    from gateway.storage.segments.inspection import SegmentFile

Result = TypeVar("Result")

app = typer.Typer(no_args_is_help=True, help="Segments: list, check and extract what is stored in them.")

SegmentsArgument = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[SEGMENT]...", help="Files of the folder `segments`; by default all of the data folder."),
]


@app.command("list")
def list_(
    segments: SegmentsArgument = None,
    config_file: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the objects in segments: key, size, when it was written, and where it came from."""
    found = _segments(segments, config_file, data)
    items = _reading(lambda: [item for segment in found for item in segment.items()])
    if as_json:
        print_json(items)
        return
    for item in items:
        written = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(item.written_at))
        print_line(f"{item.key}  {item.size:>12,}  {written} UTC  {item.notes}")


@app.command()
def check(
    segments: SegmentsArgument = None,
    config_file: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the checksum of everything in segments. Exit code 1 if anything is damaged. A gateway may go on."""
    from gateway.storage.segments.inspection import check_all

    found = _segments(segments, config_file, data)
    with progress_bar("segments", quiet=as_json) as progress:
        report = _reading(lambda: check_all(found, progress))
    if as_json:
        print_json(dataclasses.asdict(report))
    else:
        erased = f", {report.erased:,} erased" if report.erased else ""
        whole = f"{count(report.objects, 'object')} whole, {size(report.bytes)}{erased}"
        print_line(f"{count(len(found), 'segment')}: {whole}")
        for place in report.damaged:
            complain(f"damaged: {place}")
    if report.damaged:
        raise typer.Exit(1)


@app.command()
def extract(
    segment: Annotated[Path, typer.Argument(metavar="SEGMENT", help="A file of the folder `segments`.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the files are written, as `<key>.dcm`.")],
    key: Annotated[str, typer.Option("--key", help="Extract this object alone.")] = "",
) -> None:
    """Write the objects of a segment as DICOM files. Existing files are never overwritten."""
    from gateway.storage.naming import private
    from gateway.storage.segments.inspection import SegmentFile

    def run() -> int:
        folder.mkdir(parents=True, exist_ok=True)
        return SegmentFile(segment).extract(lambda own: open(folder / f"{own}.dcm", "xb", opener=private), key)

    print_line(f"{folder}: {count(_reading(run), 'file')}")


@app.command()
def repack(config_file: ConfigOption = None, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Move small instances that are files of their own, as earlier releases stored all, into segments.

    A gateway may go on meanwhile. It may be stopped at any time, and run again.
    """
    settings = load_settings(config_file, data)

    from gateway.admin.repack import repack as run

    with audited(settings, "repack"), progress_bar("instances", quiet=as_json) as progress:
        report = asyncio.run(run(settings.storage, settings.database.url, progress=progress))
    if as_json:
        print_json(dataclasses.asdict(report))
    else:
        missing = f", {count(report.missing, 'file')} missing" if report.missing else ""
        print_line(f"{count(report.moved, 'instance')} moved, {size(report.bytes)}{missing}")


def _segments(paths: list[Path] | None, config_file: Path | None, data: Path | None) -> list[SegmentFile]:
    from gateway.storage.segments.inspection import SegmentFile, segments_of

    if paths:
        return [SegmentFile(path) for path in paths]
    folder = Path(load_settings(config_file, data).storage.path)
    if not folder.is_dir():
        raise StorageError(f"{folder}: there is no data folder here; name one with --data")
    return _reading(lambda: segments_of(folder))


def _reading(work: Callable[[], Result]) -> Result:
    """Do what reads files. Raises: StorageError in place of an OSError."""
    try:
        return work()
    except OSError as error:
        raise StorageError(f"{error.filename or 'a segment'}: {error.strerror}") from None
