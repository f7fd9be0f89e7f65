"""Whether a request may be answered, and what it may see: the permission of its route, against the roles of its user.

The decision is `access/principals.py`'s; the view of the index that the roles give is `index/visibility.py`'s. A door
that the user may not use answers 403. What the user may not see is not there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from gateway.access.principals import ANYBODY, Principal
from gateway.database.view import seeing
from gateway.index.visibility import visible
from gateway.web.errors import error_answer
from gateway.web.route import BY_RESOURCE, Route

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

PRINCIPAL: Final = web.RequestKey("principal", Principal)
"""Who makes a request; not there if nobody need say."""


@web.middleware
async def authorize(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer 403 without the permission of the route; else let the request see what its user's roles show."""
    route = _route(request)
    if route is None:
        return await handler(request)
    who = request.get(PRINCIPAL, ANYBODY)
    if not who.granting(route.permissions, route.level):
        needed = " or ".join(route.permissions)
        return error_answer(request, 403, f"user {who.name} has no role with the permission {needed}")
    view = visible(who.granting(route.permissions or ("view",), route.level))
    if view is None:
        return await handler(request)
    with seeing(view):
        return await handler(request)


def _route(request: web.Request) -> Route | None:
    """The declaration of the route that a request matches; None where there is none."""
    resource = request.match_info.route.resource
    if resource is None:
        return None
    method = "GET" if request.method == "HEAD" else request.method
    return request.app[BY_RESOURCE].get((method, resource.canonical))
