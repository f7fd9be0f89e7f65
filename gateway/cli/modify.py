"""`dicom-gateway modify`: files and stored studies with some attributes changed."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.common import ConfigOption, DataOption, JsonOption, load_settings
from gateway.cli.editing import DryRunOption, OutputOption, PathsArgument, StudyOption, Subjects, work_on

if TYPE_CHECKING:
    from gateway.config.edits import Step


def modify(
    paths: PathsArgument = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", "-s", metavar="ATTRIBUTE=VALUE", help="As PatientID=1; repeatable.")
    ] = None,
    removed: Annotated[
        list[str] | None, typer.Option("--remove", "-r", metavar="ATTRIBUTE", help="Take it away; repeatable.")
    ] = None,
    remove_private: Annotated[bool, typer.Option("--remove-private", help="Take all private attributes away.")] = False,
    new_uids: Annotated[bool, typer.Option("--new-uids", help="Make other studies, series and instances.")] = False,
    utf_8: Annotated[bool, typer.Option("--utf-8", help="Encode all text anew.")] = False,
    originals: Annotated[
        bool, typer.Option("--keep-originals", help="Say in the object what was there (Original Attributes Sequence).")
    ] = False,
    changes: Annotated[str, typer.Option("--changes", metavar="NAME", help="Apply a set of [changes] instead.")] = "",
    output: OutputOption = None,
    studies: StudyOption = None,
    dry_run: DryRunOption = False,
    config_file: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change attributes of DICOM files, or of stored studies. The originals stay as they are.

    A new file is named by its SOP Instance UID, and is there whole or not at all. Attributes are written as keywords,
    gggg,eeee, paths, or *.NAME for wherever it stands. With --new-uids each run makes other ones; a set with a key
    makes the same again.
    """
    steps = _steps(assignments or [], removed or [], remove_private, new_uids, utf_8)
    if bool(steps) is bool(changes) or (changes and originals):
        sys.stderr.write("dicom-gateway: say what to change, or --changes NAME, not both\n")
        raise typer.Exit(2)
    subjects = Subjects.given(paths, studies, output, dry_run)
    settings = load_settings(config_file, data)
    from gateway.config.edits import Changes
    from gateway.edit.change_set import ChangeSet
    from gateway.errors import ConfigurationError

    if changes:
        known = settings.changes
        if changes not in known:
            raise ConfigurationError(f"there is no [changes.{changes}] in the configuration")
        change_set = ChangeSet.build(changes, known[changes])
    else:
        made = Changes(steps=steps, key=os.urandom(32).hex(), original_attributes=originals)
        change_set = ChangeSet.build("command-line", made)
    work_on(subjects, change_set, settings.storage, as_json=as_json, doing="modifying", did="modified")


def _steps(
    assignments: list[str], removed: list[str], remove_private: bool, new_uids: bool, utf_8: bool
) -> tuple[Step, ...]:
    """UIDs first, so that a value which is set is not made into another."""
    from gateway.config.edits import CharacterSetStep, NewUidsStep, RemovePrivateStep, RemoveStep, SetStep

    steps: list[Step] = [NewUidsStep()] if new_uids else []
    steps += [RemovePrivateStep()] if remove_private else []
    steps += [RemoveStep(attribute=attribute) for attribute in removed]
    for assignment in assignments:
        attribute, sign, value = assignment.partition("=")
        if not sign:
            sys.stderr.write(f"dicom-gateway: --set {assignment}: write ATTRIBUTE=VALUE\n")
            raise typer.Exit(2)
        steps.append(SetStep(attribute=attribute.strip(), value=value))
    return (*steps, CharacterSetStep()) if utf_8 else tuple(steps)
