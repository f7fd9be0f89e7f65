"""/worklists: the items of the modality worklist, with the routes of Orthanc's worklist plugin."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from gateway.web.accept import DICOM_JSON, JSON
from gateway.web.rest.answers import json_answer, timestamp
from gateway.web.rest.tags import read_data_set, to_tags
from gateway.web.route import EXPAND, Route
from gateway.web.schemas import DATA_SET, TAGS, any_of, members
from gateway.workflow.worklist import Worklists
from gateway.workflow.worklist_items import Item

WORKLISTS: web.AppKey[Worklists] = web.AppKey("worklists", Worklists)


async def all_items(request: web.Request) -> web.Response:
    """Worklist items: their ids; with `expand`, the whole items."""
    items = [item async for item in request.app[WORKLISTS].items()]
    expanded = "expand" in request.query
    return json_answer([_as_json(item) if expanded else item.public_id for item in items])


async def create(request: web.Request) -> web.Response:
    """Add an item, from `{"Tags": {...}}` or DICOM JSON. A missing Study Instance UID or status is added."""
    public_id = await request.app[WORKLISTS].create(await read_data_set(request))
    return json_answer({"ID": public_id, "Path": f"{request.path.rpartition('/')[0]}/{public_id}"})


async def one(request: web.Request) -> web.Response:
    """One worklist item."""
    return json_answer(_as_json(await request.app[WORKLISTS].get(request.match_info["id"])))


async def change(request: web.Request) -> web.Response:
    """Replace an item."""
    await request.app[WORKLISTS].change(request.match_info["id"], await read_data_set(request))
    return json_answer({})


async def remove(request: web.Request) -> web.Response:
    """Delete an item."""
    await request.app[WORKLISTS].remove(request.match_info["id"])
    return json_answer({})


def _as_json(item: Item) -> dict[str, Any]:
    of_tenant = {"Tenant": item.tenant} if item.tenant else {}
    return {
        "CreationTime": timestamp(item.created_at),
        "ID": item.public_id,
        "LastUpdate": timestamp(item.changed_at),
        "Source": item.source,
        "Tags": to_tags(item.data_set),
        **of_tenant,
    }


_ITEM: Final = any_of(members("Tags", Tags=TAGS), TAGS, DATA_SET)
ROUTES = (
    Route("GET", "/worklists", all_items, "worklists", (EXPAND,)),
    Route("GET", "/worklists/", all_items, "worklists", (EXPAND,)),
    Route("POST", "/worklists/create", create, "worklists", takes=_ITEM, body=(JSON, DICOM_JSON)),
    Route("GET", "/worklists/{id}", one, "worklists", errors=(404,)),
    Route("PUT", "/worklists/{id}", change, "worklists", takes=_ITEM, body=(JSON, DICOM_JSON), errors=(404,)),
    Route("DELETE", "/worklists/{id}", remove, "worklists", errors=(404,)),
)
