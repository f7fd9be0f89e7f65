"""`dicom-gateway serve`: runs the gateway in the foreground. `gateway/server.py` builds it."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated

import typer

from gateway.cli.common import ConfigOption, DataOption


def serve(
    config_file: ConfigOption = None,
    data: DataOption = None,
    aet: Annotated[str | None, typer.Option(help="Our AE title.  [default: GATEWAY]", show_default=False)] = None,
    dicom_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="DICOM port, 0 for any.  [default: 4242]", show_default=False)
    ] = None,
    http_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="HTTP port, 0 for any.  [default: 8042]", show_default=False)
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(help="Address that both listen on.  [default: 127.0.0.1]", show_default=False),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes that serve.  [default: one for two CPUs, at most 8]", show_default=False),
    ] = None,
) -> None:
    """Receive, store and serve images until SIGTERM or Ctrl-C.

    The configuration file is reloaded when it has changed, and at SIGHUP.

    Without a file and without flags, the gateway listens on this machine only and stores its data in ./gateway-data.
    """
    overrides = {
        "storage.path": str(data) if data else None,
        "dicom.aet": aet,
        "dicom.port": dicom_port,
        "dicom.host": host,
        "http.port": http_port,
        "http.host": host,
        "server.workers": workers,
    }
    import uvloop

    from gateway import examination, server
    from gateway.config.provenance import note_sources
    from gateway.telemetry import setup_logging
    from gateway.workers import parent
    from gateway.workers.sizing import number_of_workers

    settings = examination.load(config_file, overrides)
    setup_logging(settings.log.level, settings.log.format)
    note_sources(config_file, overrides)

    def say(dicom: tuple[str, int] | None, tls: tuple[str, int] | None, web_url: str) -> None:
        print_listeners(settings.dicom.aet, dicom, tls, web_url)

    count = number_of_workers(settings)
    if count == 1:
        serving = server.serve(settings, config_file=config_file, overrides=overrides, on_listening=say)
    else:
        serving = parent.serve(settings, count, config_file=config_file, overrides=overrides, on_listening=say)
    code = uvloop.run(serving)
    raise typer.Exit(code)


def print_listeners(aet: str, dicom: tuple[str, int] | None, tls: tuple[str, int] | None, web_url: str) -> None:
    """Print the first lines on standard output: where to send, and where to browse."""
    for what, address in (("DICOM", dicom), ("TLS  ", tls)):
        if address is not None:
            host, port = address
            at = f"{aet}@{f'[{host}]' if ':' in host else host}:{port}"
            near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
            command = f"   {shlex.join(['storescu', '-aec', aet, near, str(port)])} file.dcm" if what == "DICOM" else ""
            sys.stdout.write(f"{what}  {at}{command}\n")
    sys.stdout.write(f"Web    {web_url.rstrip('/').removesuffix('/ui')}/ui/\n")
    sys.stdout.flush()
