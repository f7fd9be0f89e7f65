"""Whether a request may be answered, and what it may see: the permission of its route, against the roles of its user.

The decision is `access/principals.py`'s; the view of the index that the roles give is `index/visibility.py`'s. A door
that the user may not use answers 403. What the user may not see is not there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aiohttp import web

from gateway.access.principals import ANYBODY, Principal
from gateway.database.view import View, reading
from gateway.index.visibility import visible
from gateway.web.auditing import actor_of, audited, denied
from gateway.web.context import CONTEXT
from gateway.web.errors import error_answer
from gateway.web.route import BY_RESOURCE, Route

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

PRINCIPAL: Final = web.RequestKey("principal", Principal)
"""Who makes a request; not there if nobody need say."""


@web.middleware
async def authorize(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer 403 without the permission of the route; else let the request see what its user's roles show."""
    route = route_of(request)
    if route is None:
        return await handler(request)
    who = request.get(PRINCIPAL, ANYBODY)
    tenant = request.match_info.get("tenant")
    if tenant is not None:
        who = who.within(tenant)
        if not who.roles or tenant not in request.app[CONTEXT].settings().tenants:
            return error_answer(request, 404, f"there is no tenant {tenant} here")
    if route.is_of_whole_patient:
        who = who.without_conditions()
    if not who.granting(route.permissions, route.level):
        needed = " or ".join(route.permissions)
        denied(request, route, who)
        return error_answer(request, 403, f"user {who.name} has no role with the permission {needed}")
    actor = actor_of(request, who)
    with reading(actor, None if who is ANYBODY else _view(who, route)):
        return await audited(request, route, actor, handler)


def _view(who: Principal, route: Route) -> View | None:
    """What a request shows to its user: what the roles do that give its permission.

    Where any of several would do, or none is needed, the answer may be about whatever each of them is for: it shows
    what all of those that the user has do, and the user may view. A link shows what its maker sees, too.
    """
    wanted = [each for each in route.permissions if who.granting((each,), route.level)]
    if len(route.permissions) != 1:
        wanted.append("view")
    return view_by(who, wanted, route.level)


def view_by(who: Principal, permissions: Sequence[str], level: str = "patient") -> View | None:
    """The view of somebody by all of some permissions; through a link, also that of its maker."""
    held = [each.granting((one,), level) for each in (who, who.maker) if each is not None for one in permissions]
    return visible(*held, reader=who.name, token=who.api_token)


def route_of(request: web.Request) -> Route | None:
    """The declaration of the route that a request matches; None where there is none."""
    resource = request.match_info.route.resource
    if resource is None:
        return None
    method = "GET" if request.method == "HEAD" else request.method
    return request.app[BY_RESOURCE].get((method, resource.canonical))
