"""The whole command. Exit codes: 0 all went well, 1 something failed, is missing or differs, 2 wrong use."""

from __future__ import annotations

import sys

import typer

from gateway.errors import ConfigurationError, GatewayError
from loadtest.cli import benchmark, common, compare, growth, run, scenarios, send, sink

app = typer.Typer(
    name="dicom-gateway-loadtest",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Puts load on any DICOM node or DICOMweb server, and compares servers side by side.",
)
app.command("scenarios")(scenarios.command)
app.command("run")(run.command)
app.command("send")(send.command)
app.command("compare")(compare.command)
app.command("growth")(growth.command)
app.command("benchmark")(benchmark.command)
app.command("sink")(sink.command)


def main() -> None:
    """Run the command line; every expected error becomes one line on standard error, never a traceback."""
    try:
        app()
    except ConfigurationError as error:
        common.say(" ".join(str(error).split()))
        sys.exit(2)
    except (GatewayError, OSError) as error:
        common.say(" ".join(str(error).split()) or type(error).__name__)
        sys.exit(1)
