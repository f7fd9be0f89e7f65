"""`dicom-gateway migrate`: brings everything from another archive, and proves that it is here."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli import crawls
from gateway.cli.common import (
    ConfigOption,
    CreateOption,
    DataOption,
    JsonOption,
    Progress,
    audited,
    complain,
    count,
    load_settings,
    need_archive,
    print_json,
    print_line,
    progress_bar,
    size,
)
from gateway.cli.translated import show_fates, show_start, with_main_tags, write_translation
from gateway.errors import ConfigurationError

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.migration.orthanc_index import Contents
    from gateway.migration.orthanc_migration import MigrationReport, OrthancSource
    from gateway.migration.translation import Translation

_FIRST_OF_USERS: Final = 1024
"""Numbers of attachments from here on are the user's; those below are Orthanc's own, made of the files."""
_INTERRUPTED: Final = 130
"""The exit code after an interrupt, as shells have it."""
_LINE_EVERY_S: Final = 60.0
"""Seconds between two lines of progress in a log."""
app = typer.Typer(no_args_is_help=True, help="Bring everything from another archive, and prove that it is here.")


@app.command("orthanc")
def orthanc(
    configuration: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="Orthanc's configuration: a file, or the folder of several.")
    ],
    toml: Annotated[
        Path | None, typer.Option("--toml", metavar="FILE", help="Write its settings, translated, to this new file.")
    ] = None,
    settings_only: Annotated[bool, typer.Option("--settings-only", help="Translate the settings only.")] = False,
    storage: Annotated[
        Path | None,
        typer.Option("--storage", metavar="DIR", help="Its storage area, where it is not what CONFIG says."),
    ] = None,
    index: Annotated[
        Path | None, typer.Option("--index", metavar="DIR", help="The folder of its index, where that is elsewhere.")
    ] = None,
    rate: crawls.RateOption = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be brought, and bring nothing.")] = False,
    config_file: ConfigOption = None,
    data: DataOption = None,
    create: CreateOption = False,
    as_json: JsonOption = False,
) -> None:
    """Bring an Orthanc: settings, instances, metadata, labels, protection, attachments. It may run meanwhile.

    What was broken off goes on when it is started again; nothing is brought twice. In the end everything is compared,
    every object by the MD5 that Orthanc recorded. Exit code 1 if anything is missing or differs.
    """
    from gateway.migration.orthanc_json import read_configuration
    from gateway.migration.orthanc_settings import translate

    unset: dict[str, list[str]] = {}
    with _reading():
        if not configuration.exists():
            complain(f"there is no {configuration}")
            raise typer.Exit(2)
        read = read_configuration(configuration, os.environ, unset)
        base = (configuration if configuration.is_dir() else configuration.parent).absolute()
        translation = translate(read, str(base), unset=unset)
        source = None if settings_only else _source(read, translation, base, storage, index)
    if source is not None and (read.get("DicomModalitiesInDatabase") or read.get("OrthancPeersInDatabase")):
        translation = translate({**read, **_systems(source)}, str(base), unset=unset)
    if data is not None:
        translation.put("storage.path", str(data.absolute()))
    result: dict[str, Any] = {"settings": show_fates(translation, whole=settings_only, quiet=as_json)}
    written = toml is not None and write_translation(translation, toml)
    clean, settings = True, None
    if source is not None and dry_run:
        with _reading():
            result["contents"] = show_contents(source, quiet=as_json)
    elif source is not None:
        settings = load_settings(config_file, data)
        if config_file is None:
            settings = with_main_tags(settings, translation)
        with audited(settings, "import", source=str(configuration)):
            report = _migrated(source, settings, rate, create=create, quiet=as_json)
        result["report"] = show_report(report, quiet=as_json)
        clean = report.proof is not None and report.proof.is_clean
    if as_json:
        print_json(result)
    if toml is not None:
        show_start(toml, settings, written=written, dry_run=dry_run, quiet=as_json)
    if not clean:
        raise typer.Exit(1)


@contextmanager
def _reading() -> Iterator[None]:
    """Say what to do where a file or a folder of Orthanc's may not be read. Raises ConfigurationError."""
    from gateway.migration.refusals import reason_of

    try:
        yield
    except PermissionError as error:
        raise ConfigurationError(f"{error.filename}: it cannot be read: {reason_of(error)}") from None


def _migrated(source: OrthancSource, settings: Settings, rate: int, *, create: bool, quiet: bool) -> MigrationReport:
    import uvloop

    from gateway.migration.orthanc_migration import migrate_orthanc

    need_archive(settings.storage, create)
    with phases(quiet=quiet) as show:
        return uvloop.run(migrate_orthanc(settings.storage, source, url=settings.database.url, rate=rate, show=show))


@contextmanager
def phases(*, quiet: bool) -> Iterator[Any]:
    """Show one progress bar after another, one for each thing that is done; a line now and then without a terminal.

    An interrupt ends the command with 130, and a line that says how to go on."""
    bars = ExitStack()
    bar: Progress = lambda done, total: None  # noqa: E731
    current = ""
    said = time.monotonic()

    def show(what: str, done: int, total: int) -> None:
        nonlocal bar, current, said
        if what != current:
            bars.close()
            bar, current = bars.enter_context(progress_bar(what, quiet=quiet)), what
        bar(done, total or None)
        if not quiet and not sys.stderr.isatty() and time.monotonic() - said > _LINE_EVERY_S:
            said = time.monotonic()
            complain(f"{what}: {done:,}{f' of {total:,}' if total else ''}")

    try:
        with bars:
            yield show
    except KeyboardInterrupt:
        complain("broken off; the same command goes on where it was")
        raise typer.Exit(_INTERRUPTED) from None


