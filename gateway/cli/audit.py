"""`dicom-gateway audit verify` and `audit list`: the audit log of a data folder, also while a gateway runs on it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from gateway.cli.common import ConfigOption, DataOption, JsonOption, complain, load_settings, print_json, print_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.audit.entry import AuditEntry
    from gateway.config import Settings
    from gateway.database.database import Database

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True, help="Read the audit log, and check that it is whole.")


@app.command("verify")
def verify(
    noted: Annotated[
        list[str] | None,
        typer.Option("--noted", metavar="NUMBER:HASH", help="What an earlier check has printed; repeatable."),
    ] = None,
    config_file: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check every entry of the audit log against the one before it.

    Exit code 1 if anything was removed or changed. What it prints, kept elsewhere and given with --noted later, proves
    that nobody has made the whole log anew.
    """
    from gateway.audit.chain import ChainLink
    from gateway.audit.table import verify as check

    try:
        links = [
            ChainLink(int(number), bytes.fromhex(text)) for number, _, text in (n.partition(":") for n in noted or [])
        ]
    except ValueError:
        complain("--noted: NUMBER:HASH, as an earlier check has printed it")
        raise typer.Exit(2) from None
    found = asyncio.run(_read(load_settings(config_file, data), lambda database: check(database, links)))
    if as_json:
        print_json(found)
    elif found.problem:
        complain(f"the audit log is not whole: {found.problem}")
    elif not found.last:
        print_line("the audit log is empty")
    else:
        print_line(f"entries {found.first} to {found.last} are whole; note {found.last}:{found.hash}")
    if found.problem:
        raise typer.Exit(1)


@app.command("list")
def list_(
    user: Annotated[str, typer.Option(help="Only of this user.")] = "",
    study: Annotated[str, typer.Option(metavar="UID", help="Only about this study.")] = "",
    action: Annotated[str, typer.Option(help="Only of this action.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most entries.")] = 100,
    config_file: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print entries of the audit log, newest first."""
    from gateway.audit.table import AuditFilter, search

    wanted = AuditFilter(user=user, study_uid=study, action=action)
    settings = load_settings(config_file, data)
    found = asyncio.run(_read(settings, lambda database: search(database, wanted, skip=0, limit=limit)))
    if as_json:
        print_json([{**each._asdict(), "detail": each.details, "hash": each.hash.hex()} for each in found])
        return
    for each in found:
        print_line(_line(each))


def _line(one: AuditEntry) -> str:
    import datetime

    at = datetime.datetime.fromtimestamp(one.at, datetime.UTC).isoformat(sep=" ", timespec="seconds")
    who = f"{one.user or '-'} {one.origin or 'gateway'}"
    times = f" ({one.number} times)" if one.number > 1 else ""
    outcome = "" if one.outcome == "success" else f" {one.outcome}"
    return f"{one.seq} {at} {who}: {one.action}{times}{outcome} {one.study_uid or one.public_id} {one.detail}"


async def _read(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    from gateway.errors import ConfigurationError
    from gateway.ingest.index_database import open_database
    from gateway.storage.layout import Layout

    layout = Layout(Path(settings.storage.path))
    if not layout.has_index():
        raise ConfigurationError(f"{settings.storage.path}: there is no archive here; name one with --data")
    database = await open_database(layout, settings.database.url)
    try:
        return await work(database)
    finally:
        await database.close()
