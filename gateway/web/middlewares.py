"""What happens to every request before and after its handler.

From the outside in: believe proxies of ours, measure and turn errors into answers, check Host and Origin, answer
preflights, authenticate. Decisions about names, proxies and passwords are in `access/`, the texts of errors in
`errors.py`, URLs in `routes.py`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.access.hosts import is_our_host, is_our_origin
from gateway.access.proxies import is_trusted, seen_by_forwarded, seen_by_x_forwarded
from gateway.access.users import Authenticator, TooManyFailures
from gateway.config import Http
from gateway.errors import GatewayError
from gateway.telemetry import HTTP_SECONDS
from gateway.web.context import CONTEXT
from gateway.web.cors import add_cors_headers, is_preflight, preflight_answer
from gateway.web.errors import domain_answer, error_answer
from gateway.web.urls import PREFIX

log = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

AUTHENTICATOR: web.AppKey[Authenticator] = web.AppKey("authenticator", Authenticator)
OPEN_TO_ALL: web.AppKey[frozenset[str]] = web.AppKey("open_to_all", frozenset)
"""Paths that are answered to anybody under any name: what an orchestrator asks."""

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """On every answer, streamed ones too. Patient data is not for caches unless a handler says otherwise."""
    response.headers["Server"] = "dicom-gateway"
    http = request.app[CONTEXT].settings().http
    add_cors_headers(request, response, http.cors_origins, users=bool(http.users))
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    ours = isinstance(response, web.FileResponse)
    response.headers.setdefault("Cache-Control", "no-cache" if ours else "no-store")


@web.middleware
async def as_seen_by_client(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request the scheme, host and client address that proxies of ours tell of it."""
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
    told = request.clone(
        scheme=seen.scheme or request.scheme, host=seen.host or request.headers.get("Host", ""), remote=seen.client
    )
    told[PREFIX] = seen.prefix
    return told


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Measure the request; make an answer of every exception. An answer that has begun is cut off instead."""
    started = time.perf_counter()
    code = "cancelled"
    try:
        response = await _guarded(request, handler)
        code = str(response.status)
        return response
    finally:
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else "(none)"
        HTTP_SECONDS.labels(route, code).observe(time.perf_counter() - started)


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
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return error_answer(request, 500)


@web.middleware
async def check_host(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse names that are not ours (421) and pages that are not ours (403)."""
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
    if origin is not None and origin not in http.cors_origins and not is_our_origin(origin, authority, configured):
        return error_answer(
            request,
            403,
            f"requests from pages of {origin!r} are not taken; add it to http.cors_origins if they should be",
        )
    if is_preflight(request):
        return preflight_answer(request)
    return await handler(request)


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """With users configured, let only them in (HTTP basic authentication)."""
    users = request.app[CONTEXT].settings().http.users
    if not users or request.path in request.app[OPEN_TO_ALL]:
        return await handler(request)
    header = request.headers.get("Authorization")
    try:
        name = await request.app[AUTHENTICATOR].authenticate(header, users, request.remote or "")
    except TooManyFailures:
        return error_answer(request, 429, "too many wrong passwords", headers={"Retry-After": "10"})
    if name is None:
        challenge = {"WWW-Authenticate": 'Basic realm="DICOM gateway", charset="UTF-8"'}
        return error_answer(request, 401, headers=challenge)
    return await handler(request)
