"""`dicom-gateway hash-password`: the string that stands for a password in the configuration."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gateway.cli.common import print_line


def hash_password(
    stdin: Annotated[
        bool, typer.Option("--stdin", help="Read the password from the first line of standard input.")
    ] = False,
) -> None:
    """Ask for a password and print its hash, as the configuration wants it.

    The password is never an argument: those stand in the list of processes and in the shell's history.
    """
    from gateway.access.passwords import hash_password as make

    if stdin or not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    if not password:
        sys.stderr.write("dicom-gateway: an empty password is none\n")
        raise typer.Exit(2)
    print_line(make(password))
