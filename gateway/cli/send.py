"""`dicom-gateway send`: sends files, folders and zip archives to a DICOM node (C-STORE, PS3.4 B)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.common import JsonOption, complain, count, print_json, print_line, progress_bar
from gateway.cli.nodes import (
    Calling,
    NodeArgument,
    calls_a_node,
    node_of,
)

if TYPE_CHECKING:
    from gateway.ingest.files import Files
    from gateway.scu.store import Item
    from gateway.scu.transfer import Sent


@calls_a_node()
def send(
    node: NodeArgument,
    calling: Calling,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files, folders and zip archives.")],
    associations: Annotated[int, typer.Option(min=1, max=64, help="Concurrent associations at most.")] = 4,
    window: Annotated[int, typer.Option(min=1, help="Concurrent instances on each, if the node grants that.")] = 8,
    as_json: JsonOption = False,
) -> None:
    """Send DICOM files as they are; a file that the node does not accept so is transcoded, if that loses nothing.

    Files that are not DICOM are skipped. Files that were not stored are listed with the reason, and the exit code is
    then 1.
    """
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        complain(f"there is no {', '.join(missing)}")
        raise typer.Exit(2)
    _, called = node_of(node, calling)

    import uvloop

    from gateway.ingest.files import Files
    from gateway.scu.store import send as store

    files = Files(paths)
    report = _Report()
    try:
        with progress_bar("reading", quiet=as_json) as progress:
            items = []
            for item in _items(files, report):
                items.append(item)
                progress(len(items), None)
        with progress_bar("sending", quiet=as_json) as progress:

            def show(sent: Sent) -> None:
                report.add(sent)
                progress(len(report.sent), len(items))

            uvloop.run(store(called, items, associations=associations, window=window, report=show))
    finally:
        files.close()
    report.show(str(called), as_json)
    if report.failed or report.unreadable or not report.sent:
        raise typer.Exit(1)


class _Report:
    """The outcome of every file."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.failed = 0
        self.unreadable: list[tuple[str, str]] = []
        self.skipped = 0

    def add(self, sent: Sent) -> None:
        self.sent.append(sent)
        self.failed += not sent.ok

    def show(self, node: str, as_json: bool) -> None:
        if as_json:
            print_json(
                {
                    "sent": len(self.sent) - self.failed,
                    "failed": self.failed + len(self.unreadable),
                    "skipped": self.skipped,
                    "instances": [
                        {
                            "file": sent.item.name,
                            "sop_instance_uid": sent.item.sop_instance_uid,
                            "status": None if sent.status is None else f"{sent.status:04X}",
                            "detail": sent.detail,
                        }
                        for sent in self.sent
                    ]
                    + [
                        {"file": name, "sop_instance_uid": None, "status": None, "detail": reason}
                        for name, reason in self.unreadable
                    ],
                }
            )
            return
        for name, reason in self.unreadable:
            complain(f"{name}: {reason}")
        for sent in self.sent:
            if sent.status != 0:
                complain(f"{sent.item.name}: {sent.detail}")
        print_line(
            f"{node}: {count(len(self.sent) - self.failed, 'instance')} stored, "
            f"{self.failed + len(self.unreadable):,} failed, {self.skipped:,} not DICOM"
        )


def _items(files: Files, report: _Report) -> Iterator[Item]:
    from gateway.errors import DataSetError
    from gateway.ingest.files import READ_ERRORS, look_into
    from gateway.scu.store import Item

    for source in files:
        try:
            found = look_into(source)
            if found is not None:
                found.check_end()
        except (*READ_ERRORS, DataSetError) as error:
            report.unreadable.append((source.name, f"cannot be read: {error}"))
            continue
        if found is None:
            report.skipped += 1
        elif not (found.sop_class_uid and found.sop_instance_uid):
            report.unreadable.append((source.name, "it has no SOP Class UID or SOP Instance UID"))
        else:
            meta = found.meta
            yield Item(
                source.name,
                found.sop_class_uid,
                found.sop_instance_uid,
                meta.transfer_syntax_uid,
                found.open,
                meta.data_set_offset,
                found.size,
            )
