"""The first page: received studies, newest first, with a search. Rendered here, updated by `static/page.js`.

`recent.py` reads the index, `live.py` has the live figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from gateway.web.context import CONTEXT
from gateway.web.pages.first import suggest
from gateway.web.pages.frame import page_answer
from gateway.web.pages.recent import PARAMETERS, StudyFilter, read_studies
from gateway.web.pages.reports import MODALITIES
from gateway.web.pages.totals import read_totals
from gateway.web.route import SIGNED_IN, Route
from gateway.web.urls import path_template
from gateway.web.viewer.viewer import study_url

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
    """Redirect to the page of studies."""
    raise web.HTTPFound(_home(request))


async def studies(request: web.Request) -> web.Response:
    """The page of studies."""
    return await _render(request, "studies.html", await read_totals(request.app[CONTEXT].database))


async def rows(request: web.Request) -> web.Response:
    """The rows of the page of studies alone, for an open page. The query is that of the page."""
    return await _render(request, "rows.html", {})


async def _render(request: web.Request, template: str, totals: Mapping[str, int]) -> web.Response:
    context = request.app[CONTEXT]
    search = StudyFilter.of(request.query)
    page = await read_studies(context.database, search)
    values: dict[str, Any] = {
        "search": search,
        "events_url": path_template(request, "events"),
        "first": await suggest(request) if not page.studies else None,
        "modalities": _MODALITIES,
        "page": {"studies": page.studies, "older": page.older and f"{_home(request)}?{urlencode(page.older)}"},
        "report_modalities": MODALITIES,
        "reports_url": path_template(request, "reports"),
        "rows_url": path_template(request, "rows"),
        "seq": page.seq,
        "totals": totals,
        "viewer_url": await study_url(request),
    }
    return page_answer(request, template, values)


def _home(request: web.Request) -> str:
    return path_template(request, "home")


ROUTES = (
    Route("GET", "/", to_home, SIGNED_IN, leads_on=True),
    Route("GET", "/ui", to_home, SIGNED_IN, leads_on=True),
    Route("GET", "/ui/", studies, SIGNED_IN, PARAMETERS, answers=("text/html",), name="home", action="search"),
    Route("GET", "/ui/rows", rows, SIGNED_IN, PARAMETERS, answers=("text/html",), name="rows", action="search"),
)
