"""Sessions of browsers: the cookie that carries one, and the defence against requests that other pages cause.

The cookie's value is an issued token (`access/issued_tokens.py`), of which the database has a hash alone. Over HTTPS
its name begins with `__Host-`: browsers then take it from this host alone, only over HTTPS, and for the whole host
(RFC 6265bis §4.1.3.2). SameSite=Lax keeps it from requests of other sites that change anything.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import time
from typing import Final

from aiohttp import web

from gateway.access.hosts import is_our_origin
from gateway.access.issued_tokens import Allowance, IssuedTokens
from gateway.errors import GatewayError, NotFound
from gateway.web.context import CONTEXT
from gateway.web.urls import PREFIX, local_page

ISSUED_TOKENS: web.AppKey[IssuedTokens] = web.AppKey("issued_tokens", IssuedTokens)
SESSION: Final = "dicom-gateway"
"""Name of the cookie of a session."""
BY_PAGE: Final = "dicom-gateway-by-page"
"""Name of the cookie that says no more than that somebody has signed in on a page with this browser. It outlives the
session: of pages that are still open then, the browser is to ask for no password of its own."""
_REMEMBERED_S: Final = 400 * 86400.0
"""Seconds of that cookie; browsers keep none longer."""
CSRF_FIELD: Final = "csrf"
"""Name of the field of a form that shows that a page of the gateway had it."""
SAFE_METHODS: Final = frozenset(("GET", "HEAD", "OPTIONS"))
HOUR_S: Final = 3600.0


class Forbidden(GatewayError):
    """This user may not do this, or not in this way (403)."""


def cookie_of(request: web.Request, name: str) -> str:
    """The value of one of our cookies, empty if it is missing."""
    return request.cookies.get(_full_name(request, name), "")


def set_cookie(request: web.Request, answer: web.StreamResponse, name: str, value: str, seconds: float) -> None:
    """Set one of our cookies for so many seconds; 0 removes it."""
    answer.set_cookie(
        _full_name(request, name),
        value,
        path="/",
        httponly=True,
        samesite="Lax",
        secure=request.scheme == "https",
        max_age=int(seconds),
    )


def _full_name(request: web.Request, name: str) -> str:
    return f"__Host-{name}" if request.scheme == "https" else name


async def begin_session(request: web.Request, answer: web.StreamResponse, user: str, allows: Allowance) -> None:
    """Begin a session of a user, in place of the one that the browser has."""
    issued, http = request.app[ISSUED_TOKENS], request.app[CONTEXT].settings().http
    seconds = http.session_hours * HOUR_S
    _, secret = await issued.issue("session", "", user, allows, seconds=seconds)
    _give_session(request, answer, secret, seconds)


async def begin_by_link(request: web.Request, secret: str) -> web.Response:
    """Begin the session of a link, and lead to the same page without it: the address is seen, kept and sent on."""
    issued, http = request.app[ISSUED_TOKENS], request.app[CONTEXT].settings().http
    link, answer = await issued.find(secret), web.Response(status=303)
    if link is not None:
        seconds = min(http.session_hours * HOUR_S, link.ends_at - time.time())
        _, session = await issued.issue("session", link.name, link.user, link.allows, seconds=seconds, parent=link.id)
        _give_session(request, answer, session, seconds)
    page = request.get(PREFIX, "") + str(request.rel_url.without_query_params("token"))
    answer.headers["Location"] = local_page(request, page)
    return answer


def _give_session(request: web.Request, answer: web.StreamResponse, secret: str, seconds: float) -> None:
    set_cookie(request, answer, SESSION, secret, seconds)
    set_cookie(request, answer, BY_PAGE, "1", _REMEMBERED_S)


async def end_session(request: web.Request, answer: web.StreamResponse) -> None:
    """End the session of a request, here and in the browser."""
    issued = request.app[ISSUED_TOKENS]
    session = await issued.find(cookie_of(request, SESSION))
    if session is not None and session.kind == "session":
        with contextlib.suppress(NotFound):  # another request has ended it
            await issued.revoke("session", session.id)
    set_cookie(request, answer, SESSION, "", 0)


def csrf_token(request: web.Request) -> str:
    """The value of `CSRF_FIELD` in forms for this session; empty without one."""
    secret = cookie_of(request, SESSION)
    return hashlib.sha256(f"form {secret}".encode("utf-8", "surrogatepass")).hexdigest()[:32] if secret else ""


def check_form(request: web.Request, form: dict[str, str]) -> None:
    """Check that a form comes from a page of the gateway, if a session sends it. Raises: Forbidden."""
    expected = csrf_token(request)
    if expected and not hmac.compare_digest(form.get(CSRF_FIELD, "").encode(), expected.encode()):
        raise Forbidden("the form is not from a page of this session; open the page again")


def check_origin(request: web.Request) -> None:
    """Check that a request which may change something comes from a page of the gateway itself. Browsers say so.

    Raises: Forbidden.
    """
    if request.method in SAFE_METHODS:
        return
    origin = request.headers.get("Origin")
    hosts = request.app[CONTEXT].settings().http.hosts
    if origin is not None and is_our_origin(origin, request.host, hosts, scheme=request.scheme):
        return
    if origin is None and request.headers.get("Sec-Fetch-Site") == "same-origin":
        return
    raise Forbidden("a session changes things from pages of the gateway alone; scripts use a token or a password")
