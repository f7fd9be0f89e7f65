"""`dicom-gateway move`: have a DICOM node send what it holds to a third one (C-MOVE, PS3.4 C.4.2)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.common import ConfigOption, JsonOption, Progress, count, print_json, print_line, progress_bar
from gateway.cli.nodes import (
    AetOption,
    KeysArgument,
    NodeArgument,
    TimeoutOption,
    check_level,
    node_of,
    parse_keys,
    retrieve_level,
)

if TYPE_CHECKING:
    from gateway.scu.move import Progress as Suboperations

LevelOption = Annotated[
    str | None,
    typer.Option("--level", "-l", help="patient, study, series or instance.  [default: that of the keys]"),
]


def move(
    node: NodeArgument,
    keys: KeysArgument,
    destination: Annotated[
        str | None,
        typer.Option("--to", metavar="AET", help="AE title that it sends to.  [default: ours]", show_default=False),
    ] = None,
    config_file: ConfigOption = None,
    level: LevelOption = None,
    aet: AetOption = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move a study, say, from one node to another: `move ARCHIVE StudyInstanceUID=1.2.3 --to WORKSTATION`.

    The node must know the destination. Exit code 1 unless every instance arrived.
    """
    check_level(level)
    wanted = parse_keys(keys or [])
    at = retrieve_level(wanted, level)
    settings, called = node_of(node, config_file, aet, timeout)

    import uvloop

    from gateway.scu import find, move

    model = move.PATIENT_ROOT if at == "patient" else move.STUDY_ROOT
    asked = move.move(called, find.identifier(at, wanted), destination or settings.dicom.aet, model=model)
    with progress_bar("moving", quiet=as_json) as progress:
        final = uvloop.run(follow(asked, progress))
    show(str(called), final, as_json)
    if final is None or not final.is_success:
        raise typer.Exit(1)


async def follow(responses: AsyncGenerator[Suboperations, None], progress: Progress) -> Suboperations | None:
    """Show how it goes until the final response, which is returned."""
    last = None
    async with aclosing(responses):
        async for last in responses:
            if last.total:
                progress(last.total - last.remaining, last.total)
    return last


def show(node: str, final: Suboperations | None, as_json: bool, where: str = "") -> None:
    """The outcome of a move or a get."""
    from gateway.dimse.status import describe

    if final is None:
        return
    if as_json:
        print_json(
            {
                "status": f"{final.status:04X}",
                "detail": describe(final.status),
                "comment": final.comment,
                "completed": final.completed,
                "failed": final.failed,
                "warning": final.warning,
                "failed_sop_instance_uids": list(final.failed_uids),
            }
        )
        return
    for uid in final.failed_uids:
        print_line(f"failed: {uid}")
    comment = f" ({final.comment})" if final.comment else ""
    print_line(
        f"{node}: {describe(final.status)}{comment}: {count(final.completed, 'instance')}{where}, "
        f"{final.warning:,} with warnings, {final.failed:,} failed"
    )
