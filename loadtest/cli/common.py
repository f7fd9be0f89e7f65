"""Parts shared by the commands: options, output, running on the loop."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Collection, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    import ssl

    from loadtest.data import Preset
    from loadtest.target import Web

T = TypeVar("T")

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
HtmlOption = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Write a report to this file: one page of HTML.", dir_okay=False),
]
ResultsOption = Annotated[
    Path | None,
    typer.Option(
        "--results",
        metavar="FOLDER",
        help="Write every single run, with the machine and the versions, to a new file of JSON in this folder.",
        file_okay=False,
    ),
]
SizeOption = Annotated[
    str, typer.Option(help="Pixels of an instance (8KB, 512KB, 1GB), or ct, mr, pet, cr, dx, mg, us, us-cine, xa.")
]

CaOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="PEM file with the trusted authorities, for TLS and https.", exists=True),
]
CertificateOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="PEM file with our certificate.", exists=True)
]
KeyOption = Annotated[Path | None, typer.Option(metavar="FILE", help="PEM file with its key.", exists=True)]


def preset_of(size: str) -> Preset:
    from loadtest.data import parse_size

    try:
        return parse_size(size)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--size") from None


def web_of(url: str | None, option: str) -> Web | None:
    from loadtest.target import Web

    try:
        return Web.parse(url) if url else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def trust_of(authorities: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """The TLS context of the options; None without any."""
    from gateway.errors import ConfigurationError
    from loadtest.target import trust

    if not any((authorities, certificate, key)):
        return None
    try:
        return trust(authorities, certificate, key)
    except ConfigurationError as error:
        raise typer.BadParameter(f"the files for TLS cannot be used: {error}", param_hint="--tls-ca") from None


def listed(text: str, known: Collection[str], option: str) -> list[str]:
    """Names separated by commas, each of them known, none twice."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := [name for name in names if name not in known]:
        raise typer.BadParameter(f"{', '.join(unknown)}; there are {', '.join(known)}", param_hint=option)
    return names


@contextlib.contextmanager
def room(folder: Path | None) -> Iterator[Path]:
    """A new folder for servers, in `folder` or where temporary files go, which is deleted at the end."""
    with tempfile.TemporaryDirectory(prefix="loadtest-", dir=folder) as place:
        path = Path(place)
        path.chmod(0o711)  # PostgreSQL refuses to run as root, and as another user has to get to its own folder.
        yield path


def on_loop(work: Coroutine[object, object, T]) -> T:
    import uvloop

    return uvloop.run(work)


def print_json(value: object) -> None:
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def say(text: str) -> None:
    print(f"dicom-gateway-loadtest: {text}", file=sys.stderr)
