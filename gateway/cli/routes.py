"""`dicom-gateway routes`: are the rules right, where would something go and why, what would other rules do?

All of it is worked out here, from the configuration, files and the data folder; nothing is sent or changed.
"""

from __future__ import annotations

import asyncio
import enum
import re
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.common import ConfigOption, DataOption, JsonOption, count, load_settings, print_json, print_line
from gateway.cli.editing import words_of_change
from gateway.errors import ConfigurationError, DataSetError

if TYPE_CHECKING:
    from gateway.archive.deliveries.dispatch import Routes
    from gateway.archive.deliveries.explaining import Explained
    from gateway.routing.conditions import Facts

app = typer.Typer(no_args_is_help=True, help="Rules: check them, and see what they do before they do it.")


class Way(enum.StrEnum):
    DIMSE = "dimse"
    STOW = "stow"
    REST = "rest"
    IMPORT = "import"


NewOption = Annotated[Path, typer.Option("--new", metavar="FILE", help="The other configuration.", show_default=False)]


@app.command()
def check(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", envvar="GATEWAY_CONFIG", help="Configuration file (TOML).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Every mistake in rules, destinations and modalities, with its line. Exit code 1 where there is one."""
    from gateway.config.mistakes import find_mistakes
    from gateway.edit.change_set import ChangeSet
    from gateway.routing.router import Router

    found = find_mistakes(file, Router, ChangeSet.build)
    if as_json:
        print_json([{"line": each.line, "place": each.place, "text": each.text} for each in found])
    else:
        for each in found:
            print_line(f"{file or 'environment'}:{each.line}: {each.text}" if each.line else f"{file}: {each.text}")
        print_line(f"{file or 'these defaults'}: {count(len(found), 'mistake') if found else 'valid'}")
    if found:
        raise typer.Exit(1)


@app.command()
def explain(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE|NAME...",
            help="Files, or stored studies and instances by UID, identifier or accession number.",
        ),
    ],
    config: ConfigOption = None,
    data: DataOption = None,
    calling_aet: Annotated[str, typer.Option(help="Who would send a file to us.")] = "ANYBODY",
    called_aet: Annotated[str, typer.Option(help="As what we would be called.")] = "",
    peer: Annotated[str, typer.Option(help="The address that it would come from.")] = "127.0.0.1",
    via: Annotated[Way, typer.Option(help="How it would come.")] = Way.DIMSE,
    as_json: JsonOption = False,
) -> None:
    """Which rules match and why the others do not, for files or for what is stored, under this configuration."""
    from gateway.archive.deliveries import explaining
    from gateway.archive.deliveries.dispatch import Routes
    from gateway.index.store import Origin

    settings = load_settings(config, data)
    routes = Routes(settings)
    told: list[tuple[str, Explained]] = []

    async def run(names: list[str]) -> None:
        from gateway.archive.folder import open_folder

        async with open_folder(settings.storage, create=False) as folder:
            for name in names:
                told.extend([each async for each in explaining.explain_stored(folder, routes, name)])

    origin = Origin(calling_aet, called_aet or settings.dicom.aet, peer, time.time(), via.value)
    for text in [each for each in what if Path(each).is_file()]:
        try:
            told.append((text, explaining.explain_file(Path(text), routes, origin)))
        except DataSetError as error:
            sys.stderr.write(f"dicom-gateway: {text}: {error}\n")
            raise typer.Exit(1) from None
    if names := [each for each in what if not Path(each).is_file()]:
        asyncio.run(run(names))
    if as_json:
        print_json([_as_json(name, each) for name, each in told])
        return
    if not settings.rules:
        print_line("There are no rules: nothing goes anywhere.")
    # What is alike is said once.
    alike: defaultdict[tuple[Any, ...], list[str]] = defaultdict(list)
    for name, each in told:
        alike[tuple(each.verdicts), each.places, each.kept_back].append(name)
    for names in alike.values():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        print_line(f"{names[0]}{more}")
        _show(routes, next(each for name, each in told if name == names[0]))


def _show(routes: Routes, told: Explained) -> None:
    for verdict in told.verdicts:
        rule = routes.settings.rules[verdict.rule]
        if verdict.matches:
            where = ", ".join(rule.destinations) or "nowhere"
            whole = "" if rule.each == "instance" else f", with its whole {rule.each} once that is stable"
            changes = f", with {rule.changes}" if rule.changes else ""
            print_line(f"  yes  {verdict.rule}: to {where}{changes}{whole}")
        elif not verdict.looked_at:
            print_line(f"   -   {verdict.rule}: not looked at, a rule before it is the last")
        else:
            print_line(f"  no   {verdict.rule}: {'; '.join(verdict.reasons)}")
    for name in told.kept_back:
        print_line(f"       not to {name}: it came from there")
    for name, made in told.changes.items():
        if isinstance(made, str):
            print_line(f"  {name} cannot be made, so nothing is sent with it: {made}")
            continue
        print_line(f"  {name} makes {count(len(made), 'change')}")
        for change in made:
            print_line(f"       {words_of_change(change)}")


def _as_json(name: str, told: Explained) -> dict[str, Any]:
    return {
        "name": name,
        "sop_instance_uid": told.record.sop_instance_uid,
        "deliveries": [
            {"destination": destination, "changes": changes, "rule": rule} for destination, changes, rule in told.places
        ],
        "kept_back": list(told.kept_back),
        "changes": {
            name: changes if isinstance(changes, str) else [change._asdict() for change in changes]
            for name, changes in told.changes.items()
        },
        "rules": [
            {"rule": each.rule, "matches": each.matches, "looked_at": each.looked_at, "reasons": list(each.reasons)}
            for each in told.verdicts
        ],
    }


@app.command()
def replay(
    new: NewOption,
    since: Annotated[str, typer.Option(help="How far back: 7d, 12h or 30m.")] = "7d",
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """What a new configuration would have done with all that came lately, where that differs from this one."""
    from gateway.archive.deliveries import explaining
    from gateway.archive.deliveries.dispatch import Routes

    settings = load_settings(config, data)
    old_routes, new_routes = Routes(settings), Routes(load_settings(new, data))
    begin = time.time() - _seconds(since)
    looked = 0
    differences: defaultdict[str, Counter[tuple[str, str, str]]] = defaultdict(Counter)

    async def run() -> None:
        nonlocal looked
        from gateway.archive.folder import open_folder

        tags = old_routes.router.wanted | new_routes.router.wanted
        async with open_folder(settings.storage, create=False) as folder:
            async for item, _record, facts in explaining.stored(folder, tags, since=begin):
                looked += 1
                before, after = (_places(routes, facts) for routes in (old_routes, new_routes))
                for sign, places in (("-", before - after), ("+", after - before)):
                    for destination, changes in places:
                        differences[item.located.study_uid][sign, destination, changes] += 1

    asyncio.run(run())
    if as_json:
        print_json(
            {
                "instances": looked,
                "differences": [
                    {"study": study, "sign": sign, "destination": destination, "changes": changes, "count": number}
                    for study, counts in differences.items()
                    for (sign, destination, changes), number in sorted(counts.items())
                ],
            }
        )
        return
    for study, counts in differences.items():
        print_line(f"Study {study}")
        for (sign, destination, changes), number in sorted(counts.items()):
            with_changes = f" with {changes}" if changes else ""
            print_line(f"  {sign}{number:>6} to {destination}{with_changes}")
    print_line(
        f"{count(looked, 'instance')} looked at; "
        f"{count(len(differences), 'study would', 'studies would') if differences else 'none would'} go otherwise"
    )


def _places(routes: Routes, facts: Facts) -> set[tuple[str, str]]:
    """Where it goes, and under which changes in which version."""
    from gateway.archive.deliveries.explaining import places_of

    return {
        (destination, f"{changes} {routes.change_sets[changes].version}" if changes else "")
        for destination, changes, _ in places_of(routes, facts)[0]
    }


def _seconds(text: str) -> float:
    found = re.fullmatch(r"([0-9]{1,6})([dhm])", text.strip())
    if found is None:
        raise ConfigurationError(f"--since: {text!r} is no time; write it like 7d, 12h or 30m")
    return int(found[1]) * {"d": 86400.0, "h": 3600.0, "m": 60.0}[found[2]]
