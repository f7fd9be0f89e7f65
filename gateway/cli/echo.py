"""`dicom-gateway echo`: is there a DICOM application at that address, and does it talk to us? (C-ECHO, PS3.4 A)"""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

import typer

from gateway.cli.common import JsonOption, print_json, print_line


def echo(
    host: Annotated[str, typer.Argument(help="Name or address.")],
    port: Annotated[int, typer.Argument(min=1, max=65535)],
    called: Annotated[str, typer.Option("--aec", help="AE title that we call.")] = "ANY-SCP",
    calling: Annotated[str, typer.Option("--aet", help="AE title that we call ourselves.")] = "GATEWAY",
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for the whole exchange.")] = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Open an association, send C-ECHO, release it. Exit code 1, with the reason, where that fails."""
    import uvloop

    began = time.monotonic()
    result = uvloop.run(_echo(host, port, called, calling, timeout))
    seconds = time.monotonic() - began
    if as_json:
        print_json(
            {"host": host, "port": port, "called_aet": called, "status": f"{result:04X}", "seconds": round(seconds, 4)}
        )
    else:
        answer = "answers" if result == 0 else f"answers with status {result:04X}"
        print_line(f"{called}@{host}:{port} {answer}, in {seconds * 1000:.0f} ms")
    if result != 0:
        raise typer.Exit(1)


async def _echo(host: str, port: int, called: str, calling: str, timeout: float) -> int:
    from gateway.dicom import uids
    from gateway.errors import AssociationLost
    from gateway.net.requestor import Call, associate

    context = (uids.VERIFICATION, [uids.IMPLICIT_VR_LITTLE_ENDIAN.uid])
    call = Call(host, port, called_aet=called, calling_aet=calling, contexts=[context], timeout=timeout)
    try:
        async with asyncio.timeout(timeout), associate(call) as association:
            return await association.echo()
    except TimeoutError:
        raise AssociationLost(f"{called}@{host}:{port}: no answer within {timeout:g} s") from None
    except OSError as error:
        raise AssociationLost(f"{called}@{host}:{port}: {error.strerror or error}") from None
