"""`dicom-gateway commit`: asks a DICOM node to commit to instances that it was sent (storage commitment, PS3.4 J)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.common import (
    DataOption,
    JsonOption,
    complain,
    count,
    load_settings,
    print_json,
    print_line,
)
from gateway.cli.nodes import (
    Calling,
    NodeArgument,
    calls_a_node,
    node_of,
)

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.dimse.commitment import Outcome, Reference
    from gateway.scu.node import Node


@calls_a_node()
def commit(
    node: NodeArgument,
    calling: Calling,
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="[PATH]...", help="Files, folders and zip archives that were sent.")
    ] = None,
    study: Annotated[
        list[str] | None, typer.Option("--study", metavar="UID", help="A study of the data folder; may be repeated.")
    ] = None,
    wait: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Seconds to wait for the report.")] = 60.0,
    listen: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, metavar="PORT", help="Accept the report here, if the node opens an association for it."
        ),
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a node to take responsibility for instances, and wait for its report.

    Exit code 0 only if it has committed to every one. Without --listen, the report must come on the same association.
    """
    if not paths and not study:
        raise typer.BadParameter("name files, or a study with --study")
    missing = [str(path) for path in paths or () if not path.exists()]
    if missing:
        complain(f"there is no {', '.join(missing)}")
        raise typer.Exit(2)
    _, called = node_of(node, calling)

    import uvloop

    references = list(dict.fromkeys(_of_files(paths or ())))
    if study:
        settings = load_settings(calling.config_file, data)
        known = set(references)
        references += [each for each in uvloop.run(_of_studies(settings, study)) if each not in known]
    if not references:
        complain("no instances were found")
        raise typer.Exit(1)
    outcome = uvloop.run(_commit(called, references, wait, listen))
    _show(called, references, outcome, wait, as_json)
    if outcome is None or set(outcome.committed) != set(references):
        raise typer.Exit(1)


async def _commit(node: Node, references: list[Reference], wait: float, port: int | None) -> Outcome | None:
    import asyncio
    import contextlib
    import uuid

    from gateway.dimse import status
    from gateway.scu.commitment import request_commitment
    from gateway.scu.reports import taking_reports

    transaction_uid = f"2.25.{uuid.uuid4().int}"
    arrived: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    async def take(outcome: Outcome) -> int:
        if outcome.transaction_uid != transaction_uid:
            return status.INVALID_ARGUMENT_VALUE
        if not arrived.done():
            arrived.set_result(outcome)
        return status.SUCCESS

    async with contextlib.AsyncExitStack() as stack:
        if port is not None:
            _, bound = await stack.enter_async_context(taking_reports("", port, take))
            complain(f"listening on port {bound} for the report")
        on_association = 2.0 if port is not None else wait
        await request_commitment(node, transaction_uid, references, wait=min(wait, on_association), take=take)
        if port is not None:
            await asyncio.wait([arrived], timeout=max(0.0, wait - on_association))
    return arrived.result() if arrived.done() else None


def _of_files(paths: Sequence[Path]) -> list[Reference]:
    from gateway.dimse.commitment import Reference
    from gateway.errors import DataSetError
    from gateway.ingest.files import READ_ERRORS, Files, look_into

    found = []
    files = Files(list(paths))
    try:
        for source in files:
            try:
                each = look_into(source)
            except (*READ_ERRORS, DataSetError) as error:
                complain(f"{source.name}: cannot be read: {error}")
                continue
            if each is not None and each.sop_class_uid and each.sop_instance_uid:
                found.append(Reference(each.sop_class_uid, each.sop_instance_uid))
    finally:
        files.close()
    return found


async def _of_studies(settings: Settings, studies: list[str]) -> list[Reference]:
    from gateway.dimse.commitment import Reference
    from gateway.index.locate import every_located
    from gateway.ingest.data_folder import open_folder

    async with open_folder(settings.storage, settings.database.url, create=False) as folder:
        found = [
            Reference(each.sop_class_uid, each.sop_uid)
            for study in studies
            async for each in every_located(folder.database, study)
        ]
    return list(dict.fromkeys(found))  # several patients may have an instance of the same UID


def _show(node: Node, references: list[Reference], outcome: Outcome | None, wait: float, as_json: bool) -> None:
    from gateway.dimse.commitment import REASONS

    committed = set(outcome.committed) if outcome is not None else set()
    reasons = dict(outcome.failed) if outcome is not None else {}
    if as_json:
        print_json(
            {
                "transaction_uid": outcome.transaction_uid if outcome is not None else None,
                "reported": outcome is not None,
                "instances": [
                    {
                        "sop_class_uid": each.sop_class_uid,
                        "sop_instance_uid": each.sop_instance_uid,
                        "committed": each in committed,
                        "reason": f"{reasons[each]:04X}" if each in reasons else None,
                    }
                    for each in references
                ],
            }
        )
        return
    if outcome is None:
        print_line(f"{node} has accepted the request, but not reported within {wait:g} s")
        return
    for each, reason in reasons.items():
        words = REASONS.get(reason, "failed")
        complain(f"{each.sop_instance_uid}: {reason:04X}H {words}")
    print_line(f"{node}: {count(len(committed), 'instance')} committed, {len(references) - len(committed):,} not")
