"""The page of the worklist: its items, a form for those that are not of a file, and the performed procedure steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from gateway.database.view import tenant_of_task
from gateway.errors import BadRequest
from gateway.web.inputs import read_form
from gateway.web.pages.frame import page_answer
from gateway.web.pages.worklist_form import CHOICES, FIELDS, data_set_of, values_of
from gateway.web.rest.mpps import STEPS
from gateway.web.rest.worklists import WORKLISTS
from gateway.web.route import Parameter, Route
from gateway.web.sessions import check_form
from gateway.web.urls import path_template
from gateway.workflow.worklist_items import Item

_MAX_ITEMS: Final = 500
"""Items on the page, those of the latest days."""
_MAX_STEPS: Final = 50
_PATIENT: Final = (0x00100010, 0x00100020)
_STATION: Final = 0x00400241


async def worklist(request: web.Request) -> web.Response:
    """The page of the worklist; with `item`, that item in the form, and with `day` the items of one day."""
    entered, chosen = None, request.query.get("item", "")
    item = await request.app[WORKLISTS].get(chosen) if chosen else None
    if item is not None:
        entered = values_of(item.data_set)
    return await _page(request, entered, item)


async def act(request: web.Request) -> web.StreamResponse:
    """Keep the item of the form, as a new one or in place of one, or delete one."""
    form = await read_form(request)
    check_form(request, form)
    worklists, public_id = request.app[WORKLISTS], form.get("item", "")
    item = await worklists.get(public_id) if public_id else None
    if item is not None and item.source:
        raise BadRequest(f"this item is of the file {item.source}, and is changed there")
    match form.get("what"):
        case "save":
            try:
                data_set = data_set_of(form, item.data_set if item is not None else None)
                if item is None:
                    await worklists.create(data_set)
                else:
                    await worklists.change(item.public_id, data_set)
            except BadRequest as error:
                return await _page(request, form, item, problem=str(error))
        case "remove" if item is not None:
            await worklists.remove(item.public_id)
        case what:
            raise BadRequest(f"there is no button {what!r}")
    raise web.HTTPSeeOther(path_template(request, "worklist-page"))


async def _page(
    request: web.Request, entered: Mapping[str, str] | None, item: Item | None, *, problem: str = ""
) -> web.Response:
    day = request.query.get("day", "")[:10]
    rows = [(each, values_of(each.data_set)) async for each in request.app[WORKLISTS].items()]
    if day:
        rows = [row for row in rows if row[1]["date"] == day]
    rows.sort(key=lambda row: (row[1]["date"], row[1]["time"]), reverse=True)
    steps = await request.app[STEPS].page(limit=_MAX_STEPS)
    values: dict[str, Any] = {
        "above": not tenant_of_task(),
        "choices": CHOICES,
        "day": day,
        "entered": entered or {"status": "SCHEDULED"},
        "fields": FIELDS,
        "item": item,
        "items": rows[:_MAX_ITEMS],
        "left_out": max(0, len(rows) - _MAX_ITEMS),
        "folder": request.app[WORKLISTS].folders.folder(),
        "page": path_template(request, "worklist-page"),
        "problem": problem,
        "steps": [(each, [_text(each.data_set, tag) for tag in (*_PATIENT, _STATION)]) for each in steps],
    }
    return page_answer(request, "worklist.html", values)


def _text(data_set: Any, tag: int) -> str:
    attribute = data_set.get(tag)
    return str(attribute.values[0]) if attribute is not None and attribute.values else ""


_QUERY: Final = (
    Parameter("item", "Id of an item to show in the form", example=""),
    Parameter("day", "Only items of this day", example="2026-01-31"),
)
ROUTES = (
    Route(
        *("GET", "/ui/worklist", worklist, "worklists", _QUERY),
        answers=("text/html",),
        errors=(404,),
        name="worklist-page",
    ),
    Route(
        *("POST", "/ui/worklist", act, "worklists"),
        body=("application/x-www-form-urlencoded",),
        answers=("text/html",),
        errors=(404,),
    ),
)
