"""Who makes a request: the middleware that finds out, by whatever the request shows.

In this order: a password or a token in Authorization; a token in the header `token` or, for links, in the query, as
Orthanc's authorization plugin has them; the cookie of a session; a client certificate. `access/` decides what each
proves. What somebody may do is decided behind this, in `authorization.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from gateway.access.bearer import BearerAuthenticator
from gateway.access.emergencies import Emergencies, Emergency, in_emergency
from gateway.access.principals import Principal, user_principal
from gateway.access.tokens import TokenRefused
from gateway.access.users import Authenticator, TooManyFailures, read_basic
from gateway.config import Settings
from gateway.net.tls import names_in
from gateway.web.auditing import sign_in_failed
from gateway.web.authorization import PRINCIPAL, route_of
from gateway.web.connections import recognize
from gateway.web.context import CONTEXT, USER
from gateway.web.errors import error_answer
from gateway.web.sessions import BY_PAGE, SESSION, begin_by_link, check_origin, cookie_of

log = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

AUTHENTICATOR: web.AppKey[Authenticator] = web.AppKey("authenticator", Authenticator)
BEARER: web.AppKey[BearerAuthenticator] = web.AppKey("bearer", BearerAuthenticator)
EMERGENCIES: web.AppKey[Emergencies] = web.AppKey("emergencies", Emergencies)
OPEN_TO_ALL: web.AppKey[frozenset[str]] = web.AppKey("open_to_all", frozenset)
"""Paths answered to anybody under any host name, for orchestrators."""
EMERGENCY: Final = web.RequestKey("emergency", Emergency)
"""The emergency access by which a request sees everything."""
LINK: Final = web.RequestKey("link", str)
"""The secret of the link in the query of a request."""
BASIC: Final = 'Basic realm="DICOM gateway", charset="UTF-8"'
_BEARER: Final = 'Bearer realm="DICOM gateway"'
_INVALID: Final = f'{_BEARER}, error="invalid_token"'


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Require somebody who is known, if anybody is named; without a proof only the sign-in itself is answered."""
    if request.path in request.app[OPEN_TO_ALL]:
        return await handler(request)
    settings = request.app[CONTEXT].settings()
    if not settings.needs_sign_in:
        recognize(request)
        return await handler(request)
    try:
        who = await _principal(request, settings)
    except TooManyFailures:
        return error_answer(request, 429, "too many wrong passwords or tokens", headers={"Retry-After": "10"})
    except TokenRefused as error:
        sign_in_failed(request, "")
        return error_answer(request, 401, str(error), headers={"WWW-Authenticate": _INVALID})
    if who is None:
        route = route_of(request)
        if route is not None and route.is_open:
            return await handler(request)
        return error_answer(request, 401, headers={"WWW-Authenticate": _challenge(request, settings)})
    recognize(request)
    if LINK in request and request.method == "GET" and (route := route_of(request)) and route.area == "Pages":
        return await begin_by_link(request, request[LINK])
    emergency = await request.app[EMERGENCIES].of(who)
    if emergency is not None:
        request[EMERGENCY], who = emergency, in_emergency(who)
    request[USER] = who.name
    request[PRINCIPAL] = who
    return await handler(request)


async def _principal(request: web.Request, settings: Settings) -> Principal | None:
    """The principal that a request proves, None if it shows nothing, or a wrong password.

    Raises: TokenRefused, TooManyFailures, Forbidden.
    """
    header = request.headers.get("Authorization")
    if header is not None:
        scheme, _, value = header.partition(" ")
        if scheme.lower() == "bearer":
            return await _by_token(request, value.strip(), settings)
        users, peer = settings.http.users, request.remote or ""
        name = await request.app[AUTHENTICATOR].authenticate(header, users, peer)
        if name is None:
            if (given := read_basic(header)) is not None:
                sign_in_failed(request, given.name)
            return None
        return user_principal(name, settings)
    token = request.headers.get("token")
    if token is not None:
        return await _by_token(request, token.removeprefix("Bearer ").strip(), settings)
    if "token=" in request.query_string and (link := request.query.get("token", "")):
        return await _by_link(request, link, settings)
    session = cookie_of(request, SESSION)
    if session:
        who = await _by_session(request, session, settings)
        if who is not None:
            check_origin(request)
            return who
    return _by_certificate(request, settings) if settings.http.client_ca else None


async def _by_token(request: web.Request, secret: str, settings: Settings) -> Principal:
    """The principal of a token. One that was never good is slowed down like a wrong password."""
    try:
        return await request.app[BEARER].authenticate(secret, settings)
    except TokenRefused as error:
        if error.expired:
            log.warning("a token from %s is refused: %s", request.remote, error)
        else:
            await request.app[AUTHENTICATOR].slow_down(request.remote or "", f"a token is refused: {error}:")
        raise


async def _by_link(request: web.Request, secret: str, settings: Settings) -> Principal:
    """The principal of a link in the query, where no other token may stand: URLs end up in histories and logs."""
    who = await _by_token(request, secret, settings)
    if not who.is_link:
        raise TokenRefused("only links stand in a query; send other tokens in the header Authorization")
    request[LINK] = secret
    return who


async def _by_session(request: web.Request, secret: str, settings: Settings) -> Principal | None:
    """The principal of a session, None if it has ended."""
    try:
        return await request.app[BEARER].authenticate(secret, settings)
    except TokenRefused as error:
        log.info("%s needs a new sign-in: %s", request.remote, error)
        return None


def _by_certificate(request: web.Request, settings: Settings) -> Principal | None:
    """The user whose certificate the client has shown to TLS, which has verified it."""
    certificate = request.transport.get_extra_info("peercert") if request.transport is not None else None
    if not certificate:
        return None
    names = {name.casefold() for name in names_in(certificate)}
    for user in settings.http.users:
        if user.certificate and user.certificate.casefold() in names:
            return user_principal(user.name, settings, token="certificate")
    return None


def _challenge(request: web.Request, settings: Settings) -> str:
    """The ways to sign in, for WWW-Authenticate. A script or picture of a page whose session has ended is not asked for
    a password: the browser would show its own dialog, and keep the page waiting."""
    by_script = request.headers.get("Sec-Fetch-Mode", "navigate") != "navigate"
    on_page = by_script and (cookie_of(request, SESSION) or cookie_of(request, BY_PAGE))
    if not any(user.password for user in settings.http.users) or on_page:
        return _BEARER
    return f"{BASIC}, {_BEARER}" if settings.tokens.issuer else BASIC
