"""The first page: studies, newest first, with a search over them. Rendered here, bettered by `static/studies.js`.

`study_query.py` has the search, `columns.py` what is shown of each study, `live.py` the live figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web

from gateway.index.annotations import all_labels
from gateway.index.study_list import recent_sources
from gateway.web.context import CONTEXT
from gateway.web.pages.columns import COLUMNS, chosen_columns
from gateway.web.pages.environment import ENVIRONMENT
from gateway.web.pages.first import suggest
from gateway.web.pages.frame import page_answer
from gateway.web.pages.live import LIVE
from gateway.web.pages.page_cache import PAGES
from gateway.web.pages.reader import may, page_path
from gateway.web.pages.searches import searches_of
from gateway.web.pages.study_query import DAYS, MAX_COUNTED, PARAMETERS, StudyQuery, as_date_field, read_page
from gateway.web.pages.study_rows import RowLook, study_row
from gateway.web.pages.wording import reader_words
from gateway.web.route import SIGNED_IN, Route
from gateway.web.urls import path_template
from gateway.web.viewer.viewer import study_url

MODALITIES: Final = (
    *("CR", "CT", "DX", "ES", "IO", "MG", "MR", "NM", "OT", "PT", "PX", "RF"),
    *("RTDOSE", "RTPLAN", "RTSTRUCT", "SC", "SEG", "SM", "SR", "US", "XA", "XC"),
)
_MAX_SOURCES: Final = 6
"""Sources among the prepared searches."""
_MAX_LABELS: Final = 100
"""Labels that can be chosen in the search."""


async def to_home(request: web.Request) -> web.StreamResponse:
    """Redirect to the page of studies."""
    raise web.HTTPFound(_home(request))


async def studies(request: web.Request) -> web.Response:
    """The page of studies."""
    return await request.app[PAGES].answer(request, lambda: _studies(request))


async def rows(request: web.Request) -> web.Response:
    """The rows of the page of studies alone, for an open page. The query is that of the page."""
    return await request.app[PAGES].answer(
        request, lambda: _render(request, "rows.html", StudyQuery.of(request.query), {})
    )


async def _studies(request: web.Request) -> web.Response:
    database, query = request.app[CONTEXT].database, StudyQuery.of(request.query)
    sources = await recent_sources(database) if may(request, "view") else []
    labels = (await all_labels(database))[:_MAX_LABELS] if may(request, "view") else []
    saved = await searches_of(request)
    values = {
        "all_columns": list(dict.fromkeys((*chosen_columns(request), *COLUMNS))),
        "all_labels": dict.fromkeys((*query.label, *labels)),
        "all_modalities": dict.fromkeys((*query.modality, *MODALITIES)),
        "all_sources": dict.fromkeys((*filter(None, (query.source,)), *sources)),
        "as_date_field": as_date_field,
        "columns_url": path_template(request, "columns"),
        "days": DAYS,
        "events_url": path_template(request, "events"),
        "prepared": _prepared(query, sources),
        "rows_url": path_template(request, "rows"),
        "saved": saved or (),
        "searches_url": path_template(request, "searches") if saved is not None else "",
        "totals": await request.app[LIVE].recent_totals.read(),
    }
    return await _render(request, "studies.html", query, values)


async def _render(request: web.Request, template: str, query: StudyQuery, values: Mapping[str, Any]) -> web.Response:
    page = await read_page(request.app[CONTEXT].database, query)
    shown: dict[str, Any] = {
        **await list_values(request, query, _home(request)),
        "first": await suggest(request) if not page.studies else None,
        "page": page,
        **values,
    }
    return page_answer(request, template, shown)


async def list_values(request: web.Request, query: StudyQuery, here: str) -> dict[str, Any]:
    """The values of the template of a list of studies, but for the studies; `here` is the path of the page."""
    actions, columns = _actions(request), chosen_columns(request)
    look = RowLook(
        reader_words(request).language,
        columns,
        bool(actions),
        path_template(request, "study-page"),
        path_template(request, "reports"),
        await study_url(request),
    )
    return {
        "actions": actions,
        "columns": columns,
        "here_path": here,
        "max_counted": MAX_COUNTED,
        "orders": COLUMNS,
        "query": query,
        "row_of": lambda study: study_row(request.app[ENVIRONMENT], study, look),
    }


def _actions(request: web.Request) -> dict[str, str]:
    """What the reader may do with chosen studies, and the address that does it."""
    can_delete = may(request, "delete") and request.app[CONTEXT].settings().dicomweb.delete
    found = {
        "download": path_template(request, "create-archive") if may(request, "download") else "",
        "send": page_path(request, "send-page") if may(request, "send") else "",
        "label": path_template(request, "study-label") if may(request, "edit-labels") else "",
        "delete": path_template(request, "bulk-delete") if can_delete else "",
    }
    return {name: url for name, url in found.items() if url}


def _prepared(query: StudyQuery, sources: list[str]) -> list[tuple[str, str, str, bool]]:
    """The prepared searches: the name of each, what it is about, its query string, and whether it is this one."""
    found = [
        ("today", "", {"date": "today"}),
        ("yesterday", "", {"date": "yesterday"}),
        *[("this_week", modality, {"modality": modality, "date": "week"}) for modality in ("CT", "MR")],
        *[("received_from", source, {"source": source}) for source in sources[:_MAX_SOURCES]],
    ]
    here = query.first_page.text()
    return [(name, about, f"?{urlencode(fields)}", f"?{urlencode(fields)}" == here) for name, about, fields in found]


def _home(request: web.Request) -> str:
    return path_template(request, "home")


ROUTES = (
    Route("GET", "/", to_home, SIGNED_IN, leads_on=True),
    Route("GET", "/ui", to_home, SIGNED_IN, leads_on=True),
    Route("GET", "/ui/", studies, SIGNED_IN, PARAMETERS, answers=("text/html",), name="home", action="search"),
    Route("GET", "/ui/rows", rows, SIGNED_IN, PARAMETERS, answers=("text/html",), name="rows", action="search"),
)
