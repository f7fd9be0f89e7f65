"""The scripts, styles and images of the pages. They are found by a list; no path of a request reaches the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from aiohttp import web

from gateway.errors import NotFound
from gateway.web.route import SIGNED_IN, Route

_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
"""Media types, independent of the machine's own table."""
_FILES: Final = {path.name: path for path in Path(__file__).with_name("static").iterdir() if path.suffix in _TYPES}


async def asset(request: web.Request) -> web.StreamResponse:
    """A script, style or image of the pages."""
    name = request.match_info["filename"]
    path = _FILES.get(name)
    if path is None:
        raise NotFound(f"there is no {name[:80]} here")
    kind = f"{_TYPES[path.suffix]}; charset=utf-8"
    return web.FileResponse(path, headers={"Content-Type": kind})


ROUTES = (Route("GET", "/ui/static/{filename}", asset, SIGNED_IN, answers=("*/*",), errors=(404,), name="static"),)
