"""The page of the configuration in force: each setting, its value and where that has come from. Secrets are hidden."""

from __future__ import annotations

import asyncio
from itertools import groupby
from typing import Final

from aiohttp import web

from gateway.config.provenance import SettingOrigin, provenance
from gateway.config.toml import toml_value
from gateway.web.context import CONTEXT
from gateway.web.pages.frame import page_answer
from gateway.web.route import FLAG, Parameter, Route
from gateway.web.urls import path_template

_SECRETS: Final = ("password", "secret", "token", "client_secret", "identity_password")
"""Names of settings that are not shown, wherever they stand, if `as_builtins` has left one."""


async def configuration(request: web.Request) -> web.Response:
    """The page of the configuration; with `set`, only of what is not as by default."""
    use_cases, only_set = request.app[CONTEXT].use_cases, "set" in request.query
    found = await asyncio.to_thread(provenance, use_cases.settings(), use_cases.configured())
    shown = [each for each in found.settings if not only_set or each.kind != "default"]
    sections = [(name, list(group)) for name, group in groupby(shown, key=lambda each: each.section)]
    served = request.app.router.named_resources()
    values = {
        "differing": found.differing,
        "file": found.file,
        "links": {
            section: path_template(request, name)
            for section, name in (("modalities", "modalities-page"), ("rules", "rules-page"), ("roles", "users-page"))
            if name in served
        },
        "only_set": only_set,
        "page": path_template(request, "configuration-page"),
        "problems": found.problems,
        "sections": [(name, [(each, _shown(each)) for each in group]) for name, group in sections],
    }
    return page_answer(request, "configuration.html", values)


def _shown(setting: SettingOrigin) -> str:
    return toml_value(_masked(setting.name, setting.value))


def _masked(name: str, value: object) -> object:
    """A value without secrets, and without what says nothing in a table."""
    if isinstance(value, dict):
        return {key: _masked(key, each) for key, each in value.items() if each or (each == 0 and each is not False)}
    if isinstance(value, (list, tuple)):
        return [_masked(name, each) for each in value]
    return "(set)" if name in _SECRETS and value else value


ROUTES = (
    Route(
        *("GET", "/ui/configuration", configuration, "settings"),
        (Parameter("set", "Only settings that are not as by default", FLAG),),
        answers=("text/html",),
        name="configuration-page",
    ),
)
