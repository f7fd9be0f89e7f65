"""`dicom-gateway anonymize`: files without what identifies a patient; and `reidentify`, which brings back what was
sealed in them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.common import ConfigOption, DataOption, JsonOption, load_settings, print_line
from gateway.cli.editing import DryRunOption, OutputOption, PathsArgument, StudyOption, Subjects, work_on, write_edited


def anonymize(
    paths: PathsArgument = None,
    *,
    changes: Annotated[str, typer.Option("--changes", metavar="NAME", help="The set of [changes] to apply.")],
    output: OutputOption = None,
    studies: StudyOption = None,
    dry_run: DryRunOption = False,
    config_file: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """De-identify DICOM files, or stored studies, by PS3.15 Annex E, as a set of [changes] says. The originals stay.

    A new file is named by its SOP Instance UID, and is there whole or not at all. What may not pass is named with the
    reason, and makes the exit code 1.
    """
    subjects = Subjects.given(paths, studies, output, dry_run)
    settings = load_settings(config_file, data)
    from gateway.edit.change_set import ChangeSet
    from gateway.errors import ConfigurationError

    if changes not in settings.changes:
        raise ConfigurationError(f"there is no [changes.{changes}] in the configuration")
    if settings.changes[changes].deidentify is None:
        raise ConfigurationError(f"changes.{changes}: does not de-identify; add [changes.{changes}.deidentify]")
    change_set = ChangeSet.build(changes, settings.changes[changes])
    work_on(subjects, change_set, settings.storage, as_json=as_json, doing="de-identifying", did="de-identified")


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
            write_edited(edited, output)
        finally:
            edited.close()
    finally:
        opened.close()
    print_line(f"{output}: {edited.sop_instance_uid}.dcm")
