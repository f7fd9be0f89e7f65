"""CORS (the Fetch standard): pages of other origins that may use the gateway, listed in `http.cors_origins`.

Origins are compared literally, with scheme and port; there is no wild card. `middlewares.py` decides whether to accept
a request; the headers of answers, and the answer to a preflight, are here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aiohttp import hdrs, web

_ALLOWED_HEADERS: Final = ", ".join(
    (
        "Accept",
        "Accept-Charset",
        "Accept-Language",
        "Authorization",
        "Cache-Control",
        "Content-Type",
        "If-Match",
        "If-Modified-Since",
        "If-None-Match",
        "If-Range",
        "Prefer",
        "Range",
        "X-Requested-With",
    )
)
_EXPOSED_HEADERS: Final = ", ".join(
    (
        "Accept-Ranges",
        "Content-Disposition",
        "Content-Location",
        "Content-Range",
        "ETag",
        "Location",
        "Retry-After",
        "Warning",
        "WWW-Authenticate",
    )
)
_MAX_AGE: Final = 600
"""Seconds for which a browser may cache a preflight."""


def is_preflight(request: web.Request) -> bool:
    """Whether a browser asks, on behalf of a page and without credentials, what that page may do."""
    headers = request.headers
    return request.method == "OPTIONS" and "Origin" in headers and hdrs.ACCESS_CONTROL_REQUEST_METHOD in headers


def preflight_answer(request: web.Request) -> web.Response:
    """The answer to a preflight: every method of the resource. 404 if there is none."""
    match = request.match_info
    error = match.http_exception
    if isinstance(error, web.HTTPMethodNotAllowed):
        methods = set(error.allowed_methods)
    elif error is not None or match.route.resource is None:
        raise web.HTTPNotFound
    else:
        methods = {route.method for route in match.route.resource}
    return web.Response(
        status=204,
        headers={
            hdrs.ACCESS_CONTROL_ALLOW_METHODS: ", ".join(sorted(methods)),
            hdrs.ACCESS_CONTROL_ALLOW_HEADERS: _ALLOWED_HEADERS,
            hdrs.ACCESS_CONTROL_MAX_AGE: str(_MAX_AGE),
            hdrs.VARY: "Access-Control-Request-Method, Access-Control-Request-Headers",
        },
    )


def add_cors_headers(
    request: web.BaseRequest, response: web.StreamResponse, origins: Sequence[str], *, users: bool
) -> None:
    """Let a page of one of `origins` read the answer; with `users`, also one to a request with credentials.

    Without origins no header is added. With any, every answer varies by Origin, so that no cache mixes them up.
    """
    if not origins:
        return
    vary = response.headers.get(hdrs.VARY)
    response.headers[hdrs.VARY] = f"{vary}, Origin" if vary else "Origin"
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None or origin not in origins:
        return
    response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
    response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _EXPOSED_HEADERS
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    if users:
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_CREDENTIALS] = "true"
