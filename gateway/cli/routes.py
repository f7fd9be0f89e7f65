"""`dicom-gateway routes`: checks rules, explains where an instance would go and why, and compares other rules.

The results are computed from the configuration, files and the data folder; nothing is sent or changed.
"""

from __future__ import annotations

import asyncio
import enum
import re
import time
from collections import Counter, defaultdict
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
    from gateway.forwarding.explanation import Explanation
    from gateway.forwarding.rule_engine import CompiledRules
    from gateway.routing.conditions import Facts

app = typer.Typer(no_args_is_help=True, help="Rules: check them, and see their effect beforehand.")


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
    as_json: JsonOption = False,
) -> None:
    """Explain which rules match and why the others do not, for files or stored instances, in this configuration."""
    from gateway.forwarding import explanation
    from gateway.forwarding.rule_engine import CompiledRules
    from gateway.index.store import Origin

    settings = load_settings(config, data)
    rules = CompiledRules(settings)
    explained: list[tuple[str, Explanation]] = []

    async def run(names: list[str]) -> None:
        from gateway.ingest.data_folder import open_folder

        async with open_folder(settings.storage, create=False) as folder:
            for name in names:
                explained.extend([each async for each in explanation.explain_stored(folder, rules, name)])

    origin = Origin(calling_aet, called_aet or settings.dicom.aet, peer, time.time(), via.value)
    for text in [each for each in what if Path(each).is_file()]:
        try:
            explained.append((text, explanation.explain_file(Path(text), rules, origin)))
        except DataSetError as error:
            complain(f"{text}: {error}")
            raise typer.Exit(1) from None
    if names := [each for each in what if not Path(each).is_file()]:
        asyncio.run(run(names))
    if as_json:
        print_json([_as_json(name, each) for name, each in explained])
        return
    if not settings.rules:
        print_line("There are no rules: nothing goes anywhere.")
    # Equal explanations are printed once.
    alike: defaultdict[tuple[Any, ...], list[str]] = defaultdict(list)
    for name, each in explained:
        alike[tuple(each.verdicts), each.planned, each.withheld].append(name)
    for names in alike.values():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        print_line(f"{names[0]}{more}")
        _show(rules, next(each for name, each in explained if name == names[0]))


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
    new: NewOption,
    since: Annotated[str, typer.Option(help="How far back: 7d, 12h or 30m.")] = "7d",
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare a new configuration with this one, for all instances received lately: shows where deliveries differ."""
    from gateway.forwarding import explanation
    from gateway.forwarding.rule_engine import CompiledRules

    settings = load_settings(config, data)
    old_rules, new_rules = CompiledRules(settings), CompiledRules(load_settings(new, data))
    begin = time.time() - _seconds(since)
    looked = 0
    differences: defaultdict[str, Counter[tuple[str, str, str]]] = defaultdict(Counter)

    async def run() -> None:
        nonlocal looked
        from gateway.ingest.data_folder import open_folder

        tags = old_rules.router.wanted | new_rules.router.wanted
        async with open_folder(settings.storage, create=False) as folder:
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
