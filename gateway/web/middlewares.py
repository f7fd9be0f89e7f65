"""Middlewares: the steps before and after every handler.

From outside to inside: trust proxies, measure and turn errors into answers, check Host and Origin, answer preflights;
`authentication.py` and `authorization.py` come behind them.

`access/` decides about names and proxies; `errors.py` has the error answers, `routes.py` URLs.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
import time
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.hdrs import METH_ALL
from prometheus_client import Histogram

from gateway import tracing
from gateway.access.hosts import is_our_host, is_our_origin
from gateway.access.proxies import is_trusted, seen_by_forwarded, seen_by_x_forwarded
from gateway.config import Http
from gateway.errors import GatewayError
from gateway.telemetry import HTTP_SECONDS, observe
from gateway.web.authentication import OPEN_TO_ALL
from gateway.web.context import CONTEXT
from gateway.web.cors import add_cors_headers, is_preflight, preflight_answer
from gateway.web.errors import domain_answer, error_answer
from gateway.web.security import EVERY_ANSWER
from gateway.web.urls import PREFIX

log = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add headers to every answer, streamed ones too. Caches must not store patient data unless a handler allows it."""
    response.headers["Server"] = "dicom-gateway"
    settings = request.app[CONTEXT].settings()
    add_cors_headers(request, response, settings.http.cors_origins, users=settings.needs_sign_in)
    for name, value in EVERY_ANSWER.items():
        response.headers.setdefault(name, value)
    ours = isinstance(response, web.FileResponse)
    response.headers.setdefault("Cache-Control", "no-cache" if ours else "no-store")


@web.middleware
async def as_seen_by_client(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request the scheme, host and client address that trusted proxies state."""
    http = request.app[CONTEXT].settings().http
    if not http.trusted_proxies or not is_trusted(request.remote or "", http.trusted_proxies):
        return await handler(request)
    return await handler(_as_seen(request, http))


def _as_seen(request: web.Request, http: Http) -> web.Request:
    peer, trusted = request.remote or "", http.trusted_proxies

    def header(name: str) -> str:
        return ",".join(request.headers.getall(name, []))

    if http.forwarded == "forwarded":
        seen = seen_by_forwarded(peer, trusted, header("Forwarded"))
    else:
        names = ("For", "Proto", "Host", "Prefix")
        seen = seen_by_x_forwarded(peer, trusted, *[header(f"X-Forwarded-{name}") for name in names])
    forwarded = request.clone(
        scheme=seen.scheme or request.scheme, host=seen.host or request.headers.get("Host", ""), remote=seen.client
    )
    forwarded[PREFIX] = seen.prefix
    return forwarded


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Measure the request, and answer every exception. An answer that has begun is aborted instead."""
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "(none)"
    if not tracing.is_on():
        return await _measured(request, handler, route)
    method = request.method if request.method in METH_ALL else "_OTHER"
    of_caller = tracing.of_caller(request.headers)
    about = {"http.request.method": method, "http.route": route}
    if tracing.records_uids():
        about["url.path"] = request.path
    with tracing.span(f"{method} {route}", "server", parent=of_caller, about=about) as span:
        try:
            response = await _measured(request, handler, route)
        except web.HTTPRedirection as error:
            redirection = error
        else:
            span.set("http.response.status_code", response.status)
            if response.status >= 500:
                span.fail(str(response.status))
            return response
    raise redirection


async def _measured(request: web.Request, handler: Handler, route: str) -> web.StreamResponse:
    started = time.perf_counter()
    code = "cancelled"
    try:
        response = await _guarded(request, handler)
        code = str(response.status)
        return response
    finally:
        observe(_seconds(route, code), time.perf_counter() - started)


@functools.lru_cache(1 << 12)
def _seconds(route: str, code: str) -> Histogram:
    # Finding the child of a metric takes three times as long as observing it.
    return HTTP_SECONDS.labels(route, code)


async def _guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPRedirection:
        raise
    except web.HTTPException as error:
        headers = {name: error.headers[name] for name in ("Allow", "Retry-After") if name in error.headers}
        return error_answer(request, error.status, headers=headers)
    except GatewayError as error:
        answer = domain_answer(request, error)
        if answer.status >= 500:
            log.error("%s %s: %s: %s", request.method, request.path, type(error).__name__, error)
        return answer
    except (ConnectionError, asyncio.CancelledError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:  # no file here has such a name
            return error_answer(request, 404)
        log.exception("%s %s failed", request.method, request.path)
        return error_answer(request, 500)


@web.middleware
async def check_host(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Reject foreign host names (421) and pages of foreign origins (403)."""
    if request.path in request.app[OPEN_TO_ALL]:
        return await handler(request)
    http = request.app[CONTEXT].settings().http
    configured = http.hosts
    authority = request.host if PREFIX in request else request.headers.get("Host", "")
    if not is_our_host(authority, configured):
        return error_answer(
            request, 421, f"this gateway is not known as {authority!r}; add the name to http.hosts if it should be"
        )
    origin = request.headers.get("Origin")
    if not (
        origin is None
        or origin in http.cors_origins
        or is_our_origin(origin, authority, configured, scheme=request.scheme)
    ):
        return error_answer(request, 403, _foreign(origin))
    if is_preflight(request):
        return preflight_answer(request)
    return await handler(request)


def _foreign(origin: str) -> str:
    if origin == "null":
        return (
            "the request comes from a page without an origin (a file, a sandboxed frame, a page with "
            "Referrer-Policy: no-referrer); such pages could be anybody's and are always rejected"
        )
    return f"requests from pages of {origin!r} are rejected; add it to http.cors_origins if they should not be"
