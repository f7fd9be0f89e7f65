"""How the management API writes JSON: indented, for people with curl, in UTF-8; and reads numbers."""

from __future__ import annotations

import datetime
from typing import Any

import msgspec
from aiohttp import web

_COLLECTIONS = {"Patient": "patients", "Study": "studies", "Series": "series", "Instance": "instances"}


def json_answer(value: Any) -> web.Response:
    text = msgspec.json.format(msgspec.json.encode(value), indent=3) + b"\n"
    return web.Response(body=text, content_type="application/json", charset="utf-8")


def place(level: str, public_id: str) -> str:
    """Orthanc's path of a resource; `level` is its word: Patient, Study, Series or Instance."""
    return f"/{_COLLECTIONS[level]}/{public_id}"


def timestamp(at: float) -> str:
    """Seconds since 1970 as Orthanc writes a moment, in UTC: `20261122T093000`."""
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y%m%dT%H%M%S")


def number(request: web.Request, name: str, default: int) -> int:
    """A parameter of the query; what is no number counts as not given."""
    text = request.query.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else default
