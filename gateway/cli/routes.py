"""`dicom-gateway routes`: checks rules, explains where an instance would go and why, and compares other rules.

The results are computed from the configuration, files and the data folder, whose database has the rules of the page;
nothing is sent or changed.
"""

from __future__ import annotations

import asyncio
import enum
import re
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.check_config import show_problems
from gateway.cli.common import (
    ConfigOption,
    DataOption,
    JsonOption,
    complain,
    count,
    load_settings,
    print_json,
    print_line,
)
from gateway.cli.editing import words_of_change
from gateway.errors import ConfigurationError, DataSetError

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.forwarding.explanation import Explanation
    from gateway.forwarding.rule_engine import CompiledRules
    from gateway.ingest.data_folder import DataFolder
    from gateway.routing.conditions import Facts

app = typer.Typer(no_args_is_help=True, help="Rules: check them, and see their effect beforehand.")


class Way(enum.StrEnum):
    DIMSE = "dimse"
    STOW = "stow"
    REST = "rest"
    IMPORT = "import"
    INBOX = "inbox"


NewOption = Annotated[
    Path | None, typer.Option("--new", metavar="FILE", help="The other configuration.", show_default=False)
]
VersionOption = Annotated[
    int | None,
    typer.Option("--version", metavar="N", help="A version of the rules of the page, by its number.", min=1),
]


