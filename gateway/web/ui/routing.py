"""The page of destinations: how it stands with each, what waits there and why, and the story of a study.

It shows what `archive/deliveries` tells and works without scripts; `static/routing.js` only keeps it fresh.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import urlencode

from aiohttp import web

from gateway.archive.deliveries.control import ACTIONS, STATES, DestinationStatus, Selection, Stretch
from gateway.archive.deliveries.story import tell
from gateway.archive.deliveries.table import Delivery, State
from gateway.errors import BadRequest
from gateway.web.context import CONTEXT
from gateway.web.rest.deliveries import DELIVERIES
from gateway.web.ui.environment import ENVIRONMENT
from gateway.web.ui.frame import frame
from gateway.web.urls import path_template

_SHOWN: Final = 50
"""Deliveries on the page."""
_HOURS: Final = 24
_STRETCH: Final = 1800.0
"""Seconds for each bar of a plot."""
_BARS: Final = int(_HOURS * 3600 / _STRETCH)


@dataclass(frozen=True, slots=True)
class Shown:
    """A destination with its last day as bars: height of what was delivered and of what failed, 0 to 40."""

    status: DestinationStatus
    state: str
    bars: list[tuple[float, float]]
    delivered: int
    sent: int
    """Bytes in the last day."""


async def routing(request: web.Request) -> web.Response:
    """The page of destinations, deliveries and stories."""
    context, desk = request.app[CONTEXT], request.app[DELIVERIES]
    now, query = time.time(), request.query
    stretches = await desk.rates(now - _HOURS * 3600, _STRETCH)
    found = [_shown(status, stretches, now) for status in await desk.destinations()]
    name = query.get("name", "").strip()
    chosen, state = query.get("destination", ""), query.get("state", "waiting")
    if state not in STATES:
        state = "waiting"
    page = path_template(request, "routing")
    values: dict[str, Any] = {
        **frame(request),
        "act_url": path_template(request, "routing-act"),
        "actions": ACTIONS,
        "chosen": chosen,
        "deliveries": await _deliveries(request, chosen, cast(State, state)) if chosen else [],
        "destinations": found,
        "name": name,
        "page": page,
        "shown": _SHOWN,
        "state": state,
        "states": STATES,
        "story": await tell(context.database, name) if name else None,
    }
    text = request.app[ENVIRONMENT].get_template("routing.html").render(values)
    return web.Response(text=text, content_type="text/html")


async def act(request: web.Request) -> web.StreamResponse:
    """What a button of the page does: to a destination, or to a delivery."""
    form = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
    desk, what = request.app[DELIVERIES], form.get("what", "")
    if what in ("hold-destination", "release-destination"):
        change = desk.hold_destination if what == "hold-destination" else desk.release_destination
        await change(form.get("destination", ""))
    elif what == "resend-lost":
        for state in ("refused", "dead"):
            await desk.act("resend", Selection(destination=form.get("destination", ""), state=state))
    elif what in ACTIONS and form.get("id", "").isdigit():
        await desk.act_on(what, int(form["id"][:18]))
    else:
        raise BadRequest(f"there is no button {what[:40]!r}")
    back = urlencode({name: form[name] for name in ("destination", "state", "name") if form.get(name)})
    raise web.HTTPSeeOther(f"{path_template(request, 'routing')}?{back}")


async def _deliveries(request: web.Request, destination: str, state: State) -> list[Delivery]:
    desk = request.app[DELIVERIES]
    if state in ("waiting", "sending", "held"):
        return await desk.queue(destination, state, limit=_SHOWN)
    return (await desk.page(Selection(destination=destination, state=state), limit=_SHOWN)).deliveries


def _shown(status: DestinationStatus, stretches: list[Stretch], now: float) -> Shown:
    mine = [each for each in stretches if each.destination == status.name]
    first = int((now - _HOURS * 3600) / _STRETCH) + 1
    good, bad = [0] * _BARS, [0] * _BARS
    for each in mine:
        at = int(each.at / _STRETCH) - first
        if 0 <= at < _BARS and each.outcome != "cancelled":
            (good if each.outcome == "delivered" else bad)[at] += each.count
    top = max(max(map(sum, zip(good, bad, strict=True))), 1)
    delivered = [each for each in mine if each.outcome == "delivered"]
    return Shown(
        status,
        status.state(now),
        [(40 * one / top, 40 * other / top) for one, other in zip(good, bad, strict=True)],
        sum(each.count for each in delivered),
        sum(each.sent for each in delivered),
    )
