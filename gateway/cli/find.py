"""`dicom-gateway find`: what a DICOM node has (C-FIND, PS3.4 C.4.1 and K.4.1), as a table or as JSON."""

from __future__ import annotations

import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.common import ConfigOption, JsonOption, count, print_line
from gateway.cli.nodes import AetOption, KeysArgument, NodeArgument, TimeoutOption, check_level, node_of, parse_keys

if TYPE_CHECKING:
    from gateway.dicom.encode import Attribute, DataSet
    from gateway.scu.find import Match
    from gateway.scu.node import Node

_SHOWN = {
    "patient": ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    "study": (
        *("PatientID", "PatientName", "StudyDate", "AccessionNumber", "ModalitiesInStudy", "StudyDescription"),
        *("NumberOfStudyRelatedInstances", "StudyInstanceUID"),
    ),
    "series": (
        *("Modality", "SeriesNumber", "SeriesDescription", "NumberOfSeriesRelatedInstances"),
        *("StudyInstanceUID", "SeriesInstanceUID"),
    ),
    "instance": ("InstanceNumber", "SOPClassUID", "SeriesInstanceUID", "SOPInstanceUID"),
    "worklist": (
        *("PatientID", "PatientName", "AccessionNumber", "RequestedProcedureID", "RequestedProcedureDescription"),
        "ScheduledProcedureStepSequence.ScheduledStationAETitle",
        "ScheduledProcedureStepSequence.ScheduledProcedureStepStartDate",
        "ScheduledProcedureStepSequence.ScheduledProcedureStepStartTime",
        "ScheduledProcedureStepSequence.Modality",
        "ScheduledProcedureStepSequence.ScheduledProcedureStepID",
    ),
}
"""What is asked for and shown when nobody says more, by level."""


def find(
    node: NodeArgument,
    keys: KeysArgument = None,
    config_file: ConfigOption = None,
    level: Annotated[
        str | None, typer.Option("--level", "-l", help="patient, study, series or instance.  [default: study]")
    ] = None,
    worklist: Annotated[bool, typer.Option("--worklist", help="Ask for the modality worklist.")] = False,
    patient_root: Annotated[bool, typer.Option("--patient-root", help="Use the Patient Root model.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Matches at most; the rest is cancelled.")] = 1000,
    aet: AetOption = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find patients, studies, series or instances: `find ARCHIVE PatientName=DOE* StudyDate=20260101-`.

    Exit code 1 when the node refuses, or answers with a failure; no match is no failure.
    """
    check_level(level)
    if worklist and (level or patient_root):
        raise typer.BadParameter("--worklist has no levels")
    asked = parse_keys(keys or [])
    what = "worklist" if worklist else level or "study"
    for name in _SHOWN[what]:
        asked = {**parse_keys([name]), **asked} if "." not in name else _with_nested(asked, name)
    _, called = node_of(node, config_file, aet, timeout)

    import uvloop

    from gateway.scu import find as scu

    model = scu.PATIENT_ROOT if patient_root or what == "patient" else scu.WORKLIST if worklist else scu.STUDY_ROOT
    identifier = scu.identifier("" if worklist else what, asked)
    shown = _Json() if as_json else _Table(identifier, _SHOWN[what])
    more = uvloop.run(_ask(called, identifier, model, limit, shown))
    shown.end(more)


def _with_nested(asked: DataSet, name: str) -> DataSet:
    """`asked` with one attribute of a sequence item, unless it is there."""
    from gateway.dicom.encode import Attribute

    ((tag, attribute),) = parse_keys([name]).items()
    present = asked.get(tag)
    item = present.values[0] if present is not None and present.values else {}
    return {**asked, tag: Attribute("SQ", [{**attribute.values[0], **item}])}


async def _ask(node: Node, identifier: DataSet, model: str, limit: int, shown: _Json | _Table) -> bool:
    """Whether there is more than `limit`."""
    from gateway.scu.find import find as matches_of

    number = 0
    async with aclosing(matches_of(node, identifier, model=model)) as matches:
        async for match in matches:
            if number == limit:
                return True
            number += 1
            shown.add(match)
    return False


class _Json:
    """Matches as one array of the DICOM JSON Model, written as they come."""

    def __init__(self) -> None:
        self._number = 0

    def add(self, match: Match) -> None:
        sys.stdout.write(("[\n" if not self._number else ",\n") + match.json().decode())
        self._number += 1

    def end(self, more: bool) -> None:
        sys.stdout.write("\n]\n" if self._number else "[]\n")
        if more:
            sys.stderr.write(f"dicom-gateway: there are more than {self._number:,}; raise --limit\n")


class _Table:
    """Matches as a table: what was asked for and at least one match has a value for."""

    def __init__(self, identifier: DataSet, names: tuple[str, ...]) -> None:
        from gateway.cli.nodes import tag_of

        first = [path for name in names if None not in (path := tuple(tag_of(part) for part in name.split(".")))]
        rest = [path for path in _paths(identifier) if path not in first and path[-1] not in (0x00080052, 0x00080005)]
        self._paths = first + rest
        self._rows: list[list[str]] = []

    def add(self, match: Match) -> None:
        attributes = match.attributes()
        self._rows.append([_value(attributes, path) for path in self._paths])

    def end(self, more: bool) -> None:
        if self._rows:
            self._print()
        print_line(f"{'the first ' if more else ''}{count(len(self._rows), 'match', 'matches')}")
        if more:
            sys.stderr.write("dicom-gateway: there are more; raise --limit\n")

    def _print(self) -> None:
        from rich.console import Console
        from rich.table import Table

        used = [at for at in range(len(self._paths)) if any(row[at] for row in self._rows)]
        table = Table(box=None, header_style="bold", pad_edge=False)
        for at in used:
            table.add_column(_heading(self._paths[at]), overflow="fold", no_wrap=len(used) <= 4)
        for row in self._rows:
            table.add_row(*(row[at] for at in used))
        # What goes into a file or a pipe is not broken at the width of a terminal that is not there.
        Console(width=None if sys.stdout.isatty() else 400, markup=False, highlight=False).print(table)


def _paths(data_set: DataSet) -> list[tuple[int | None, ...]]:
    paths: list[tuple[int | None, ...]] = []
    for tag, attribute in data_set.items():
        if attribute.vr == "SQ":
            for item in attribute.values[:1]:
                paths += [(tag, *below) for below in _paths(item)]
        else:
            paths.append((tag,))
    return paths


def _value(attributes: DataSet, path: tuple[int | None, ...]) -> str:
    attribute: Attribute | None = attributes.get(path[0] or 0)
    if attribute is None:
        return ""
    if len(path) == 1:
        text = ", ".join(str(value) for value in attribute.values if not isinstance(value, (bytes, dict)))
        return "".join(character if character.isprintable() else " " for character in text)
    return ", ".join(text for item in attribute.values if isinstance(item, dict) and (text := _value(item, path[1:])))


def _heading(path: tuple[int | None, ...]) -> str:
    from pydicom.datadict import keyword_for_tag

    tag = path[-1] or 0
    return keyword_for_tag(tag) or f"{tag:08X}"
