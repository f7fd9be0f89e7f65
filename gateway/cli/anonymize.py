"""`dicom-gateway anonymize`: de-identifies files and studies; and `reidentify`, which restores what was sealed in
them.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.common import ConfigOption, DataOption, JsonOption, complain, load_settings, print_line
from gateway.cli.editing import DryRunOption, OutputOption, PathsArgument, StudyOption, Subjects, work_on, write_edited

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.edit.change_set import ChangeSet


def anonymize(
    paths: PathsArgument = None,
    *,
    changes: Annotated[
        str,
        typer.Option("--changes", metavar="NAME", help="The change set to apply, instead of the Basic Profile."),
    ] = "",
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="FILE", help="Key for the Basic Profile, created if necessary."),
    ] = None,
    output: OutputOption = None,
    studies: StudyOption = None,
    dry_run: DryRunOption = False,
    config_file: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """De-identify DICOM files, or stored studies, by PS3.15 Annex E, with a change set. The originals stay.

    Without --changes, the Basic Profile is applied, with a key that is created the first time and reused, so that a
    patient always gets the same pseudonym: in ~/.local/share/dicom-gateway/anonymize.key, or where --key says. With the
    key, anybody can test which value became which; without it, nobody can reproduce the pseudonyms.

    A new file is named by its SOP Instance UID, appears whole or not at all, and never replaces another. Instances that
    must not be written are listed with the reason, and the exit code is then 1.
    """
    if changes and key is not None:
        complain("--key is for the Basic Profile; the change set of --changes has its own key")
        raise typer.Exit(2)
    subjects = Subjects.checked(paths, studies, output, dry_run)
    settings = load_settings(config_file, data)
    change_set = _configured(settings, changes) if changes else _basic_profile(key, make=output is not None)
    words = {"doing": "de-identifying", "did": "de-identified", "action": "anonymize"}
    work_on(subjects, change_set, settings, as_json=as_json, **words)


def _configured(settings: Settings, name: str) -> ChangeSet:
    from gateway.edit.change_set import ChangeSet
    from gateway.errors import ConfigurationError

    if name not in settings.changes:
        raise ConfigurationError(f"there is no [changes.{name}] in the configuration")
    if settings.changes[name].deidentify is None:
        raise ConfigurationError(f"changes.{name}: does not de-identify; add [changes.{name}.deidentify]")
    return ChangeSet.build(name, settings.changes[name])


def _basic_profile(key: Path | None, *, make: bool) -> ChangeSet:
    """Build the Basic Profile, and print the path of its key to standard error. A dry run creates no key file."""
    from gateway.config.deidentify import Deidentify
    from gateway.config.edits import Changes
    from gateway.edit.change_set import ChangeSet

    path = key or _default_key()
    if not make and not path.exists():
        return ChangeSet.build("basic-profile", Changes(deidentify=Deidentify(), key=secrets.token_hex(32)))
    made = make and _make_key(path)
    complain(
        f"Basic Profile (PS3.15); pseudonyms and UIDs are made with the key in {path}"
        f"{', which is new: keep it safe, and secret' if made else ''}"
    )
    return ChangeSet.build("basic-profile", Changes(deidentify=Deidentify(), key_file=str(path)))


def _default_key() -> Path:
    """The default path of the key: apart from any result, whose recipients must not get it."""
    home = os.environ.get("XDG_DATA_HOME", "")
    folder = Path(home) if home.startswith("/") else Path("~/.local/share").expanduser()
    return folder / "dicom-gateway" / "anonymize.key"


def _make_key(path: Path) -> bool:
    """Create a key file; returns whether it is new. Raises ConfigurationError when it can neither be created nor
    found."""
    from gateway.errors import ConfigurationError
    from gateway.storage.naming import Named, name_file

    if path.exists():
        return False
    part = path.with_name(f".{secrets.token_hex(16)}.part")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.touch(0o600, exist_ok=False)
        part.write_text(secrets.token_hex(32) + "\n", "ascii")
        return name_file(part, path) is Named.NEW  # another run may have created it first
    except OSError as error:
        raise ConfigurationError(f"{path}: no key can be stored there ({error.strerror}); give --key FILE") from None
    finally:
        with suppress(OSError):
            part.unlink()


def reidentify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A de-identified DICOM file.")],
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="Private key (PEM).")],
    certificate: Annotated[Path, typer.Option("--certificate", metavar="FILE", help="Its certificate (PEM).")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the file.")],
) -> None:
    """Restore the values that were sealed in a file at its de-identification (PS3.15 E.1.2).

    Pixels that were blackened cannot be restored.
    """
    from gateway.edit.deid import seal
    from gateway.edit.deid.reidentify import restored
    from gateway.errors import DataSetError
    from gateway.ingest.files import Source, look_into

    found = look_into(Source(str(file), lambda: file.open("rb")))
    if found is None:
        raise DataSetError(f"{file} is not a DICOM file")
    opened = found.open()
    try:
        meta = found.meta
        pair = seal.read_key(certificate, key)
        edited = restored(opened.read, meta.data_set_offset, found.size, meta.transfer_syntax_uid, *pair)
        try:
            path, _is_new = write_edited(edited, output)
        finally:
            edited.close()
    finally:
        opened.close()
    print_line(f"{output}: {path.name}")
