"""`dicom-gateway hash-password`: hashes a password for the configuration."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gateway.cli.common import complain, print_line


def hash_password(
    stdin: Annotated[
        bool, typer.Option("--stdin", help="Read the password from the first line of standard input.")
    ] = False,
) -> None:
    """Ask for a password and print its hash, for the configuration.

    The password is never an argument: arguments are visible in the process list and in the shell's history.
    """
    from gateway.access.passwords import hash_password as make

    if stdin or not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    if not password:
        complain("the password is empty")
        raise typer.Exit(2)
    print_line(make(password))
