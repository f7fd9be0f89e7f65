"""`dicom-gateway find`: queries a DICOM node (C-FIND, PS3.4 C.4.1 and K.4.1), as a table or as JSON."""

from __future__ import annotations

import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.common import JsonOption, complain, count, print_line
from gateway.cli.nodes import (
    Calling,
    KeysArgument,
    NodeArgument,
    calls_a_node,
    node_of,
    parse_keys,
    read_level,
)
from gateway.printable import printable

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
"""The default keys and columns, by level."""


@calls_a_node()
def find(
    node: NodeArgument,
    calling: Calling,
    keys: KeysArgument = None,
    level: Annotated[
        str | None, typer.Option("--level", "-l", help="patient, study, series or instance.  [default: study]")
    ] = None,
    worklist: Annotated[bool, typer.Option("--worklist", help="Query the modality worklist.")] = False,
    patient_root: Annotated[bool, typer.Option("--patient-root", help="Use the Patient Root model.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Matches at most; further ones are cancelled.")] = 1000,
    as_json: JsonOption = False,
) -> None:
    """Find patients, studies, series or instances: `find ARCHIVE PatientName=DOE* StudyDate=20260101-`.

    Exit code 1 if the node refuses, or answers with a failure; no match is no failure.
    """
    at = None if worklist else read_level(level) or "study"
    if worklist and (level or patient_root):
        raise typer.BadParameter("--worklist has no levels")
    wanted = parse_keys(keys or [])
    what = at or "worklist"
    for name in _SHOWN[what]:
        wanted = {**parse_keys([name]), **wanted} if "." not in name else _with_nested(wanted, name)
    _, called = node_of(node, calling)

    import uvloop

    from gateway.scu import find as scu

    model = scu.PATIENT_ROOT if patient_root or what == "patient" else scu.WORKLIST if worklist else scu.STUDY_ROOT
    identifier = scu.identifier(at, wanted)
    output = _Json() if as_json else _Table(identifier, _SHOWN[what])
    more = uvloop.run(_ask(called, identifier, model, limit, output))
    output.end(more)


def _with_nested(keys: DataSet, name: str) -> DataSet:
    """Add one attribute of a sequence item to the keys, unless it is among them."""
    from gateway.dicom.encode import Attribute

    ((tag, attribute),) = parse_keys([name]).items()
    present = keys.get(tag)
    item = present.values[0] if present is not None and present.values else {}
    return {**keys, tag: Attribute("SQ", [{**attribute.values[0], **item}])}


async def _ask(node: Node, identifier: DataSet, model: str, limit: int, output: _Json | _Table) -> bool:
    """Run the query; returns whether there are more matches than `limit`."""
    from gateway.scu.find import find as matches_of

    number = 0
    async with aclosing(matches_of(node, identifier, model=model)) as matches:
        async for match in matches:
            if number == limit:
                return True
            number += 1
            output.add(match)
    return False


class _Json:
    """Prints matches as one array of the DICOM JSON Model, each as it arrives."""

    def __init__(self) -> None:
        self._number = 0

    def add(self, match: Match) -> None:
        sys.stdout.write(("[\n" if not self._number else ",\n") + match.json().decode())
        self._number += 1

    def end(self, more: bool) -> None:
        sys.stdout.write("\n]\n" if self._number else "[]\n")
        if more:
            complain(f"there are more than {self._number:,}; raise --limit")


class _Table:
    """Prints matches as a table of the keys for which any match has a value."""

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
            complain("there are more; raise --limit")

    def _print(self) -> None:
        from rich.console import Console
        from rich.table import Table

        used = [at for at in range(len(self._paths)) if any(row[at] for row in self._rows)]
        table = Table(box=None, header_style="bold", pad_edge=False)
        for at in used:
            table.add_column(_heading(self._paths[at]), overflow="fold", no_wrap=len(used) <= 4)
        for row in self._rows:
            table.add_row(*(row[at] for at in used))
        # Output to a file or a pipe is not wrapped at the width of a terminal.
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
        return printable(text)
    return ", ".join(text for item in attribute.values if isinstance(item, dict) and (text := _value(item, path[1:])))


def _heading(path: tuple[int | None, ...]) -> str:
    from pydicom.datadict import keyword_for_tag

    tag = path[-1] or 0
    return keyword_for_tag(tag) or f"{tag:08X}"
