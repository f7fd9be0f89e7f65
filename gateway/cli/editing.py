"""What `anonymize` and `modify` share: a set of changes applied to files and stored studies, and what became of them.
The originals stay.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.common import count, print_json, print_line, progress_bar

if TYPE_CHECKING:
    from gateway.config import Storage
    from gateway.dicom.source import Read
    from gateway.edit.change_set import ChangeSet
    from gateway.edit.deid.rules import Change
    from gateway.edit.edited import Edited
    from gateway.index.locate import Located
    from gateway.storage.store import Store

_PIECE = 1 << 20

PathsArgument = Annotated[
    list[Path] | None, typer.Argument(metavar="[PATH]...", help="Files, folders and zip archives.")
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="DIR", help="Folder for the new files, made when needed.")
]
StudyOption = Annotated[
    list[str] | None, typer.Option("--study", metavar="UID", help="A study of the data folder; repeatable.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Write nothing; show what would become of what.")]


@dataclass(frozen=True, slots=True)
class Subjects:
    """What a command is to work on, and where the results go: nowhere for a dry run."""

    paths: list[Path]
    studies: list[str]
    output: Path | None

    @classmethod
    def given(cls, paths: list[Path] | None, studies: list[str] | None, output: Path | None, dry_run: bool) -> Subjects:
        """Exit code 2 where they make no sense."""
        subjects = cls(paths or [], studies or [], output)
        missing = [str(path) for path in subjects.paths if not path.exists()]
        wrong = ""
        if missing:
            wrong = f"there is no {', '.join(missing)}"
        elif (output is None) is not dry_run:
            wrong = "give --output DIR or --dry-run, not both"
        elif not subjects.paths and not subjects.studies:
            wrong = "name files or folders, or studies by --study UID"
        if wrong:
            sys.stderr.write(f"dicom-gateway: {wrong}\n")
            raise typer.Exit(2)
        return subjects


def work_on(subjects: Subjects, changes: ChangeSet, storage: Storage, *, as_json: bool, doing: str, did: str) -> None:
    """Write what becomes of them, or show it. Exit code 1 where one was refused, or there was none.

    `doing` and `did` are the words for it: `modifying`, `modified`.
    """
    output = subjects.output
    work = Work(changes, output, as_json, did)
    with progress_bar(doing, quiet=as_json or output is None) as progress:
        for number, _source in enumerate(work.run(subjects.paths), 1):
            progress(number, None)
        if subjects.studies:
            import uvloop

            uvloop.run(work.stored(storage, subjects.studies))
    work.show(str(output) if output is not None else "dry run")
    if work.refused or not work.done:
        raise typer.Exit(1)


class Work:
    """What became of the files."""

    def __init__(self, changes: ChangeSet, output: Path | None, as_json: bool, did: str) -> None:
        self._changes = changes
        self._output = output
        self._as_json = as_json
        self._did = did
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
                write_edited(edited, self._output)
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
            f"{where}: {count(len(self.done), 'instance')} {self._did}, {len(self.refused):,} refused, "
            f"{self._skipped:,} not DICOM"
        )


def write_edited(edited: Edited, folder: Path) -> None:
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
        print_line(f"  {words_of_change(change)}")


def words_of_change(change: Change) -> str:
    """Before and after, in a line."""
    after = "removed" if change.after is None else repr(change.after)
    return f"{change.path}: {change.before!r} -> {after}  ({change.why})"
