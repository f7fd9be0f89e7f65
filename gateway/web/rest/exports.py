"""GET /exports: the log of what was sent to other systems, in Orthanc's shape."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from gateway.events.exports import Export, clear_exports, last_export, read_exports
from gateway.web.context import CONTEXT
from gateway.web.rest.answers import json_answer, number, place, timestamp
from gateway.web.route import COUNT, FLAG, Parameter, Route

_DEFAULT_LIMIT: Final = 100
_MAX_LIMIT: Final = 1000


async def exports(request: web.Request) -> web.Response:
    """The entries after `since`, or the `last` alone. A parameter that is not a number is ignored."""
    database = request.app[CONTEXT].database
    since = number(request, "since", 0)
    if "last" in request.query:
        found, done, since = await last_export(database), True, 0
    else:
        found, done = await read_exports(
            database, since, min(number(request, "limit", 0) or _DEFAULT_LIMIT, _MAX_LIMIT)
        )
    last = found[-1].seq if found else since
    return json_answer({"Done": done, "Exports": [_as_json(each) for each in found], "Last": last})


async def delete_exports(request: web.Request) -> web.Response:
    """Clear the log of what was sent. Deliveries and jobs still know what became of them."""
    await request.app[CONTEXT].database.write(clear_exports)
    return web.Response(text="")


def _as_json(export: Export) -> dict[str, Any]:
    below = {
        "StudyInstanceUID": export.study_uid,
        "SeriesInstanceUID": export.series_uid,
        "SOPInstanceUID": export.sop_uid,
    }
    return {
        "Date": timestamp(export.at),
        "ID": export.public_id,
        "Path": place(export.level, export.public_id),
        "PatientID": export.patient_id,
        "RemoteModality": export.remote,
        "ResourceType": export.level,
        "Seq": export.seq,
        **{name: uid for name, uid in below.items() if uid},
    }


ROUTES = (
    Route(
        "GET",
        "/exports",
        exports,
        "send",
        (
            Parameter("since", "Sequence number to go on after", COUNT, "0"),
            Parameter("limit", "Most entries", COUNT, "10"),
            Parameter("last", "The newest alone", FLAG),
        ),
    ),
    Route("DELETE", "/exports", delete_exports, "settings", answers=()),
)
