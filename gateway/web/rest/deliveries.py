"""/destinations, /deliveries, /trace: where things go, how it stands with that, and what a person may do about it."""

from __future__ import annotations

import functools
import time
from typing import Any, cast, get_args

import msgspec
from aiohttp import web

from gateway.archive.deliveries.control import STATES, Action, Deliveries, DestinationStatus, Selection
from gateway.archive.deliveries.story import InstanceStory, StudyStory, tell
from gateway.archive.deliveries.table import Delivery, State
from gateway.errors import BadRequest, NotFound
from gateway.web.context import CONTEXT
from gateway.web.rest.answers import json_answer, number, timestamp

DELIVERIES: web.AppKey[Deliveries] = web.AppKey("deliveries", Deliveries)
_MOST = 1000
_MAX_BODY = 64 << 10


async def destinations(request: web.Request) -> web.Response:
    """Destinations: their names; with `expand`, how it stands with each."""
    found = await request.app[DELIVERIES].destinations()
    return json_answer([_destination(each) if "expand" in request.query else each.name for each in found])


async def destination(request: web.Request) -> web.Response:
    """One destination."""
    return json_answer(_destination(await _status(request)))


async def queue(request: web.Request) -> web.Response:
    """What waits for a destination, in the order in which it will go; `state`: waiting, sending or held."""
    name, state = (await _status(request)).name, _state(request.query.get("state", "waiting"))
    if state not in ("waiting", "sending", "held"):
        raise BadRequest(f"state: {state!r} is not in the queue; ask /deliveries for it")
    found = await request.app[DELIVERIES].queue(name, state, limit=min(number(request, "limit", 100), _MOST))
    return json_answer([as_json(each) for each in found])


async def rates(request: web.Request) -> web.Response:
    """What ended in the last `hours` (24), counted in stretches of `minutes` (10), by destination and outcome."""
    hours, minutes = min(number(request, "hours", 24), 24 * 31), max(1, number(request, "minutes", 10))
    found = await request.app[DELIVERIES].rates(time.time() - hours * 3600.0, minutes * 60.0)
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
    """Send nothing more to a destination until it is released."""
    await request.app[DELIVERIES].hold_destination(request.match_info["name"])
    return json_answer({})


async def release(request: web.Request) -> web.Response:
    """Go on sending to a destination at once, whether it was held or paused."""
    await request.app[DELIVERIES].release_destination(request.match_info["name"])
    return json_answer({})


async def prove(request: web.Request) -> web.Response:
    """Ask a destination whether it has what it has taken of a study, `{"Study": id}`, and send again what it lacks."""
    status, study = await _status(request), (await _selection(request)).study
    if not study:
        raise BadRequest('name the study: {"Study": id}')
    await request.app[DELIVERIES].prove(status.name, study)
    return json_answer({})


async def all_deliveries(request: web.Request) -> web.Response:
    """Deliveries, newest first, of a `destination`, `study`, `series` or `instance`, in a `state`.

    `limit`, and `before` (as the last answer says it) to go on.
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
        chosen, before=number(request, "before", 2**62), limit=min(number(request, "limit", 100), _MOST)
    )
    return json_answer({"Before": page.before, "Deliveries": [as_json(each) for each in page.deliveries]})


async def one(request: web.Request) -> web.Response:
    """One delivery."""
    return json_answer(as_json(await request.app[DELIVERIES].get(_number(request))))


async def act(request: web.Request, action: Action) -> web.Response:
    """Resend, cancel, hold or release one delivery, as the path says."""
    desk, which = request.app[DELIVERIES], _number(request)
    if not await desk.act_on(action, which):
        raise BadRequest(f"delivery {which} is {(await desk.get(which)).state}")
    return json_answer({})


async def act_on_all(request: web.Request, action: Action) -> web.Response:
    """The same for all deliveries of a `Destination`, `Study`, `Series` or `Instance`, in a `State`, of the body."""
    return json_answer({"Count": await request.app[DELIVERIES].act(action, await _selection(request))})


async def trace(request: web.Request) -> web.Response:
    """The story of a `name`: a UID, a public id or an accession number."""
    name = request.query.get("name", "").strip()
    if not name:
        raise BadRequest("name: give a UID, an identifier or an accession number")
    story = await tell(request.app[CONTEXT].database, name)
    if not story.studies and not story.instances:
        raise NotFound(f"nothing here is called {name[:80]}")
    return json_answer(
        {
            "Instances": [_instance(each) for each in story.instances],
            "Studies": [_study(each) for each in story.studies],
        }
    )


ON_ONE = {name: functools.partial(act, action=name) for name in get_args(Action)}
ON_ALL = {name: functools.partial(act_on_all, action=name) for name in get_args(Action)}


def as_json(delivery: Delivery) -> dict[str, Any]:
    """One delivery. Moments that have not come are empty."""
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


def _instance(story: InstanceStory) -> dict[str, Any]:
    item = story.item
    return {
        "CalledAet": item.called_aet,
        "CallingAet": item.calling_aet,
        "Deliveries": [as_json(each) for each in story.deliveries],
        "ID": item.instance,
        "Peer": item.peer,
        "ReceptionTime": timestamp(item.received_at),
        "SOPInstanceUID": item.located.sop_uid,
        "SeriesInstanceUID": item.located.series_uid,
        "Study": item.study,
        "StudyInstanceUID": item.located.study_uid,
        "Version": item.located.version,
        "Via": item.via,
    }


def _study(story: StudyStory) -> dict[str, Any]:
    return {
        "AccessionNumber": story.accession_number,
        "Deliveries": [
            {
                "Changes": each.changes,
                "Count": each.count,
                "Destination": each.destination,
                "Reason": each.detail,
                "Rule": each.rule,
                "State": each.state.capitalize(),
            }
            for each in story.summaries
        ],
        "FirstReception": timestamp(story.first_received),
        "ID": story.study,
        "Instances": story.instances,
        "LastReception": timestamp(story.last_received),
        "Origins": [
            {"CalledAet": called, "CallingAet": calling, "Count": count, "Peer": peer, "Via": via}
            for via, calling, called, peer, count in story.origins
        ],
        "StudyInstanceUID": story.study_uid,
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
    data = await request.content.read(_MAX_BODY)
    try:
        body = msgspec.json.decode(data or b"{}", type=_Body)
    except msgspec.DecodeError as error:
        raise BadRequest(f'the body must be JSON like {{"Destination": "pacs"}}: {error}') from None
    return Selection(body.destination, body.study, body.series, body.instance, _state(body.state) if body.state else "")


def _state(text: str) -> State:
    if text.lower() not in STATES:
        raise BadRequest(f"state: {text[:40]!r} is none of {', '.join(STATES)}")
    return cast(State, text.lower())


def _number(request: web.Request) -> int:
    text = request.match_info["id"]
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise NotFound(f"there is no delivery {text[:40]}")
    return int(text)


def _moment(at: float) -> str:
    return timestamp(at) if at > 0 else ""
