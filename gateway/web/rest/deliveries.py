"""/destinations, /deliveries, /trace: destinations, the state of deliveries, and the actions of a user on them."""

from __future__ import annotations

import functools
import time
from typing import Any, Final, cast, get_args

import msgspec
from aiohttp import web

from gateway.errors import BadRequest, NotFound
from gateway.forwarding.control import STATES, Action, Deliveries, DestinationStatus, Selection
from gateway.forwarding.table import Delivery, State
from gateway.forwarding.trace import InstanceTrace, StudyTrace, find_trace
from gateway.web.accept import JSON
from gateway.web.context import CONTEXT
from gateway.web.inputs import read_json, whole_number
from gateway.web.rest.answers import json_answer, number, timestamp
from gateway.web.route import COUNT, EXPAND, Parameter, Route, at_least, one_of
from gateway.web.schemas import struct

DELIVERIES: web.AppKey[Deliveries] = web.AppKey("deliveries", Deliveries)
_MAX_LIMIT = 1000


async def destinations(request: web.Request) -> web.Response:
    """Destinations: their names; with `expand`, the state of each."""
    found = await request.app[DELIVERIES].destinations()
    expanded = "expand" in request.query
    return json_answer([_destination(each) if expanded else each.name for each in found])


async def destination(request: web.Request) -> web.Response:
    """The state of one destination."""
    return json_answer(_destination(await _status(request)))


async def queue(request: web.Request) -> web.Response:
    """The queue of a destination, in the order of sending; `state`: waiting, sending or held."""
    name, state = (await _status(request)).name, _state(request.query.get("state", "waiting"))
    if state not in ("waiting", "sending", "held"):
        raise BadRequest(f"state: {state!r} is not in the queue; ask /deliveries for it")
    found = await request.app[DELIVERIES].queue(name, state, limit=min(number(request, "limit", 100), _MAX_LIMIT))
    return json_answer([as_json(each) for each in found])


async def rates(request: web.Request) -> web.Response:
    """Deliveries ended in the last `hours` (24), counted per interval of `minutes` (10), by destination and outcome."""
    hours, minutes = min(number(request, "hours", 24), 24 * 31), max(1, number(request, "minutes", 10))
    found = await request.app[DELIVERIES].rates(time.time() - hours * 3600.0, minutes * 60)
    return json_answer(
        [
            {
                "Begin": timestamp(each.at),
                "Count": each.count,
                "Destination": each.destination,
                "Outcome": each.outcome.capitalize(),
                "Size": each.sent,
            }
            for each in found
        ]
    )


async def hold(request: web.Request) -> web.Response:
    """Hold a destination: nothing is sent to it until it is released."""
    await request.app[DELIVERIES].hold_destination(request.match_info["name"])
    return json_answer({})


async def release(request: web.Request) -> web.Response:
    """Release a destination that is held or paused: sending continues at once."""
    await request.app[DELIVERIES].release_destination(request.match_info["name"])
    return json_answer({})


async def prove(request: web.Request) -> web.Response:
    """Ask a destination whether it has the instances of a study, `{"Study": id}`, and send missing ones again."""
    status, study = await _status(request), (await _selection(request)).study
    if not study:
        raise BadRequest('name the study: {"Study": id}')
    await request.app[DELIVERIES].verify(status.name, study)
    return json_answer({})


async def all_deliveries(request: web.Request) -> web.Response:
    """Deliveries, newest first, of a `destination`, `study`, `series` or `instance`, in a `state`.

    `limit` sets the size of a page; `before`, from the previous answer, requests the next page.
    """
    query = request.query
    chosen = Selection(
        query.get("destination", ""),
        query.get("study", ""),
        query.get("series", ""),
        query.get("instance", ""),
        _state(query["state"]) if query.get("state") else "",
    )
    page = await request.app[DELIVERIES].page(
        chosen, before=number(request, "before", 2**62), limit=min(number(request, "limit", 100), _MAX_LIMIT)
    )
    return json_answer({"Before": page.before, "Deliveries": [as_json(each) for each in page.deliveries]})


