"""`dicom-gateway move`: has a DICOM node send instances to a third one (C-MOVE, PS3.4 C.4.2)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.common import JsonOption, Progress, complain, count, print_json, print_line, progress_bar
from gateway.cli.nodes import (
    Calling,
    KeysArgument,
    NodeArgument,
    calls_a_node,
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


@calls_a_node()
def move(
    node: NodeArgument,
    calling: Calling,
    keys: KeysArgument,
    destination: Annotated[
        str | None,
        typer.Option("--to", metavar="AET", help="AE title of the destination.  [default: ours]", show_default=False),
    ] = None,
    level: LevelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move for example a study from one node to another: `move ARCHIVE StudyInstanceUID=1.2.3 --to WORKSTATION`.

    The node must know the destination. Exit code 1 unless every instance arrived, and if nothing matches.
    """
    wanted = parse_keys(keys or [])
    at = retrieve_level(wanted, level)
    settings, called = node_of(node, calling)

    import uvloop

    from gateway.scu import find, move

    model = move.PATIENT_ROOT if at == "patient" else move.STUDY_ROOT
    responses = move.move(called, find.identifier(at, wanted), destination or settings.dicom.aet, model=model)
    with progress_bar("moving", quiet=as_json) as progress:
        final = uvloop.run(follow(responses, progress))
    if not show(str(called), final, as_json):
        raise typer.Exit(1)


async def follow(responses: AsyncGenerator[Suboperations, None], progress: Progress) -> Suboperations | None:
    """Show the progress until the final response; returns that."""
    last = None
    async with aclosing(responses):
        async for last in responses:
            if last.total:
                progress(last.total - last.remaining, last.total)
    return last


def show(node: str, final: Suboperations | None, as_json: bool, where: str = "") -> bool:
    """Print the outcome of a move or a get. Returns whether anything was sent, and all of it arrived."""
    from gateway.dimse.status import describe

    if final is None:
        return False
    moved = final.completed + final.warning
    done = final.is_success and moved > 0
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
        return done
    for uid in final.failed_uids:
        print_line(f"failed: {uid}")
    if final.is_success and not moved and not final.failed:
        complain(f"{node}: nothing there matches")
        return False
    comment = f" ({final.comment})" if final.comment else ""
    print_line(
        f"{node}: {describe(final.status)}{comment}: {count(final.completed, 'instance')}{where}, "
        f"{final.warning:,} with warnings, {final.failed:,} failed"
    )
    return done
