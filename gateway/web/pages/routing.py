"""The page of destinations: the state and queue of each, and the trace of a study.

Everything works without scripts; `static/fresh.js` only updates the page.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import urlencode

from aiohttp import web

from gateway.errors import BadRequest
from gateway.forwarding.control import ACTIONS, STATES, DestinationStatus, Interval, Selection
from gateway.forwarding.table import Delivery, State
from gateway.forwarding.trace import find_trace
from gateway.web.context import CONTEXT
from gateway.web.inputs import read_form, whole_number
from gateway.web.pages.frame import page_answer
from gateway.web.rest.deliveries import DELIVERIES
from gateway.web.route import Parameter, Route, one_of
from gateway.web.sessions import check_form
from gateway.web.urls import path_template

_SHOWN: Final = 50
"""Deliveries on the page."""
_HOURS: Final = 24
_INTERVAL: Final = 1800
"""Seconds of each bar of a plot."""
_BARS: Final = int(_HOURS * 3600 / _INTERVAL)


@dataclass(frozen=True, slots=True)
class DestinationRow:
    """A destination with its last day as bars: the heights of delivered and of failed, 0 to 40."""

    status: DestinationStatus
    state: str
    bars: list[tuple[float, float]]
    delivered: int
    sent: int
    """Bytes in the last day."""


async def routing(request: web.Request) -> web.Response:
    """The page of destinations, deliveries and traces."""
    context, control = request.app[CONTEXT], request.app[DELIVERIES]
    now, query = time.time(), request.query
    intervals = await control.rates(now - _HOURS * 3600, _INTERVAL)
    found = [_row(status, intervals, now) for status in await control.destinations()]
    name = query.get("name", "").strip()
    destination, state = query.get("destination", ""), query.get("state", "waiting")
    if state not in STATES:
        state = "waiting"
    page = path_template(request, "routing")
    values: dict[str, Any] = {
        "act_url": path_template(request, "routing-act"),
        "actions": ACTIONS,
        "chosen": destination,
        "deliveries": await _deliveries(request, destination, cast(State, state)) if destination else [],
        "destinations": found,
        "name": name,
        "page": page,
        "shown": _SHOWN,
        "state": state,
        "states": STATES,
        "trace": await find_trace(context.database, name) if name else None,
    }
    return page_answer(request, "routing.html", values)


async def act(request: web.Request) -> web.StreamResponse:
    """Perform the action of a button, on a destination or a delivery."""
    form = await read_form(request)
    check_form(request, form)
    control, what, number = request.app[DELIVERIES], form.get("what", ""), whole_number(form.get("id", ""))
    if what in ("hold-destination", "release-destination"):
        change = control.hold_destination if what == "hold-destination" else control.release_destination
        await change(form.get("destination", ""))
    elif what == "resend-lost":
        for state in ("refused", "dead"):
            await control.act("resend", Selection(destination=form.get("destination", ""), state=state))
    elif what in ACTIONS and number is not None:
        await control.act_on(what, number)
    else:
        raise BadRequest(f"there is no action {what[:40]!r}")
    back = urlencode({name: form[name] for name in ("destination", "state", "name") if form.get(name)})
    raise web.HTTPSeeOther(f"{path_template(request, 'routing')}?{back}")


async def _deliveries(request: web.Request, destination: str, state: State) -> list[Delivery]:
    control = request.app[DELIVERIES]
    if state in ("waiting", "sending", "held"):
        return await control.queue(destination, state, limit=_SHOWN)
    return (await control.page(Selection(destination=destination, state=state), limit=_SHOWN)).deliveries


def _row(status: DestinationStatus, intervals: list[Interval], now: float) -> DestinationRow:
    mine = [each for each in intervals if each.destination == status.name]
    first = int((now - _HOURS * 3600) / _INTERVAL) + 1
    good, bad = [0] * _BARS, [0] * _BARS
    for each in mine:
        at = int(each.at / _INTERVAL) - first
        if 0 <= at < _BARS and each.outcome != "cancelled":
            (good if each.outcome == "delivered" else bad)[at] += each.count
    top = max(max(map(sum, zip(good, bad, strict=True))), 1)
    delivered = [each for each in mine if each.outcome == "delivered"]
    return DestinationRow(
        status,
        status.state(now),
        [(40 * one / top, 40 * other / top) for one, other in zip(good, bad, strict=True)],
        sum(each.count for each in delivered),
        sum(each.sent for each in delivered),
    )


ROUTES = (
    Route(
        "GET",
        "/ui/routing",
        routing,
        "route",
        (
            Parameter("name", "A UID, a public id or an accession number, to trace"),
            Parameter("destination", "Name of a destination whose deliveries are listed"),
            Parameter("state", "State of these deliveries", one_of(*STATES), "waiting"),
        ),
        answers=("text/html",),
        name="routing",
    ),
    Route(
        "POST",
        "/ui/routing",
        act,
        "route",
        body=("application/x-www-form-urlencoded",),
        leads_on=True,
        name="routing-act",
    ),
)
