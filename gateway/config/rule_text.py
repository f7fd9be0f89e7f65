"""Rules as TOML text apart from the configuration file: read and checked beside the rest of the settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.config.problems import Problem, Reading, tables_without_problems
from gateway.config.route_checks import route_problems
from gateway.config.routes import Rule
from gateway.config.sections import Settings
from gateway.config.sources import parse_toml
from gateway.config.toml import toml_lines
from gateway.errors import ConfigurationError


def read_rules(text: str, base: Settings) -> tuple[dict[str, Rule], list[Problem]]:
    """Read tables `[rules.NAME]` that come after the rules of `base`; the valid rules, and every problem."""
    reading = Reading(text=text)
    try:
        tree = parse_toml(text)
    except ConfigurationError as error:
        return {}, [Problem("", str(error), "", _line_in(str(error)))]
    for name in tree.keys() - {"rules"}:
        reading.leave_out(name, "only rules may stand here; this is for the configuration file")
    good = tables_without_problems("rules", tree.get("rules", {}), reading.leave_out) or {}
    for name in good.keys() & base.rules.keys():
        reading.leave_out(f"rules.{name}", "the configuration file has a rule of this name")
        del good[name]
    rules = msgspec.convert(good, dict[str, Rule])
    both = msgspec.structs.replace(base, rules={**base.rules, **rules})
    for place, problem in route_problems(both):
        section, name, *_ = place.split(".")
        if section == "rules" and name in good:
            reading.note(f"{place}: {problem}")
            rules.pop(name, None)
    return rules, reading.problems


def rules_text(rules: Mapping[str, Rule]) -> str:
    """The TOML of rules; what is as by default is left out."""
    tree: dict[str, Any] = {"rules": {name: _without_defaults(rule) for name, rule in rules.items()}}
    return "\n".join(toml_lines(tree)).strip() + "\n" if rules else ""


def _without_defaults(rule: Rule) -> dict[str, Any]:
    default = msgspec.to_builtins(Rule())
    found: dict[str, Any] = msgspec.to_builtins(rule)
    unset: tuple[object, ...] = (None, False, [], ())
    found["attributes"] = [
        {name: value for name, value in test.items() if value not in unset} for test in found["attributes"]
    ]
    return {name: value for name, value in found.items() if value != default[name]}


def _line_in(text: str) -> int:
    """The line that a message of `tomllib` names; 0 for none."""
    _, found, rest = text.partition("line ")
    digits = rest.split(",")[0].split(")")[0]
    return int(digits) if found and digits.isdigit() else 0
