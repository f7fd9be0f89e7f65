"""What several commands share: their options, printing results, progress bars. No command stands here."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from gateway.config import Settings

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", envvar="GATEWAY_CONFIG", help="Configuration file (TOML)."),
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", "-d", metavar="DIR", help="Data folder.  [default: ./gateway-data]", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

Progress = Callable[[int, int | None], None]
"""Called with how much is done, and of how much (None where that is not known yet)."""


def load_settings(file: Path | None, data: Path | None, **overrides: Any) -> Settings:
    """Settings of a command that works on a data folder. Raises ConfigurationError."""
    from gateway import config

    # Such a command listens to nothing: whether the listeners would be open to all is no concern of it.
    return config.load(file, overrides={**overrides, "storage.path": str(data) if data else None})


def print_json(value: object) -> None:
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def print_line(text: str = "") -> None:
    sys.stdout.write(text + "\n")


@contextlib.contextmanager
def progress_bar(title: str, *, quiet: bool = False) -> Iterator[Progress]:
    """A bar on standard error while the `with` runs; nothing where that is not a terminal, or with `quiet`."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def size(number: float) -> str:
    """Bytes as a person reads them: `512 B`, `1.4 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def count(number: int, singular: str, plural: str | None = None) -> str:
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def show_lost(keys: Sequence[str]) -> None:
    """Name the files that a backup could not have."""
    for key in keys:
        sys.stderr.write(f"dicom-gateway: instance file {key} is missing or has the wrong size\n")