async def one(request: web.Request) -> web.Response:
    """The state of one delivery."""
    return json_answer(as_json(await request.app[DELIVERIES].get(_number(request))))


async def act(request: web.Request, action: Action) -> web.Response:
    """Resend, cancel, hold or release one delivery, as the path says."""
    desk, which = request.app[DELIVERIES], _number(request)
    if not await desk.act_on(action, which):
        raise BadRequest(f"delivery {which} is {(await desk.get(which)).state}")
    return json_answer({})


async def act_on_all(request: web.Request, action: Action) -> web.Response:
    """Resend, cancel, hold or release all deliveries of a `Destination`, `Study`, `Series`, `Instance` and `State`."""
    return json_answer({"Count": await request.app[DELIVERIES].act(action, await _selection(request))})


async def trace(request: web.Request) -> web.Response:
    """The trace of a `name`: a UID, a public id or an accession number."""
    name = request.query.get("name", "").strip()
    if not name:
        raise BadRequest("name: give a UID, an identifier or an accession number")
    trace = await find_trace(request.app[CONTEXT].database, name)
    if not trace.studies and not trace.instances:
        raise NotFound(f"nothing here is called {name[:80]}")
    return json_answer(
        {
            "Instances": [_instance(each) for each in trace.instances],
            "Studies": [_study(each) for each in trace.studies],
        }
    )


def as_json(delivery: Delivery) -> dict[str, Any]:
    """A delivery in the JSON of the API. Times of events that have not happened are empty."""
    state = delivery.state
    over = state in ("delivered", "refused", "dead", "cancelled")
    return {
        "Attempts": delivery.attempts,
        "Changes": delivery.changes,
        "ChangesVersion": delivery.changes_version,
        "CompletionTime": _moment(delivery.ended_at),
        "CreationTime": timestamp(delivery.created_at),
        "Destination": delivery.destination,
        "Due": _moment(max(delivery.due_at, delivery.created_at)) if not over else "",
        "Generation": delivery.generation,
        "ID": str(delivery.id),
        "Instance": delivery.instance,
        "Priority": delivery.priority,
        "ProvenTime": _moment(delivery.proven_at),
        "Reason": delivery.detail if over else delivery.error,
        "Rule": delivery.rule,
        "SOPInstanceUID": delivery.sop_uid,
        "SentSOPInstanceUID": delivery.sent_sop_uid,
        "SentSize": delivery.sent,
        "Series": delivery.series,
        "State": state.capitalize(),
        "Status": None if delivery.status < 0 else delivery.status,
        "Study": delivery.study,
        "Version": delivery.version,
    }


def _destination(status: DestinationStatus) -> dict[str, Any]:
    state = status.state(time.time()).capitalize()
    return {
        "Dead": status.dead,
        "Failures": status.failures,
        "HeldDeliveries": status.held_deliveries,
        "Name": status.name,
        "PausedUntil": _moment(status.paused_until) if state == "Paused" else "",
        "Reason": status.reason,
        "Refused": status.refused,
        "Sending": status.sending,
        "State": state,
        "Waiting": status.waiting,
    }


def _instance(trace: InstanceTrace) -> dict[str, Any]:
    item = trace.item
    return {
        "CalledAet": item.called_aet,
        "CallingAet": item.calling_aet,
        "Deliveries": [as_json(each) for each in trace.deliveries],
        "ID": item.instance,
        "Incomplete": item.lacking,
        "Peer": item.peer,
        "ReceptionTime": timestamp(item.received_at),
        "SOPInstanceUID": item.located.sop_uid,
        "SeriesInstanceUID": item.located.series_uid,
        "Study": item.study,
        "StudyInstanceUID": item.located.study_uid,
        "Version": item.located.version,
        "Via": item.via,
    }


