"""/worklists: the items of the modality worklist, in the manner of Orthanc's plugin of that name."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from gateway.archive.worklist import Item, Worklists
from gateway.web.rest.answers import json_answer, timestamp
from gateway.web.rest.tags import read_data_set, to_tags

WORKLISTS: web.AppKey[Worklists] = web.AppKey("worklists", Worklists)


async def all_items(request: web.Request) -> web.Response:
    """Worklist items: their ids; with `expand`, all of them."""
    items = [item async for item in request.app[WORKLISTS].items()]
    return json_answer([_as_json(item) if "expand" in request.query else item.public_id for item in items])


async def create(request: web.Request) -> web.Response:
    """Add an item, from `{"Tags": {...}}` or DICOM JSON. A Study Instance UID and the status are made where missing."""
    public_id = await request.app[WORKLISTS].create(await read_data_set(request))
    return json_answer({"ID": public_id, "Path": f"{request.path.rpartition('/')[0]}/{public_id}"})


async def one(request: web.Request) -> web.Response:
    """One worklist item."""
    return json_answer(_as_json(await request.app[WORKLISTS].get(request.match_info["id"])))


async def change(request: web.Request) -> web.Response:
    """Put another item in its place."""
    await request.app[WORKLISTS].change(request.match_info["id"], await read_data_set(request))
    return json_answer({})


async def remove(request: web.Request) -> web.Response:
    """Forget an item."""
    await request.app[WORKLISTS].remove(request.match_info["id"])
    return json_answer({})


def _as_json(item: Item) -> dict[str, Any]:
    return {
        "CreationTime": timestamp(item.created_at),
        "ID": item.public_id,
        "LastUpdate": timestamp(item.changed_at),
        "Source": item.source,
        "Tags": to_tags(item.data_set),
    }
