"""The command `dicom-gateway`: its commands by name, and the exit codes of errors.

Each command is one file beside this one and imports its dependencies only when it runs, so that `--help` is fast. Exit
codes: 0 done, 1 the operation failed, 2 wrong use: a flag, or the configuration, whichever command reads it.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from gateway.cli import (
    anonymize,
    audit,
    backup,
    check_config,
    commit,
    deliveries,
    doctor,
    echo,
    erase,
    export,
    find,
    get,
    hash_password,
    import_,
    install_ohif,
    migrate,
    modify,
    move,
    reindex,
    restore,
    routes,
    send,
    serve,
    status,
    storage,
    tokens,
)
from gateway.cli.common import complain
from gateway.errors import ConfigurationError, GatewayError

app = typer.Typer(
    name="dicom-gateway",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Markup would remove [changes] from a help text.
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A DICOM gateway: receives images over DICOM and HTTP, stores them safely, serves them over DICOMweb.",
)
app.command("serve")(serve.serve)
app.command("status")(status.status)
app.command("check-config")(check_config.check_config)
app.command("hash-password")(hash_password.hash_password)
app.command("import")(import_.import_)
app.add_typer(migrate.app, name="migrate")
app.add_typer(storage.app, name="storage")
app.command("modify")(modify.modify)
app.command("anonymize")(anonymize.anonymize)
app.command("reidentify")(anonymize.reidentify)
app.command("backup")(backup.backup)
app.command("restore")(restore.restore)
app.command("erase")(erase.erase)
app.command("export")(export.export)
app.command("install-ohif")(install_ohif.install_ohif)
app.add_typer(audit.app, name="audit")
app.add_typer(tokens.app, name="token")
app.command("link")(tokens.link)
app.command("reindex")(reindex.reindex)
app.command("doctor")(doctor.doctor)
app.command("echo")(echo.echo)
app.command("send")(send.send)
app.command("find")(find.find)
app.command("move")(move.move)
app.command("get")(get.get)
app.command("commit")(commit.commit)
app.add_typer(routes.app, name="routes")
app.add_typer(deliveries.destinations_app, name="destinations")
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
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line. An expected error is a line on standard error, or one for each problem."""
    try:
        app()
    except ConfigurationError as error:
        _fail(2, *error.texts)
    except GatewayError as error:
        _fail(1, str(error))
    except BrokenPipeError:  # the reader of our output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _fail(1, str(error) or type(error).__name__)


def _fail(code: int, *texts: str) -> None:
    for text in texts:
        complain(" ".join(text.split()))
    sys.exit(code)