def _study(trace: StudyTrace) -> dict[str, Any]:
    return {
        "AccessionNumber": trace.accession_number,
        "Deliveries": [
            {
                "Changes": each.changes,
                "Count": each.count,
                "Destination": each.destination,
                "Reason": each.detail,
                "Rule": each.rule,
                "State": each.state.capitalize(),
            }
            for each in trace.summaries
        ],
        "FirstReception": timestamp(trace.first_received),
        "ID": trace.study,
        "Instances": trace.instances,
        "LastReception": timestamp(trace.last_received),
        "Origins": [
            {"CalledAet": called, "CallingAet": calling, "Count": count, "Peer": peer, "Via": via}
            for via, calling, called, peer, count in trace.origins
        ],
        "StudyInstanceUID": trace.study_uid,
    }


async def _status(request: web.Request) -> DestinationStatus:
    name = request.match_info["name"]
    for each in await request.app[DELIVERIES].destinations():
        if each.name == name:
            return each
    raise NotFound(f"there is no destination {name[:80]}")


class _Body(msgspec.Struct, forbid_unknown_fields=True, rename="pascal"):
    destination: str = ""
    study: str = ""
    series: str = ""
    instance: str = ""
    state: str = ""


async def _selection(request: web.Request) -> Selection:
    body = await read_json(request, _Body)
    return Selection(body.destination, body.study, body.series, body.instance, _state(body.state) if body.state else "")


def _state(text: str) -> State:
    if text.lower() not in STATES:
        raise BadRequest(f"state: {text[:40]!r} is none of {', '.join(STATES)}")
    return cast(State, text.lower())


def _number(request: web.Request) -> int:
    text = request.match_info["id"]
    number = whole_number(text)
    if number is None:
        raise NotFound(f"there is no delivery {text[:40]}")
    return number


def _moment(at: float) -> str:
    return timestamp(at) if at > 0 else ""


_LIMIT: Final = Parameter("limit", "Most deliveries", at_least(0, _MAX_LIMIT), "10")
ROUTES = (
    Route("GET", "/destinations", destinations, "route", (EXPAND,)),
    Route("GET", "/destinations/{name}", destination, "route", errors=(404,)),
    Route(
        "GET",
        "/destinations/{name}/queue",
        queue,
        "route",
        (Parameter("state", "Of the deliveries", one_of("waiting", "sending", "held"), "waiting"), _LIMIT),
        errors=(404,),
    ),
    Route("POST", "/destinations/{name}/hold", hold, "route", errors=(404,)),
    Route("POST", "/destinations/{name}/release", release, "route", errors=(404,)),
    Route("POST", "/destinations/{name}/prove", prove, "route", takes=struct(_Body), body=(JSON,), errors=(404,)),
    Route(
        "GET",
        "/deliveries",
        all_deliveries,
        "route",
        (
            Parameter("destination", "Name of a destination"),
            Parameter("study", "Public id"),
            Parameter("series", "Public id"),
            Parameter("instance", "Public id"),
            Parameter("state", "How they stand", one_of(*STATES), STATES[0]),
            Parameter("before", "Only deliveries before this one", COUNT, "1000"),
            _LIMIT,
        ),
    ),
    Route(
        "GET",
        "/deliveries/rates",
        rates,
        "route",
        (
            Parameter("hours", "How far back", at_least(0, 24 * 31), "24"),
            Parameter("minutes", "Length of a stretch", at_least(1), "10"),
        ),
    ),
    Route("GET", "/deliveries/{id}", one, "route", errors=(404,)),
    *(
        Route(
            "POST",
            f"/deliveries/{action}",
            functools.partial(act_on_all, action=action),
            "route",
            takes=struct(_Body),
            body=(JSON,),
        )
        for action in get_args(Action)
    ),
    *(
        Route("POST", f"/deliveries/{{id}}/{action}", functools.partial(act, action=action), "route", errors=(404,))
        for action in get_args(Action)
    ),
    Route(
        "GET",
        "/trace",
        trace,
        "route",
        (Parameter("name", "A UID, a public id or an accession number", required=True),),
        errors=(404,),
    ),
)