_dicom, _dicomweb = crawls.commands(phases)
app.command("dicom")(_dicom)
app.command("dicomweb")(_dicomweb)


def _source(
    read: dict[str, Any], translation: Translation, base: Path, storage: Path | None, index: Path | None
) -> OrthancSource:
    """Where Orthanc has index and files. Raises ConfigurationError where these cannot be read."""
    from gateway.migration.orthanc_migration import OrthancSource
    from gateway.migration.storage_area import StorageArea

    folder = storage or base / str(read.get("StorageDirectory", "OrthancStorage"))
    postgres = read.get("PostgreSQL")
    if not isinstance(postgres, dict) or index is not None:
        postgres = {}
    if postgres.get("EnableStorage") is True:
        raise ConfigurationError(
            "PostgreSQL.EnableStorage: Orthanc's files are in the database; bring them from the running Orthanc by "
            "`migrate dicomweb`"
        )
    if not folder.is_dir():
        raise ConfigurationError(
            f"{folder}: there is no storage area here; name it with --storage, or translate the settings alone with "
            "--settings-only"
        )
    at = index or (base / str(read["IndexDirectory"]) if "IndexDirectory" in read and storage is None else folder)
    in_postgres = postgres.get("EnableIndex") is True
    if not in_postgres and not (at / "index").is_file():
        raise ConfigurationError(f"{at}: there is no index of Orthanc here; name its folder with --index")
    return OrthancSource(
        StorageArea(folder.absolute()),
        at.absolute() / "index",
        postgres if in_postgres else None,
        translation.metadata_names,
        translation.attachment_names,
    )


def _systems(source: OrthancSource) -> dict[str, Any]:
    """Modalities and peers that were added over REST, from the index."""
    with _copied(source) as index:
        found: dict[str, Any] = index.systems()
    return found


@contextmanager
def _copied(source: OrthancSource) -> Iterator[Any]:
    """A copy of the index for a moment, outside of the data folder."""
    import asyncio
    import tempfile
    from contextlib import closing

    from gateway.migration.orthanc_index import OrthancIndex

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "index"
        asyncio.run(source.copy(copy))
        with closing(OrthancIndex(copy)) as index:
            yield index


def show_contents(source: OrthancSource, *, quiet: bool) -> dict[str, Any]:
    """Print what would be brought, and how many files are missing; the same as JSON."""
    with _copied(source) as index:
        contents: Contents = index.contents()
        annotated, missing, after = 0, 0, 0
        while page := index.annotated(after):
            annotated, after = annotated + len(page), page[-1].row
        after = 0
        while instances := index.instances(after):
            after = instances[-1].row
            missing += sum(each.file is None or not source.storage.path(each.file).is_file() for each in instances)
    if not quiet:
        levels = ", ".join(f"{level}: {number:,}" for level, number in contents.levels.items())
        print_line(f"{levels}; {size(contents.size)}, {size(contents.stored_size)} of them in the storage area")
        print_line(f"{count(annotated, 'resource')} with metadata, labels or protection")
        print_line(f"{count(missing, 'file')} missing in the storage area")
        _show_others(contents)
    return {
        "levels": dict(contents.levels),
        "bytes": contents.size,
        "annotated": annotated,
        "missing_files": missing,
        "other_attachments": {str(kind): number for kind, (number, _size) in contents.others.items()},
    }


def _show_others(contents: Contents) -> None:
    for kind, (number, total) in sorted(contents.others.items()):
        if kind >= _FIRST_OF_USERS:
            print_line(f"{count(number, 'attachment')} of the user's type {kind}, {size(total)}")


def show_report(report: MigrationReport, *, quiet: bool) -> dict[str, Any]:
    """Print what was brought, and the proof; the same as JSON."""
    proof, contents = report.proof, report.contents
    assert proof is not None
    assert contents is not None
    if not quiet:
        for problem in proof.problems:
            complain(problem)
        if proof.problem_count > len(proof.problems):
            complain(f"{proof.problem_count - len(proof.problems):,} further problems")
        for name in report.refused_metadata:
            complain(f"{name}: there is no room for it here")
        ways = ", ".join(f"{number:,} {outcome}" for outcome, number in sorted(report.outcomes.items()))
        print_line(
            f"brought in this run: {count(report.outcomes.total(), 'instance')}{f' ({ways})' if ways else ''}, "
            f"metadata of {count(report.annotated, 'resource')}, {count(report.attached, 'attachment')}; "
            f"{report.failed:,} failed"
        )
        for level, there in proof.there.items():
            merged = proof.merged[level]
            print_line(
                f"{level}: {there:,} there, {proof.here[level]:,} here"
                f"{f', of these {merged:,} merged with another' if merged else ''}"
            )
        missing = "" if proof.is_clean else f"NOT all proved: {count(proof.problem_count, 'problem')}; "
        print_line(
            f"{missing}proved: {count(proof.proved, 'instance')} by the MD5 of Orthanc"
            f"{f' ({proof.renamed:,} of them under another identifier)' if proof.renamed else ''}, "
            f"metadata of {count(proof.annotated, 'resource')}, {count(proof.attached, 'attachment')}"
        )
    return {
        "outcomes": dict(report.outcomes),
        "failed": report.failed,
        "annotated": report.annotated,
        "attached": report.attached,
        "refused_metadata": report.refused_metadata,
        "passes": report.passes,
        "there": proof.there,
        "here": proof.here,
        "proved": proof.proved,
        "proved_annotations": proof.annotated,
        "proved_attachments": proof.attached,
        "renamed": proof.renamed,
        "merged": proof.merged,
        "problems": proof.problems,
        "problem_count": proof.problem_count,
        "clean": proof.is_clean,
    }
