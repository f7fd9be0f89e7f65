"""Requests that name another method than their own, as Orthanc takes them from clients that can only GET and POST.

The header `X-HTTP-Method-Override` counts with every method: a page of another origin cannot send it without asking
first. `?_method=` counts with POST, which browsers send with their page's origin; that is checked as of any other
request. With GET it would let every picture on every page delete: there it counts only if the browser says that the
page is ours. Everything after that, from the checks to the handler, sees the other method alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from gateway.web.errors import error_answer

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_HEADER: Final = "X-HTTP-Method-Override"
_PARAMETER: Final = "_method"
_METHODS: Final = frozenset({"GET", "POST", "PUT", "DELETE"})
_FROM: Final = frozenset({"GET", "POST"})
_OVERRIDDEN: Final = web.RequestKey("overridden", bool)


@web.middleware
async def take_method(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request the method that it names, and the route of that."""
    wanted, by_parameter = request.headers.get(_HEADER), False
    if not wanted and f"{_PARAMETER}=" in request.query_string:
        wanted, by_parameter = request.query.get(_PARAMETER), True
    if not wanted or request.method not in _FROM:
        return await handler(request)
    method = wanted.upper()
    if method == request.method:
        return await handler(request)
    if method not in _METHODS:
        return error_answer(request, 400, f"{wanted[:40]!r} is no method to override another: GET, POST, PUT, DELETE")
    if by_parameter and request.method == "GET" and not _is_of_our_page(request):
        return error_answer(
            request,
            403,
            f"{_PARAMETER} counts with POST; with GET any page could send it. Send {method} itself, or the header "
            f"{_HEADER}",
        )
    taken = request.clone(method=method)
    match = await request.app.router.resolve(taken)
    match.add_app(request.app)
    match.freeze()
    taken._match_info = match
    taken[_OVERRIDDEN] = True
    return await handler(taken)


@web.middleware
async def handle_method(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Call the handler of the method that the request named."""
    return await (request.match_info.handler if _OVERRIDDEN in request else handler)(request)


def _is_of_our_page(request: web.Request) -> bool:
    """Whether a browser says so, which pages cannot make it say."""
    return request.headers.get("Sec-Fetch-Site") == "same-origin"
