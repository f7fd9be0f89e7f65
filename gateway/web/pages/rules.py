"""The page of rules: those of the configuration, read only, and those of the page, which are versions in the database.

A text is checked, explained on a stored study and replayed on the last week before it is put in force. Everything
works without scripts: the text goes along with each button.
"""

from __future__ import annotations

import asyncio
import difflib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.access.principals import ANYBODY
from gateway.config.rule_text import rules_text
from gateway.errors import BadRequest, ConfigurationError, NotFound
from gateway.forwarding.explanation import explain, stored
from gateway.forwarding.page_rules import MAX_BYTES, CheckedRules
from gateway.forwarding.replay import replay
from gateway.forwarding.rule_engine import CompiledRules
from gateway.routing.router import Verdict
from gateway.web.authorization import PRINCIPAL
from gateway.web.context import CONTEXT
from gateway.web.inputs import read_form, whole_number
from gateway.web.pages.frame import page_answer
from gateway.web.route import Parameter, Route, one_of
from gateway.web.sessions import check_form
from gateway.web.urls import path_template

_WEEK_S: Final = 7 * 86400.0
_MAX_EXPLAINED: Final = 200
"""Instances of a study that are explained."""
_PARTS: Final = ("all", "file", "page")


@dataclass(frozen=True, slots=True)
class ExplainedGroup:
    """Instances for which the rules do the same."""

    instances: list[str]
    verdicts: list[Verdict]
    planned: list[str]
    """Destinations, with the change set behind a comma if there is one."""


async def rules(request: web.Request) -> web.Response:
    """The page of rules."""
    return await _page(request, request.app[CONTEXT].use_cases.page_rules.content, {})


async def act(request: web.Request) -> web.StreamResponse:
    """Check, explain, replay or apply the rules of the form, or go back to a version."""
    form = await read_form(request)
    check_form(request, form)
    page_rules = request.app[CONTEXT].use_cases.page_rules
    what, user = form.get("what", ""), request.get(PRINCIPAL, ANYBODY).name
    text = form.get("text", "").replace("\r\n", "\n")
    if len(text) > MAX_BYTES:
        raise BadRequest(f"the rules have more than {MAX_BYTES} characters")
    if what == "roll-back":
        await page_rules.roll_back(whole_number(form.get("version", "")) or 0, user)
        raise web.HTTPSeeOther(path_template(request, "rules-page"))
    checked = page_rules.check(text)
    found: dict[str, Any] = {"checked": checked, "study": form.get("study", "").strip()}
    if what == "apply" and not checked.problems:
        await page_rules.apply(text, user)
        raise web.HTTPSeeOther(path_template(request, "rules-page"))
    if what == "explain" and not checked.problems:
        found |= await _explained(request, checked, found["study"])
    elif what == "replay" and not checked.problems:
        found |= await _replayed(request, checked)
    elif what not in ("check", "apply", "explain", "replay"):
        raise BadRequest(f"there is no button {what[:40]!r}")
    return await _page(request, text, found)


async def export(request: web.Request) -> web.Response:
    """The rules as TOML: of the configuration file, of the page, or all of them as they are in force."""
    context, of = request.app[CONTEXT], request.query.get("of", "all")
    if of not in _PARTS:
        raise BadRequest(f"of: {of[:20]!r} is none of {', '.join(_PARTS)}")
    page_rules = context.use_cases.page_rules
    text = {
        "file": lambda: rules_text(context.use_cases.configured().rules),
        "page": lambda: page_rules.content,
        "all": lambda: rules_text(context.settings().rules),
    }[of]()
    headers = {"Content-Disposition": 'attachment; filename="rules.toml"'}
    return web.Response(text=text, content_type="application/toml", headers=headers)


async def _compiled(request: web.Request, checked: CheckedRules | None = None) -> CompiledRules:
    """The rules in force, or those of a text behind the configuration's, compiled. Raises BadRequest."""
    use_cases = request.app[CONTEXT].use_cases
    settings = use_cases.settings()
    if checked is not None:
        both = {**use_cases.configured().rules, **checked.rules}
        settings = msgspec.structs.replace(settings, rules=both)
    try:
        return await asyncio.to_thread(CompiledRules, settings)
    except ConfigurationError as error:
        raise BadRequest(str(error)) from None


async def _explained(request: web.Request, checked: CheckedRules, study: str) -> dict[str, Any]:
    if not study:
        return {"missing": True}
    compiled = await _compiled(request, checked)
    groups: dict[tuple[Any, ...], ExplainedGroup] = {}
    count = 0
    try:
        async for item, record, facts in stored(request.app[CONTEXT].use_cases, compiled.router.wanted, name=study):
            explanation = explain(compiled, record, facts)
            planned = [", ".join(filter(None, each[:2])) for each in explanation.planned]
            key = tuple(explanation.verdicts), tuple(planned)
            group = groups.setdefault(key, ExplainedGroup([], explanation.verdicts, planned))
            group.instances.append(item.located.sop_uid)
            count += 1
            if count >= _MAX_EXPLAINED:
                break
    except NotFound:
        return {"missing": True}
    return {"explained": list(groups.values())}


async def _replayed(request: web.Request, checked: CheckedRules) -> dict[str, Any]:
    old, new = await _compiled(request), await _compiled(request, checked)
    use_cases = request.app[CONTEXT].use_cases
    return {"replayed": await replay(use_cases, old, new, time.time() - _WEEK_S)}


async def _page(request: web.Request, text: str, found: Mapping[str, Any]) -> web.Response:
    context = request.app[CONTEXT]
    page_rules = context.use_cases.page_rules
    versions = await page_rules.versions()
    values: dict[str, Any] = {
        "checked": None,
        "explained": None,
        "missing": False,
        "replayed": None,
        "study": "",
        "diff": _diff(page_rules.content, text),
        "export_url": path_template(request, "rules-export"),
        "file_text": rules_text(context.use_cases.configured().rules),
        "in_force": list(context.settings().rules),
        "page": path_template(request, "rules-page"),
        "routing_url": path_template(request, "routing"),
        "text": text,
        "versions": [(each, _diff(versions[0].content, each.content)) for each in versions],
        **found,
    }
    return page_answer(request, "rules.html", values)


def _diff(old: str, new: str) -> list[tuple[str, str]]:
    """The lines of a comparison: kind (`added`, `removed`, `same`) and text."""
    kinds = {"+": "added", "-": "removed", " ": "same"}
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=2)
    return [(kinds[line[0]], line[1:]) for line in lines if line[0] in kinds and line[:3] not in ("+++", "---")]


ROUTES = (
    Route("GET", "/ui/rules", rules, "settings", answers=("text/html",), name="rules-page"),
    Route(
        *("POST", "/ui/rules", act, "settings"),
        body=("application/x-www-form-urlencoded",),
        answers=("text/html",),
        errors=(404,),
    ),
    Route(
        *("GET", "/ui/rules/export", export, "settings"),
        (Parameter("of", "Which rules", one_of(*_PARTS), "all"),),
        answers=("application/toml",),
        name="rules-export",
    ),
)
