"""Parts shared by commands: options, printed results, progress bars. No command is defined here."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.printable import printable

if TYPE_CHECKING:
    from gateway.config import Settings, Storage

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", envvar="GATEWAY_CONFIG", help="Configuration file (TOML)."),
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", "-d", metavar="DIR", help="Data folder.  [default: ./gateway-data]", show_default=False),
]
CreateOption = Annotated[bool, typer.Option("--create", help="Create an archive where there is none.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

Progress = Callable[[int, int | None], None]
"""Called with the amount done, and the total (None if unknown)."""


def load_settings(file: Path | None, data: Path | None, **overrides: Any) -> Settings:
    """The settings of a command that uses a data folder. Raises ConfigurationError."""
    from gateway import config

    # Such a command listens to nothing: whether the listeners would be open to all does not concern it.
    return config.load(file, overrides={**overrides, "storage.path": str(data) if data else None})


@contextlib.contextmanager
def audited(settings: Settings, action: str, **detail: Any) -> Iterator[dict[str, Any]]:
    """Write down in the audit log of the data folder what the block does, by the user of this command line.

    The block may add to the detail. An exception makes a failure of it; nothing is written where there is no archive.
    """
    done = False
    try:
        yield detail
        done = True
    except typer.Exit:
        done = True
        raise
    finally:
        if settings.is_audited:
            import asyncio

            from gateway.admin.auditing import write_down

            asyncio.run(write_down(settings, action, detail, done=done))


def need_archive(storage: Storage, create: bool) -> None:
    """Continue only if there is an archive, or a new one is wanted: by `--create`, or by a yes on the terminal.

    Raises ConfigurationError otherwise: a misspelt folder must not become an archive that nobody knows of.
    """
    from gateway.errors import ConfigurationError
    from gateway.storage.layout import Layout

    if create or Layout(Path(storage.path)).has_index():
        return
    where = Path(storage.path).absolute()
    on_terminal = sys.stdin.isatty() and sys.stderr.isatty()
    if on_terminal and typer.confirm(f"There is no archive in {where}. Create one?", err=True):
        return
    raise ConfigurationError(f"{where}: there is no archive here; name one with --data, or create one with --create")


def print_json(value: object) -> None:
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def print_line(text: str = "") -> None:
    """Write a line to standard output; control characters of peers are escaped."""
    sys.stdout.write(printable(text) + "\n")


def complain(text: str) -> None:
    """Write a line to standard error, escaped like `print_line`."""
    sys.stderr.write(f"dicom-gateway: {printable(text)}\n")


@contextlib.contextmanager
def progress_bar(title: str, *, quiet: bool = False) -> Iterator[Progress]:
    """Show a bar on standard error inside the context; nothing if that is not a terminal, or with `quiet`."""
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
    """A number of bytes for display: `512 B`, `1.4 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def count(number: int, singular: str, plural: str | None = None) -> str:
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def count_stored(instances: int, attachments: int) -> str:
    """Numbers of instances and, where there are any, of attachments, in words."""
    return count(instances, "instance") + (f" and {count(attachments, 'attachment')}" if attachments else "")


def show_lost(keys: Sequence[str]) -> None:
    """List the files that a backup could not copy."""
    for key in keys:
        complain(f"instance file {key} is missing or has the wrong size")
