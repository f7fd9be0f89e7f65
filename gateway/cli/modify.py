"""`dicom-gateway modify`: changes attributes of files and stored studies."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.common import ConfigOption, DataOption, JsonOption, complain, load_settings
from gateway.cli.editing import DryRunOption, OutputOption, PathsArgument, StudyOption, Subjects, work_on

if TYPE_CHECKING:
    from gateway.config.edits import Step

_MADE = "command-line"
"""The name of the change set made from the options."""


def modify(
    paths: PathsArgument = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", "-s", metavar="ATTRIBUTE=VALUE", help="Like PatientID=1; repeatable.")
    ] = None,
    removed: Annotated[
        list[str] | None, typer.Option("--remove", "-r", metavar="ATTRIBUTE", help="Remove it; repeatable.")
    ] = None,
    remove_private: Annotated[bool, typer.Option("--remove-private", help="Remove all private attributes.")] = False,
    new_uids: Annotated[bool, typer.Option("--new-uids", help="Replace study, series and instance UIDs.")] = False,
    utf_8: Annotated[bool, typer.Option("--utf-8", help="Re-encode all text in UTF-8.")] = False,
    originals: Annotated[
        bool,
        typer.Option("--keep-originals", help="Record former values (Original Attributes Sequence)."),
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

    A new file is named by its SOP Instance UID, appears whole or not at all, and never replaces another. Attributes are
    written as keywords, gggg,eeee, paths, or *.NAME for every place. With --new-uids each run makes other UIDs; a
    change set with a key always makes the same.
    """
    steps = _steps(assignments or [], removed or [], remove_private, new_uids, utf_8)
    if bool(steps) is bool(changes) or (changes and originals):
        complain("give options that change something, or --changes NAME, not both")
        raise typer.Exit(2)
    subjects = Subjects.checked(paths, studies, output, dry_run)
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
        try:
            change_set = ChangeSet.build(_MADE, made)
        except ConfigurationError as error:
            complain(_by_option(str(error), steps))
            raise typer.Exit(2) from None
    work_on(subjects, change_set, settings, as_json=as_json, doing="modifying", did="modified", action="modify")


def _by_option(text: str, steps: tuple[Step, ...]) -> str:
    """The problem of a step, named by its option."""
    from gateway.config.edits import RemoveStep, SetStep

    found = re.match(rf"changes\.{_MADE}\.steps\[(\d+)\]\.\w+: ", text)
    if found is None:
        return text
    step, rest = steps[int(found[1])], text[found.end() :]
    if isinstance(step, SetStep):
        return f"--set {step.attribute}={step.value}: {rest}"
    return f"--remove {step.attribute}: {rest}" if isinstance(step, RemoveStep) else rest


def _steps(
    assignments: list[str], removed: list[str], remove_private: bool, new_uids: bool, utf_8: bool
) -> tuple[Step, ...]:
    """The steps of the options, new UIDs first, so that a value that is set is not replaced."""
    from gateway.config.edits import CharacterSetStep, NewUidsStep, RemovePrivateStep, RemoveStep, SetStep

    steps: list[Step] = [NewUidsStep()] if new_uids else []
    steps += [RemovePrivateStep()] if remove_private else []
    steps += [RemoveStep(attribute=attribute) for attribute in removed]
    for assignment in assignments:
        attribute, sign, value = assignment.partition("=")
        if not sign:
            complain(f"--set {assignment}: write ATTRIBUTE=VALUE")
            raise typer.Exit(2)
        steps.append(SetStep(attribute=attribute.strip(), value=value))
    return (*steps, CharacterSetStep()) if utf_8 else tuple(steps)
