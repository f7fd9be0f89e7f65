"""How the management API writes JSON: indented, for people with curl, in UTF-8."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web


def json_answer(value: Any) -> web.Response:
    text = msgspec.json.format(msgspec.json.encode(value), indent=3) + b"\n"
    return web.Response(body=text, content_type="application/json", charset="utf-8")
