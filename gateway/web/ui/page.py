"""The first page: studies received, newest first, with a search. Rendered here, kept fresh by `static/page.js`.

Reading the index is in `recent.py`; moving figures are in `live.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from gateway.access.hosts import host_name
from gateway.config import is_loopback
from gateway.web.context import CONTEXT
from gateway.web.ohif.viewer import study_url
from gateway.web.ui.environment import ENVIRONMENT
from gateway.web.ui.frame import frame
from gateway.web.ui.recent import Asked, read_studies
from gateway.web.ui.totals import read_totals
from gateway.web.urls import path_template

_MODALITIES = [
    "CR",
    "CT",
    "DX",
    "ES",
    "IO",
    "MG",
    "MR",
    "NM",
    "OT",
    "PT",
    "PX",
    "RF",
    "RTDOSE",
    "RTPLAN",
    "RTSTRUCT",
    "SC",
    "SEG",
    "SM",
    "SR",
    "US",
    "XA",
    "XC",
]


async def to_home(request: web.Request) -> web.StreamResponse:
    """Lead to the page of studies."""
    raise web.HTTPFound(_home(request))


async def studies(request: web.Request) -> web.Response:
    """The whole page."""
    return await _render(request, "studies.html", await read_totals(request.app[CONTEXT].database))


async def rows(request: web.Request) -> web.Response:
    """Only the rows, for a page that is open already. Same query as the page."""
    return await _render(request, "rows.html", {})


async def _render(request: web.Request, template: str, totals: Mapping[str, int]) -> web.Response:
    context = request.app[CONTEXT]
    asked = Asked.of(request.query)
    page = await read_studies(context.database, asked)
    settings = context.settings()
    values: dict[str, Any] = {
        **frame(request),
        "aet_word": _shell_word(settings.dicom.aet.strip()),
        "asked": asked,
        "dicom_host": _dicom_host(request, settings.dicom.host),
        "events_url": path_template(request, "events"),
        "modalities": _MODALITIES,
        "page": {"studies": page.studies, "older": page.older and f"{_home(request)}?{urlencode(page.older)}"},
        "rows_url": path_template(request, "rows"),
        "seq": page.seq,
        "totals": totals,
        "viewer_url": await study_url(request),
    }
    text = request.app[ENVIRONMENT].get_template(template).render(values)
    return web.Response(text=text, content_type="text/html")


def _home(request: web.Request) -> str:
    return path_template(request, "home")


def _dicom_host(request: web.Request, listening: str) -> str:
    """Where a device would send to: the name under which the reader found us, if that is where we listen."""
    if is_loopback(listening):
        return listening
    return listening if listening not in ("0.0.0.0", "::", "") else host_name(request.host)


def _shell_word(text: str) -> str:
    plain = text.replace("_", "").replace("-", "").replace(".", "").isalnum()
    return text if plain else "'" + text.replace("'", "'\\''") + "'"
