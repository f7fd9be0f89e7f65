"""GET /changes: the change log, in Orthanc's shape."""

from __future__ import annotations

from aiohttp import web

from gateway.events.changes import Change, changes_since, last_change
from gateway.web.context import CONTEXT
from gateway.web.rest.answers import json_answer, number, place, timestamp
from gateway.web.route import COUNT, FLAG, Parameter, Route

_DEFAULT_LIMIT, _MAX_LIMIT = 100, 1000


async def changes(request: web.Request) -> web.Response:
    """The change log after `since`, or the `last` change alone. A parameter that is not a number is ignored."""
    database = request.app[CONTEXT].database
    since, limit = number(request, "since", 0), number(request, "limit", 0)
    limit = min(limit or _DEFAULT_LIMIT, _MAX_LIMIT)
    if "last" in request.query:
        since, limit = max(await last_change(database) - 1, 0), 1
    found = await changes_since(database, since, limit + 1)
    shown = found[:limit]
    return json_answer(
        {
            "Changes": [_as_json(change) for change in shown],
            "Done": len(found) <= limit,
            "Last": shown[-1].seq if shown else since,
        }
    )


def _as_json(change: Change) -> dict[str, str | int]:
    return {
        "ChangeType": change.kind,
        "Date": timestamp(change.at),
        "ID": change.public_id,
        "Path": place(change.level, change.public_id),
        "ResourceType": change.level,
        "Seq": change.seq,
    }


ROUTES = (
    Route(
        "GET",
        "/changes",
        changes,
        (
            Parameter("since", "Sequence number to go on after", COUNT, "0"),
            Parameter("limit", "Most changes", COUNT, "10"),
            Parameter("last", "The newest alone", FLAG),
        ),
    ),
)
