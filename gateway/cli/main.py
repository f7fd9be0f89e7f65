"""The command `dicom-gateway`: its commands by name, and how errors leave it.

Each command is one file beside this one and imports what it works with only when it runs, so that `--help` is
there at once. Exit codes: 0 done, 1 the operation failed, 2 used wrongly (a flag, or the configuration).
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from gateway.cli import (
    anonymize,
    backup,
    check_config,
    commit,
    deliveries,
    echo,
    find,
    get,
    hash_password,
    import_,
    install_ohif,
    modify,
    move,
    reindex,
    restore,
    routes,
    send,
    serve,
    status,
)
from gateway.errors import ConfigurationError, GatewayError

app = typer.Typer(
    name="dicom-gateway",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A DICOM gateway: takes in images over DICOM and HTTP, keeps them safe, serves them over DICOMweb.",
)
app.command("serve")(serve.serve)
app.command("status")(status.status)
app.command("check-config")(check_config.check_config)
app.command("hash-password")(hash_password.hash_password)
app.command("import")(import_.import_)
app.command("modify")(modify.modify)
app.command("anonymize")(anonymize.anonymize)
app.command("reidentify")(anonymize.reidentify)
app.command("backup")(backup.backup)
app.command("restore")(restore.restore)
app.command("install-ohif")(install_ohif.install_ohif)
app.command("reindex")(reindex.reindex)
app.command("echo")(echo.echo)
app.command("send")(send.send)
app.command("find")(find.find)
app.command("move")(move.move)
app.command("get")(get.get)
app.command("commit")(commit.commit)
app.add_typer(routes.app, name="routes")
app.command("destinations")(deliveries.destinations)
app.add_typer(deliveries.app, name="deliveries")
app.command("trace")(deliveries.trace)


def _version(wanted: bool) -> None:
    if wanted:
        from gateway import __version__

        sys.stdout.write(f"dicom-gateway {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version and leave.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; every error on purpose becomes one line on standard error, never a traceback."""
    try:
        app()
    except ConfigurationError as error:
        _fail(error, 2)
    except GatewayError as error:
        _fail(error, 1)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _fail(error, 1)


def _fail(error: Exception, code: int) -> None:
    text = " ".join(str(error).split()) or type(error).__name__
    sys.stderr.write(f"dicom-gateway: {text}\n")
    sys.exit(code)
