"""`send`: sends instances by C-STORE, without a scenario."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loadtest.cli import common

if TYPE_CHECKING:
    from loadtest.data import Instance, Source


def command(
    host: Annotated[str, typer.Argument(help="Name or address.")],
    port: Annotated[int, typer.Argument(min=1, max=65535)],
    called: Annotated[str, typer.Option("--aec", help="AE title of the node.")] = "ANY-SCP",
    calling: Annotated[str, typer.Option("--aet", help="Our AE title.")] = "LOADTEST",
    associations: Annotated[int, typer.Option("--associations", "-k", min=1, help="Concurrent associations.")] = 1,
    instances: Annotated[
        int | None,
        typer.Option("--instances", "-n", min=1, help="Instances per association.  [default: 100, or each file once]"),
    ] = None,
    size: common.SizeOption = "512KB",
    files: Annotated[
        list[Path] | None,
        typer.Option(exists=True, help="Send these files (or folders of them) byte for byte instead. Repeatable."),
    ] = None,
    new_uids: Annotated[bool, typer.Option("--new-uids", help="Give files new UIDs each time they are sent.")] = False,
    window: Annotated[
        int, typer.Option(min=1, max=65535, help="Concurrent instances on one association, if the node agrees.")
    ] = 1,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for a connection or an answer.")] = 60.0,
    verify: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Afterwards, ask this DICOMweb service for everything acknowledged."),
    ] = None,
    acknowledged: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write each SOP Instance UID to this file as soon as it is acknowledged."),
    ] = None,
    tls: Annotated[bool, typer.Option("--tls", help="Call the node over TLS.")] = False,
    tls_ca: common.CaOption = None,
    tls_certificate: common.CertificateOption = None,
    tls_key: common.KeyOption = None,
    html: common.HtmlOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Store instances (C-STORE) as fast as the node accepts them, and report the rate. Ctrl-C ends it early."""
    from loadtest import live, run
    from loadtest.cli import show
    from loadtest.data import Synthetic
    from loadtest.files import Files
    from loadtest.scenario import Scenario, Work
    from loadtest.target import Target

    source: Source
    if files:
        source = Files(files, instances, new_uids=new_uids)
        for path, reason in source.skipped:
            common.say(f"skipped {path}: {reason}")
        what = f"{len(source.files)} file{'s' if len(source.files) > 1 else ''}"
    else:
        source, what = Synthetic(common.preset_of(size), instances or 100), size
    plural = "" if associations == 1 else "s"
    work = Work(do="store", data=size, count=source.total(associations), at_once=associations, window=window)
    scenario = Scenario(title=f"{associations} association{plural}, {what}", about="", work=(work,))
    target = Target(host, port, called, calling, timeout, common.web_of(verify, "--verify"), tls=tls)
    target = dataclasses.replace(target, trust=common.trust_of(tls_ca, tls_certificate, tls_key))
    with contextlib.ExitStack() as stack:
        options = run.Options(verify=verify is not None, source=source)
        if acknowledged is not None:
            # A line is written before the next instance is sent, so it survives a crash of this process.
            file = stack.enter_context(acknowledged.open("w", buffering=1, encoding="ascii"))

            def note(instance: Instance) -> None:
                file.write(instance.sop_instance_uid + "\n")

            options.acknowledged = note
        result = common.on_loop(live.run(scenario, target, options))
    show.result(result, html, as_json=as_json)
