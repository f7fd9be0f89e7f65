"""The template environment of the pages, with autoescaping and filters."""

from __future__ import annotations

from pathlib import Path

import jinja2
from aiohttp import web

from gateway.web.pages.filters import FILTERS

ENVIRONMENT: web.AppKey[jinja2.Environment] = web.AppKey("templates", jinja2.Environment)


def make_environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    return environment
