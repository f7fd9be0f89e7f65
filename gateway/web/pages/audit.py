"""The page of the audit log: its entries, newest first, by user, study, action and time; `rest/audit_logs.py` has the
table of them for spreadsheets."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

from aiohttp import web

from gateway.audit.message import EVENTS
from gateway.audit.table import search
from gateway.web.context import CONTEXT
from gateway.web.pages.frame import page_answer
from gateway.web.rest.answers import number
from gateway.web.rest.audit_logs import FILTERS, audit_filter
from gateway.web.route import Route
from gateway.web.urls import path_template

_PAGE: Final = 100
_MAX_SINCE: Final = 1_000_000


async def audit(request: web.Request) -> web.Response:
    """The page of the audit log."""
    skip = min(number(request, "since", 0), _MAX_SINCE)
    found = await search(request.app[CONTEXT].database, audit_filter(request), skip=skip, limit=_PAGE + 1)
    asked = {name: request.query.get(name, "")[:256] for name in _FIELDS}
    filters = {name: value for name, value in asked.items() if value}
    page = path_template(request, "audit")
    table = path_template(request, "audit-logs")
    more = f"{page}?{urlencode({**filters, 'since': skip + _PAGE})}" if len(found) > _PAGE else ""
    values = {
        "actions": sorted(EVENTS),
        "asked": asked,
        "csv_url": f"{table}?{urlencode({**filters, 'format': 'csv', 'limit': 10_000})}",
        "entries": found[:_PAGE],
        "is_filtered": bool(filters),
        "is_on": request.app[CONTEXT].settings().is_audited,
        "older": more,
        "page": page,
    }
    return page_answer(request, "audit.html", values)


_FIELDS: Final = tuple(each.name for each in FILTERS if each.name != "since")
ROUTES: Final = (Route("GET", "/ui/audit", audit, "audit-logs", FILTERS, answers=("text/html",), name="audit"),)
