"""The common part of `anonymize` and `modify`: a change set applied to files and stored studies, and the results.

The originals stay.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.cli.common import audited, complain, count, print_json, print_line, progress_bar

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.dicom.source import Read
    from gateway.edit.change_set import ChangeSet
    from gateway.edit.deid.rules import Change
    from gateway.edit.edited import Edited
    from gateway.index.locate import Located
    from gateway.storage.store import Store

_PIECE = 1 << 20
_SHORT_DIGEST, _WHOLE_DIGEST = 8, 64
"""Hexadecimal digits of a SHA-256 in a file name."""

PathsArgument = Annotated[
    list[Path] | None, typer.Argument(metavar="[PATH]...", help="Files, folders and zip archives.")
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="DIR", help="Folder for the new files, created if necessary.")
]
StudyOption = Annotated[
    list[str] | None, typer.Option("--study", metavar="UID", help="A study of the data folder; repeatable.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Write nothing; show the changes.")]

_MAX_NAMED: Final = 20
"""Studies that the audit log names."""


@dataclass(frozen=True, slots=True)
class Subjects:
    """The inputs of a command, and the folder for its results: none for a dry run."""

    paths: list[Path]
    studies: list[str]
    output: Path | None

    @classmethod
    def checked(
        cls, paths: list[Path] | None, studies: list[str] | None, output: Path | None, dry_run: bool
    ) -> Subjects:
        """Check the options of a command. Exits with code 2 when they are invalid."""
        subjects = cls(paths or [], studies or [], output)
        missing = [str(path) for path in subjects.paths if not path.exists()]
        wrong = ""
        if missing:
            wrong = f"there is no {', '.join(missing)}"
        elif (output is None) is not dry_run:
            wrong = "give --output DIR or --dry-run, not both" if dry_run else "give --output DIR, or --dry-run"
        elif not subjects.paths and not subjects.studies:
            wrong = "name files or folders, or studies by --study UID"
        if wrong:
            complain(wrong)
            raise typer.Exit(2)
        return subjects


def work_on(
    subjects: Subjects, changes: ChangeSet, settings: Settings, *, as_json: bool, doing: str, did: str, action: str
) -> None:
    """Apply the changes and write the results, or show them. Exit code 1 if any input was refused, or none was found.

    `doing` and `did` are the words for the operation: `modifying`, `modified`; `action` is that of the audit log.
    """
    output = subjects.output
    work = Work(changes, output, as_json, did)
    with progress_bar(doing, quiet=as_json or output is None) as progress:
        for number, _source in enumerate(work.run(subjects.paths), 1):
            progress(number, None)
        if subjects.studies:
            import uvloop

            with audited(settings, action, studies=subjects.studies[:_MAX_NAMED], folder=str(output or "")):
                uvloop.run(work.stored(settings, subjects.studies))
    work.show(str(output) if output is not None else "dry run")
    if work.refused or not work.done:
        raise typer.Exit(1)


class Work:
    """Applies a change set to inputs, and collects the results."""

    def __init__(self, changes: ChangeSet, output: Path | None, as_json: bool, did: str) -> None:
        self._changes = changes
        self._output = output
        self._as_json = as_json
        self._did = did
        self.done: list[dict[str, object]] = []
        self.refused: list[tuple[str, str]] = []
        self._skipped = 0
        self._alike = 0
        self._namesakes = 0

    def run(self, paths: list[Path]) -> Iterator[str]:
        from gateway.errors import DataSetError, EditError
        from gateway.ingest.files import READ_ERRORS, Files, look_into

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
                except (*READ_ERRORS, DataSetError, EditError) as error:
                    self.refused.append((source.name, str(error)))
                yield source.name
        finally:
            files.close()

    async def stored(self, settings: Settings, studies: list[str]) -> None:
        from gateway.errors import GatewayError, SeveralPatients
        from gateway.index.locate import check_patient, every_located
        from gateway.ingest.data_folder import open_folder

        async with open_folder(settings.storage, settings.database.url, create=False) as folder:
            for study in studies:
                count = 0
                try:
                    await check_patient(folder.database, study)
                except SeveralPatients as error:
                    self.refused.append((study, f"{error}: name one of them over REST, by /studies/{{id}}"))
                    continue
                async for each in every_located(folder.database, study):
                    count += 1
                    try:
                        await asyncio.to_thread(self._stored, folder.store, each)
                    except (GatewayError, OSError) as error:
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
                raise DataSetError("it has no SOP Class UID, or no valid SOP Instance UID")
            one: dict[str, object] = {"file": name, "sop_instance_uid": edited.sop_instance_uid}
            if self._output is not None:
                path, is_new = write_edited(edited, self._output)
                one |= {"output": path.name, "new": is_new}
                self._alike += not is_new
                self._namesakes += path.stem != edited.sop_instance_uid
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
            counts = {"skipped": self._skipped, "files_in": self._read} | (
                {"files_out": self._written} if self._output is not None else {}
            )
            print_json({"instances": self.done, "refused": refused, **counts})
            return
        for name, reason in self.refused:
            complain(f"{name}: {reason}")
        out = f"{count(self._written, 'file')} out, " if self._output is not None else ""
        print_line(
            f"{where}: {count(self._read, 'file')} in, {count(len(self.done), 'instance')} {self._did}, {out}"
            f"{len(self.refused):,} refused, {self._skipped:,} not DICOM"
        )
        if self._alike:
            print_line(f"{count(self._alike, 'file')} equal to an existing one, byte for byte, and not written again")
        if self._namesakes:
            print_line(
                f"{count(self._namesakes, 'file')} with the SOP Instance UID of another file, but other content: named "
                "UID~DIGEST.dcm, by the SHA-256 of the data set"
            )

    @property
    def _read(self) -> int:
        return len(self.done) + len(self.refused) + self._skipped

    @property
    def _written(self) -> int:
        return len(self.done) - self._alike


def write_edited(edited: Edited, folder: Path) -> tuple[Path, bool]:
    """Write a data set into `folder`, readable by its owner alone; returns the path, and whether the file is new.

    An existing file is never replaced: one with equal bytes stands for the new one, beside any other the name gets the
    beginning of a digest of the data set. Raises OSError.
    """
    from gateway.dicom import part10
    from gateway.storage.naming import Named, name_file, private

    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{secrets.token_hex(16)}.part"
    digest = hashlib.sha256()
    try:
        with open(part, "xb", opener=private) as file:
            file.write(
                part10.file_header(
                    sop_class_uid=edited.sop_class_uid,
                    sop_instance_uid=edited.sop_instance_uid,
                    transfer_syntax_uid=edited.transfer_syntax_uid,
                )
            )
            for at in range(0, edited.length, _PIECE):
                piece = edited.read(at, _PIECE)
                digest.update(piece)
                file.write(piece)
        for length in (0, _SHORT_DIGEST, _WHOLE_DIGEST):
            path = folder / f"{edited.sop_instance_uid}{'~' * bool(length)}{digest.hexdigest()[:length]}.dcm"
            named = name_file(part, path)
            if named is not Named.TAKEN:
                return path, named is Named.NEW
        raise FileExistsError(errno.EEXIST, "another file has the name of the result", str(path))
    finally:
        part.unlink(missing_ok=True)


def _show(name: str, edited: Edited) -> None:
    print_line(name)
    for change in edited.changes:
        print_line(f"  {words_of_change(change)}")


def words_of_change(change: Change) -> str:
    """One change in a line: values before and after."""
    after = "removed" if change.after is None else repr(change.after)
    return f"{change.path}: {change.before!r} -> {after}  ({change.why})"
