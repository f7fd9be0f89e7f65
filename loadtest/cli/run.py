"""`run`: runs a scenario against a server."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from loadtest.cli import common

if TYPE_CHECKING:
    from loadtest.run import Options
    from loadtest.target import Target


def command(
    name: Annotated[str, typer.Argument(metavar="SCENARIO", help="A scenario of `scenarios`, or a TOML file.")],
    to: Annotated[str | None, typer.Option(metavar="AET@HOST:PORT", help="DICOM node.")] = None,
    web: Annotated[
        str | None, typer.Option(metavar="URL", help="DICOMweb service: http://user:password@HOST:8042/dicom-web.")
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="Start this server on this machine: gateway, orthanc, sink, …")
    ] = None,
    calling: Annotated[str, typer.Option("--aet", help="Our AE title.")] = "LOADTEST",
    move_to: Annotated[
        str | None,
        typer.Option(metavar="AET[:PORT]", help="Destination of C-MOVE; with a port, this program listens there."),
    ] = None,
    duration: Annotated[str | None, typer.Option(help="Instead of the scenario's: 90, 15min, 4h.")] = None,
    scale: Annotated[
        float, typer.Option(min=0.0001, help="Multiplies counts, rates and numbers of connections.")
    ] = 1.0,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for a connection or an answer.")] = 60.0,
    verify: Annotated[bool, typer.Option(help="Afterwards, ask the server for all that it acknowledged.")] = True,
    ceiling: Annotated[bool, typer.Option(help="First, measure what the generator itself can do.")] = True,
    existing: Annotated[
        int, typer.Option(min=0, help="Number of the server's existing studies to use for reading.")
    ] = 0,
    pid: Annotated[
        int | None, typer.Option(help="Watch this process; by default the one that listens there, if on this machine.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Memory budget of the server (400MB), for the report.")
    ] = None,
    tls: Annotated[bool, typer.Option("--tls", help="Call the DICOM node over TLS.")] = False,
    tls_ca: common.CaOption = None,
    tls_certificate: common.CertificateOption = None,
    tls_key: common.KeyOption = None,
    html: common.HtmlOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Run a scenario with live progress, and report. Ctrl-C ends it early."""
    from loadtest import live, peers, run
    from loadtest.cli import show
    from loadtest.existing import studies_of
    from loadtest.scenario import find, scaled

    scenario = scaled(find(name), scale, _span(duration))
    options = run.Options(verify=verify, ceiling=ceiling, pid=pid, budget=_bytes(budget))
    with contextlib.ExitStack() as stack:
        if start is not None:
            if to or web:
                raise typer.BadParameter("--start excludes --to and --web", param_hint="--start")
            (start,) = common.listed(start, peers.PEERS, "--start")
            target = _started(start, stack, options, calling, timeout)
        else:
            trusted = common.trust_of(tls_ca, tls_certificate, tls_key)
            target = _target(to, web, calling, move_to, timeout, options)
            target = dataclasses.replace(target, tls=tls, trust=trusted)

        async def work() -> run.Result:
            if existing:
                options.places = await studies_of(target, existing)
            return await live.run(scenario, target, options)

        result = common.on_loop(work())
    show.result(result, html, as_json=as_json)


def _target(
    to: str | None, web: str | None, calling: str, move_to: str | None, timeout: float, options: Options
) -> Target:
    from loadtest.target import Target, parse_node

    if not to and not web:
        raise typer.BadParameter("name a server: --to AET@HOST:PORT, --web URL, or start one: --start gateway")
    try:
        aet, host, port = parse_node(to) if to else ("", "", 0)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--to") from None
    destination, _, listen = (move_to or "").partition(":")
    if listen:
        if not listen.isdigit():
            raise typer.BadParameter("AET, or AET:PORT", param_hint="--move-to")
        options.listen = ("0.0.0.0", int(listen))
    return Target(host, port, aet, calling, timeout, common.web_of(web, "--web"), destination)


def _started(name: str, stack: contextlib.ExitStack, options: Options, calling: str, timeout: float) -> Target:
    """Start a server in a folder that is deleted afterwards; returns it as a target that may send to us."""
    from loadtest import peers
    from loadtest.target import Target, Web

    folder = stack.enter_context(common.room(None)) / name
    port = peers.free_port()
    peer = stack.enter_context(peers.PEERS[name](folder, peers.Wiring({calling: port})))
    options.listen = ("127.0.0.1", port)
    options.pid = options.pid or peer.pid
    web = Web.parse(peer.dicomweb) if peer.dicomweb else None
    return Target(peer.host, peer.port, peer.aet, calling, timeout, web, calling)


def _span(text: str | None) -> float | None:
    from loadtest.scenario import span

    try:
        return None if text is None else span(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--duration") from None


def _bytes(text: str | None) -> int | None:
    from loadtest.data import parse_bytes

    try:
        return None if text is None else parse_bytes(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--budget") from None
