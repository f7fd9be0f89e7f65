"""`dicom-gateway send`: files, folders and zip archives to a DICOM node (C-STORE, PS3.4 B)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.common import ConfigOption, JsonOption, count, print_json, print_line, progress_bar
from gateway.cli.nodes import AetOption, NodeArgument, TimeoutOption, node_of

if TYPE_CHECKING:
    from gateway.archive.files import Files
    from gateway.scu.sending import Sent
    from gateway.scu.store import Item


def send(
    node: NodeArgument,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files, folders and zip archives.")],
    config_file: ConfigOption = None,
    associations: Annotated[int, typer.Option(min=1, max=64, help="Associations at once, at most.")] = 4,
    window: Annotated[int, typer.Option(min=1, help="Instances on their way on each, where the node grants it.")] = 8,
    aet: AetOption = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send DICOM files as they are; one that the node does not accept so is re-encoded where that loses nothing.

    What is not DICOM is passed over. What was not stored is named with its reason, and makes the exit code 1.
    """
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        sys.stderr.write(f"dicom-gateway: there is no {', '.join(missing)}\n")
        raise typer.Exit(2)
    _, called = node_of(node, config_file, aet, timeout)

    import uvloop

    from gateway.archive.files import Files
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
    """What became of the files."""

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
            sys.stderr.write(f"dicom-gateway: {name}: {reason}\n")
        for sent in self.sent:
            if sent.status != 0:
                sys.stderr.write(f"dicom-gateway: {sent.item.name}: {sent.detail}\n")
        print_line(
            f"{node}: {count(len(self.sent) - self.failed, 'instance')} stored, "
            f"{self.failed + len(self.unreadable):,} failed, {self.skipped:,} not DICOM"
        )


def _items(files: Files, report: _Report) -> Iterator[Item]:
    from gateway.archive.files import TROUBLES, look_into
    from gateway.errors import DataSetError
    from gateway.scu.store import Item

    for source in files:
        try:
            found = look_into(source)
        except (*TROUBLES, DataSetError) as error:
            report.unreadable.append((source.name, f"cannot be read: {error}"))
            continue
        if found is None:
            report.skipped += 1
        elif not (found.sop_class_uid and found.sop_instance_uid):
            report.unreadable.append((source.name, "it does not say which SOP instance it is"))
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
