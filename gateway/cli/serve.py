"""`dicom-gateway serve`: run the gateway in the foreground. What it is made of stands in `gateway/server.py`."""

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
    """Take in, keep and serve images until SIGTERM or Ctrl-C. A changed configuration is read while it runs.

    That is, once the file has changed or SIGHUP has come.

    Without a file and without flags it listens on this machine only and keeps its data in ./gateway-data.
    """
    from gateway import config

    overrides = {
        "storage.path": str(data) if data else None,
        "dicom.aet": aet,
        "dicom.port": dicom_port,
        "dicom.host": host,
        "http.port": http_port,
        "http.host": host,
        "server.workers": workers,
    }
    settings = config.load(config_file, overrides=overrides)

    import uvloop

    from gateway import server
    from gateway.telemetry import setup_logging
    from gateway.workers import parent
    from gateway.workers.sizing import number_of_workers

    setup_logging(settings.log.level, settings.log.format)

    def say(dicom: tuple[str, int], tls: tuple[str, int] | None, web_url: str) -> None:
        print_listeners(settings.dicom.aet, dicom, tls, web_url)

    count = number_of_workers(settings)
    if count == 1:
        serving = server.serve(settings, config_file=config_file, overrides=overrides, on_listening=say)
    else:
        serving = parent.serve(settings, count, config_file=config_file, overrides=overrides, on_listening=say)
    code = uvloop.run(serving)
    raise typer.Exit(code)


def print_listeners(aet: str, dicom: tuple[str, int], tls: tuple[str, int] | None, web_url: str) -> None:
    """The first lines on standard output: where to send, and where to look."""
    host, port = dicom
    near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    command = shlex.join(["storescu", "-aec", aet, near, str(port)])
    at = f"{aet}@{f'[{host}]' if ':' in host else host}"
    sys.stdout.write(f"DICOM  {at}:{port}   {command} file.dcm\n")
    if tls is not None:
        sys.stdout.write(f"TLS    {at}:{tls[1]}\n")
    sys.stdout.write(f"Web    {web_url.rstrip('/').removesuffix('/ui')}/ui/\n")
    sys.stdout.flush()