@app.command()
def check(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", envvar="GATEWAY_CONFIG", help="Configuration file (TOML).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List every problem in a configuration, with its line, like `check-config`. Exit code 2 if there is any."""
    settings = show_problems(file, as_json)
    if as_json:
        print_json({"valid": True})
    else:
        rules = f", {count(len(settings.rules), 'rule')}" if settings.rules else ""
        print_line(f"{file or 'these defaults'}: valid{rules}")


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
    calling_aet: Annotated[str, typer.Option(help="AE title of the sender.")] = "ANYBODY",
    called_aet: Annotated[str, typer.Option(help="AE title that the sender calls.")] = "",
    peer: Annotated[str, typer.Option(help="Address of the sender.")] = "127.0.0.1",
    via: Annotated[Way, typer.Option(help="The way in.")] = Way.DIMSE,
    version: VersionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Explain which rules match and why the others do not, for files or stored instances: those of this configuration,
    and behind them those of the page in force, or of its version `--version`."""
    from gateway.forwarding import explanation
    from gateway.forwarding.rule_engine import CompiledRules
    from gateway.index.store import Origin

    settings = load_settings(config, data)
    names = [each for each in what if not Path(each).is_file()]

    async def run() -> tuple[CompiledRules, list[tuple[str, Explanation]]]:
        found: list[tuple[str, Explanation]] = []
        async with _folder(settings, needed=bool(names or version)) as folder:
            rules = CompiledRules(await _with_page_rules(settings, folder, version))
            origin = Origin(calling_aet, called_aet or settings.dicom.aet, peer, time.time(), via.value)
            for text in [each for each in what if each not in names]:
                try:
                    found.append((text, explanation.explain_file(Path(text), rules, origin)))
                except DataSetError as error:
                    complain(f"{text}: {error}")
                    raise typer.Exit(1) from None
            for name in names:
                assert folder is not None
                found.extend([each async for each in explanation.explain_stored(folder, rules, name)])
        return rules, found

    rules, explained = asyncio.run(run())
    if as_json:
        print_json([_as_json(name, each) for name, each in explained])
        return
    if not rules.settings.rules:
        print_line("There are no rules: nothing goes anywhere.")
    # Equal explanations are printed once.
    alike: defaultdict[tuple[Any, ...], list[str]] = defaultdict(list)
    for name, each in explained:
        alike[tuple(each.verdicts), each.planned, each.withheld].append(name)
    for names in alike.values():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        print_line(f"{names[0]}{more}")
        _show(rules, next(each for name, each in explained if name == names[0]))


@asynccontextmanager
async def _folder(settings: Settings, *, needed: bool) -> AsyncIterator[DataFolder | None]:
    """Open the data folder; without a need for it None, where it is not there or cannot be used, which is then said."""
    from gateway.ingest.data_folder import open_folder
    from gateway.storage.layout import Layout

    async with AsyncExitStack() as stack:
        folder = None
        try:
            if needed or Layout(Path(settings.storage.path)).has_index():
                folder = await stack.enter_async_context(
                    open_folder(settings.storage, settings.database.url, create=False)
                )
        except (ConfigurationError, OSError) as error:
            if needed:
                raise
            complain(f"the rules of the page are not known: {error}")
        yield folder


async def _with_page_rules(settings: Settings, folder: DataFolder | None, version: int | None) -> Settings:
    """The settings with the rules of the page behind those of the file: of the version in force, or of another. A rule
    that does not fit the configuration is left out, and said. Raises NotFound if there is no such version."""
    from msgspec.structs import replace

    from gateway.forwarding.page_rules import PageRules

    if folder is None:
        return settings
    page_rules = PageRules(folder.database, lambda: settings)
    await page_rules.refresh()
    text = page_rules.content if version is None else await page_rules.text_of(version)
    checked = page_rules.check(text)
    for problem in checked.problems:
        complain(f"a rule of the page is left out: {problem}")
    return replace(settings, rules={**settings.rules, **checked.rules})


def _show(rules: CompiledRules, explanation: Explanation) -> None:
    for verdict in explanation.verdicts:
        rule = rules.settings.rules[verdict.rule]
        if verdict.matches:
            where = ", ".join(rule.destinations) or "nowhere"
            whole = "" if rule.each == "instance" else f", with its whole {rule.each} once that is stable"
            changes = f", with {rule.changes}" if rule.changes else ""
            print_line(f"  yes  {verdict.rule}: to {where}{changes}{whole}")
        elif not verdict.evaluated:
            print_line(f"   -   {verdict.rule}: not evaluated, a rule before it is the last")
        else:
            print_line(f"  no   {verdict.rule}: {'; '.join(verdict.reasons)}")
    for name in explanation.withheld:
        print_line(f"       not to {name}: it came from there")
    for name, made in explanation.changes.items():
        if isinstance(made, str):
            print_line(f"  {name} cannot be applied, so nothing is sent with it: {made}")
            continue
        print_line(f"  {name} makes {count(len(made), 'change')}")
        for change in made:
            print_line(f"       {words_of_change(change)}")


def _as_json(name: str, explanation: Explanation) -> dict[str, Any]:
    return {
        "name": name,
        "sop_instance_uid": explanation.record.sop_instance_uid,
        "deliveries": [
            {"destination": destination, "changes": changes, "rule": rule}
            for destination, changes, rule in explanation.planned
        ],
        "kept_back": list(explanation.withheld),
        "changes": {
            name: changes if isinstance(changes, str) else [change._asdict() for change in changes]
            for name, changes in explanation.changes.items()
        },
        "rules": [
            {"rule": each.rule, "matches": each.matches, "looked_at": each.evaluated, "reasons": list(each.reasons)}
            for each in explanation.verdicts
        ],
    }


@app.command()
def replay(
    new: NewOption = None,
    version: VersionOption = None,
    since: Annotated[str, typer.Option(help="How far back: 7d, 12h or 30m.")] = "7d",
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare other rules with those in force, for all instances received lately: shows where deliveries differ.

    In force are the rules of this configuration and, behind them, those of the page. `--new` replaces the first,
    `--version` the second.
    """
    from gateway.forwarding import explanation
    from gateway.forwarding.rule_engine import CompiledRules

    if new is None and version is None:
        raise typer.BadParameter("name what to compare with: --new FILE, --version N, or both")
    settings = load_settings(config, data)
    other = load_settings(new, data) if new is not None else settings
    begin = time.time() - _seconds(since)
    looked = 0
    differences: defaultdict[str, Counter[tuple[str, str, str]]] = defaultdict(Counter)

    async def run() -> None:
        nonlocal looked
        async with _folder(settings, needed=True) as folder:
            assert folder is not None
            old_rules = CompiledRules(await _with_page_rules(settings, folder, None))
            new_rules = CompiledRules(await _with_page_rules(other, folder, version))
            tags = old_rules.router.wanted | new_rules.router.wanted
            async for item, _record, facts in explanation.stored(folder, tags, since=begin):
                looked += 1
                before, after = (_planned(rules, facts) for rules in (old_rules, new_rules))
                for sign, deliveries in (("-", before - after), ("+", after - before)):
                    for destination, changes in deliveries:
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
        f"{count(looked, 'instance')} examined; "
        f"{count(len(differences), 'study', 'studies') if differences else 'none'} would be delivered differently"
    )


def _planned(rules: CompiledRules, facts: Facts) -> set[tuple[str, str]]:
    """The destinations of an instance, each with its change set and version."""
    from gateway.forwarding.explanation import planned_deliveries

    return {
        (destination, f"{changes} {rules.change_sets[changes].version}" if changes else "")
        for destination, changes, _ in planned_deliveries(rules, facts)[0]
    }


def _seconds(text: str) -> float:
    found = re.fullmatch(r"([0-9]{1,6})([dhm])", text.strip())
    if found is None:
        raise ConfigurationError(f"--since: {text!r} is not a time span; write it like 7d, 12h or 30m")
    return int(found[1]) * {"d": 86400.0, "h": 3600.0, "m": 60.0}[found[2]]
