"""`dicom-gateway anonymize`: files without what identifies a patient; and `reidentify`, which brings back what was
sealed in them.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from gateway.config import Storage
    from gateway.dicom.source import Read
    from gateway.edit.change_set import ChangeSet
    from gateway.edit.edited import Edited
    from gateway.index.locate import Located
    from gateway.storage.store import Store

_PIECE = 1 << 20


def anonymize(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="[PATH]...", help="Files, folders and zip archives.")
    ] = None,
    *,
    changes: Annotated[str, typer.Option("--changes", metavar="NAME", help="The set of [changes] to apply.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Folder for the new files, made when needed.")
    ] = None,
    studies: Annotated[
        list[str] | None, typer.Option("--study", metavar="UID", help="A study of the data folder; repeatable.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing; show what would become of what.")] = False,
    config_file: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """De-identify DICOM files, or stored studies, by PS3.15 Annex E, as a set of [changes] says. The originals stay.

    A new file is named by its SOP Instance UID, and is there whole or not at all. What may not pass is named with the
    reason, and makes the exit code 1.
    """
    paths, studies = paths or [], studies or []
    missing = [str(path) for path in paths if not path.exists()]
    wrong = ""
    if missing:
        wrong = f"there is no {', '.join(missing)}"
    elif (output is None) is not dry_run:
        wrong = "give --output DIR or --dry-run, not both"
    elif not paths and not studies:
        wrong = "name files or folders, or studies by --study UID"
    if wrong:
        sys.stderr.write(f"dicom-gateway: {wrong}\n")
        raise typer.Exit(2)
    settings = load_settings(config_file, data)
    from gateway.edit.change_set import ChangeSet
    from gateway.errors import ConfigurationError

    if changes not in settings.changes:
        raise ConfigurationError(f"there is no [changes.{changes}] in the configuration")
    if settings.changes[changes].deidentify is None:
        raise ConfigurationError(f"changes.{changes}: does not de-identify; add [changes.{changes}.deidentify]")
    work = _Work(ChangeSet.build(changes, settings.changes[changes]), output, as_json)
    with progress_bar("de-identifying", quiet=as_json or dry_run) as progress:
        for number, _source in enumerate(work.run(paths), 1):
            progress(number, None)
        if studies:
            import uvloop

            uvloop.run(work.stored(settings.storage, studies))
    work.show(str(output) if output is not None else "dry run")
    if work.refused or not work.done:
        raise typer.Exit(1)


class _Work:
    """What became of the files."""

    def __init__(self, changes: ChangeSet, output: Path | None, as_json: bool) -> None:
        self._changes = changes
        self._output = output
        self._as_json = as_json
        self.done: list[dict[str, object]] = []
        self.refused: list[tuple[str, str]] = []
        self._skipped = 0

    def run(self, paths: list[Path]) -> Iterator[str]:
        from gateway.archive.files import TROUBLES, Files, look_into
        from gateway.errors import DataSetError, EditError

        files = Files(paths)
        try:
            for source in files:
                try:
                    found = look_into(source)
                    if found is None:
                        self._skipped += 1
                    else:
                        file = found.open()
                        try:
                            meta = found.meta
                            self._one(
                                *(source.name, file.read, meta.data_set_offset, found.size, meta.transfer_syntax_uid)
                            )
                        finally:
                            file.close()
                except (*TROUBLES, DataSetError, EditError) as error:
                    self.refused.append((source.name, str(error)))
                yield source.name
        finally:
            files.close()

    async def stored(self, settings: Storage, studies: list[str]) -> None:
        from gateway.archive.folder import open_folder
        from gateway.errors import GatewayError
        from gateway.index.locate import located

        async with open_folder(settings, create=False) as folder:
            for study in studies:
                count = 0
                async for each in located(folder.database, study):
                    count += 1
                    try:
                        await asyncio.to_thread(self._stored, folder.store, each)
                    except GatewayError as error:
                        self.refused.append((each.sop_uid, str(error)))
                if not count:
                    self.refused.append((study, "no such study is stored"))

    def _stored(self, store: Store, located: Located) -> None:
        stored = store.open(located.key)
        try:
            self._one(
                *(located.sop_uid, stored.read, located.data_set_offset, located.size, located.transfer_syntax_uid)
            )
        finally:
            stored.close()

    def _one(self, name: str, read: Read, start: int, end: int, transfer_syntax_uid: str) -> None:
        from gateway.dicom import uids
        from gateway.errors import DataSetError

        edited = self._changes.apply(read, start, end, transfer_syntax_uid)
        try:
            if not (uids.is_uid(edited.sop_instance_uid) and edited.sop_class_uid):
                raise DataSetError("it does not say which SOP instance it is")
            one: dict[str, object] = {"file": name, "sop_instance_uid": edited.sop_instance_uid}
            if self._output is not None:
                _write(edited, self._output)
            else:
                one["changes"] = [change._asdict() for change in edited.changes]
                if not self._as_json:
                    _show(name, edited)
            self.done.append(one)
        finally:
            edited.close()

    def show(self, where: str) -> None:
        if self._as_json:
            refused = [{"file": name, "reason": reason} for name, reason in self.refused]
            print_json({"instances": self.done, "refused": refused, "skipped": self._skipped})
            return
        for name, reason in self.refused:
            sys.stderr.write(f"dicom-gateway: {name}: {reason}\n")
        print_line(
            f"{where}: {count(len(self.done), 'instance')} de-identified, {len(self.refused):,} refused, "
            f"{self._skipped:,} not DICOM"
        )


def _write(edited: Edited, folder: Path) -> None:
    from gateway.dicom import part10

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{edited.sop_instance_uid}.dcm"
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(
                part10.file_header(
                    sop_class_uid=edited.sop_class_uid,
                    sop_instance_uid=edited.sop_instance_uid,
                    transfer_syntax_uid=edited.transfer_syntax_uid,
                )
            )
            for at in range(0, edited.length, _PIECE):
                file.write(edited.read(at, _PIECE))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _show(name: str, edited: Edited) -> None:
    print_line(name)
    for change in edited.changes:
        after = "removed" if change.after is None else repr(change.after)
        print_line(f"  {change.path}: {change.before!r} -> {after}  ({change.why})")


def reidentify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A de-identified DICOM file.")],
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="Private key (PEM).")],
    certificate: Annotated[Path, typer.Option("--certificate", metavar="FILE", help="Its certificate (PEM).")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the file.")],
) -> None:
    """Bring back what was sealed in a file when it was de-identified (PS3.15 E.1.2).

    What was taken out of pixels is not among it.
    """
    from gateway.archive.files import Source, look_into
    from gateway.edit.deid import seal
    from gateway.edit.deid.reidentify import restored
    from gateway.errors import DataSetError

    found = look_into(Source(str(file), lambda: file.open("rb")))
    if found is None:
        raise DataSetError(f"{file} is no DICOM file")
    opened = found.open()
    try:
        meta = found.meta
        pair = seal.read_key(certificate, key)
        edited = restored(opened.read, meta.data_set_offset, found.size, meta.transfer_syntax_uid, *pair)
        try:
            _write(edited, output)
        finally:
            edited.close()
    finally:
        opened.close()
    print_line(f"{output}: {edited.sop_instance_uid}.dcm")
