"""Signing in and out on the pages: with a password, or at the issuer (OpenID Connect)."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode, urlsplit

import msgspec
from aiohttp import web

from gateway.access.issued_tokens import Allowance, password_mark
from gateway.access.principals import roles_of_groups, user_of
from gateway.access.tokens import TokenRefused
from gateway.access.users import BasicCredentials, TooManyFailures
from gateway.dicom.json import NOT_JSON
from gateway.errors import NotFound
from gateway.systems.openid import Attempt, OpenIdSignIn
from gateway.web.auditing import sign_in_failed
from gateway.web.authentication import AUTHENTICATOR
from gateway.web.context import CONTEXT
from gateway.web.inputs import read_form
from gateway.web.pages.standalone import standalone_page
from gateway.web.pages.wording import reader_words
from gateway.web.route import SIGNED_IN, Parameter, Route
from gateway.web.sessions import (
    BY_PAGE,
    ISSUED_TOKENS,
    SESSION,
    begin_session,
    check_form,
    check_origin,
    cookie_of,
    end_session,
    set_cookie,
)
from gateway.web.urls import local_page, path_template, url_template

log = logging.getLogger(__name__)

OPENID: web.AppKey[OpenIdSignIn] = web.AppKey("openid", OpenIdSignIn)
_ATTEMPT: Final = "dicom-gateway-sign-in"
"""Name of the cookie of an attempt to sign in at the issuer."""
_ATTEMPT_S: Final = 600


def sign_in_page(
    request: web.Request,
    page: str,
    problem: str = "",
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """The page for signing in, which leads to the path `page`."""
    settings = request.app[CONTEXT].settings()
    following = urlencode({"next": page})
    values = {
        "basic_url": f"{path_template(request, 'login-basic')}?{following}",
        "begin_url": f"{path_template(request, 'login-begin')}?{following}" if settings.oidc.client_id else "",
        "issuer": urlsplit(settings.tokens.issuer).hostname or "",
        "page": page,
        "problem": problem,
        "sign_in_url": path_template(request, "login"),
        "with_password": any(user.password for user in settings.http.users),
    }
    kept = dict(headers or {})
    if status == 401 and request.match_info.route.name != "login-basic":
        kept["WWW-Authenticate"] = 'Bearer realm="DICOM gateway"'  # With Basic the browser would show its own dialog.
    return standalone_page(request, "sign_in.html", values, status=status, headers=kept, with_form=True)


async def show(request: web.Request) -> web.Response:
    """The page for signing in."""
    return sign_in_page(request, _next(request, request.query))


async def sign_in(request: web.Request) -> web.Response:
    """Begin a session with the name and password of a form."""
    check_origin(request)
    form, settings, t = await read_form(request), request.app[CONTEXT].settings(), reader_words(request)
    page = _next(request, form)
    given = BasicCredentials(form.get("name", ""), form.get("password", ""))
    try:
        name = await request.app[AUTHENTICATOR].verify(given, settings.http.users, request.remote or "")
    except TooManyFailures:
        return sign_in_page(request, page, t("standalone.too_many"), status=429)
    user = user_of(name, settings) if name is not None else None
    if user is None:
        sign_in_failed(request, given.name)
        return sign_in_page(request, page, t("standalone.wrong"), status=401)
    answer = web.Response(status=303, headers={"Location": page})
    await begin_session(request, answer, user.name, Allowance(password=password_mark(user.password)))
    log.info("user %s has signed in from %s", user.name, request.remote)
    return answer


async def with_dialog(request: web.Request) -> web.StreamResponse:
    """Lead on a user whose browser has sent a password by itself, after its own dialog, and will do so again."""
    answer = web.HTTPSeeOther(_next(request, request.query))
    set_cookie(request, answer, BY_PAGE, "", 0)
    raise answer


async def begin(request: web.Request) -> web.StreamResponse:
    """Lead the browser to the issuer, to sign in there."""
    settings, page = request.app[CONTEXT].settings(), _next(request, request.query)
    if not settings.oidc.client_id:
        raise NotFound("nobody signs in at an issuer here; oidc.client_id would allow it")
    try:
        url, attempt = await request.app[OPENID].begin(settings, url_template(request, "login-back"), page)
    except TokenRefused as error:
        return sign_in_page(request, page, str(error), status=503)
    answer = web.Response(status=303, headers={"Location": url})
    value = base64.urlsafe_b64encode(msgspec.json.encode(attempt)).decode()
    set_cookie(request, answer, _ATTEMPT, value, _ATTEMPT_S)
    return answer


async def finish(request: web.Request) -> web.StreamResponse:
    """Begin the session of a user whom the issuer sends back."""
    settings, attempt, t = request.app[CONTEXT].settings(), _attempt(request), reader_words(request)
    if attempt is None or not settings.oidc.client_id:
        problem = t("standalone.not_begun")
        return sign_in_page(request, path_template(request, "home"), problem, status=403)
    back = url_template(request, "login-back")
    try:
        identity = await request.app[OPENID].finish(settings, attempt, back, dict(request.query))
    except TokenRefused as error:
        log.warning("a sign-in at the issuer from %s has failed: %s", request.remote, error)
        answer: web.Response = sign_in_page(
            request, attempt.page, t("standalone.did_not_work", reason=error), status=403
        )
    else:
        answer = web.Response(status=303, headers={"Location": local_page(request, attempt.page)})
        roles = roles_of_groups(identity.groups, settings.tokens)
        await begin_session(request, answer, identity.name, Allowance(roles=roles, by_issuer=True))
        log.info("user %s has signed in from %s at the issuer", identity.name, request.remote)
    set_cookie(request, answer, _ATTEMPT, "", 0)
    return answer


async def sign_out(request: web.Request) -> web.Response:
    """End the session, here and at the issuer."""
    check_form(request, await read_form(request))
    session = await request.app[ISSUED_TOKENS].find(cookie_of(request, SESSION))
    settings, address = request.app[CONTEXT].settings(), ""
    if session is not None and session.allows.by_issuer and not session.parent and settings.oidc.client_id:
        address = await request.app[OPENID].sign_out_address(settings, url_template(request, "signed-out"))
    answer = _signed_out(request, address)
    await end_session(request, answer)
    return answer


async def signed_out(request: web.Request) -> web.Response:
    """The page after signing out."""
    return _signed_out(request, "")


def _signed_out(request: web.Request, address: str) -> web.Response:
    """The page after signing out; it leads on to `address`, the sign-out of the issuer, if that is not empty.

    A redirect would not do: browsers let no form of a page with `form-action 'self'` be redirected to another origin.
    """
    values = {"address": address, "issuer": urlsplit(address).hostname or ""}
    headers = {"Refresh": f"0; url={address}"} if address else {}
    return standalone_page(request, "signed_out.html", values, headers=headers)


def _next(request: web.Request, fields: Mapping[str, str]) -> str:
    return local_page(request, fields.get("next", ""))


def _attempt(request: web.Request) -> Attempt | None:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cookie_of(request, _ATTEMPT)), type=Attempt)
    except (*NOT_JSON, ValueError):
        return None


_NEXT: Final = (Parameter("next", "Path of the page to go to"),)
_HTML: Final = ("text/html",)
_FORM: Final = ("application/x-www-form-urlencoded",)

ROUTES = (
    Route("GET", "/ui/sign-in", show, SIGNED_IN, _NEXT, answers=_HTML, name="login", is_open=True),
    Route(
        "POST",
        "/ui/sign-in",
        sign_in,
        SIGNED_IN,
        body=_FORM,
        errors=(403, 429),
        leads_on=True,
        is_open=True,
        action="",
    ),
    Route("GET", "/ui/sign-in/basic", with_dialog, SIGNED_IN, _NEXT, leads_on=True, name="login-basic"),
    Route(
        *("GET", "/ui/sign-in/begin", begin, SIGNED_IN, _NEXT),
        errors=(404,),
        leads_on=True,
        name="login-begin",
        is_open=True,
    ),
    Route(
        *("GET", "/ui/sign-in/return", finish, SIGNED_IN),
        errors=(403,),
        leads_on=True,
        name="login-back",
        is_open=True,
    ),
    Route("POST", "/ui/sign-out", sign_out, SIGNED_IN, body=_FORM, answers=_HTML, name="sign-out", action="sign-out"),
    Route("GET", "/ui/signed-out", signed_out, SIGNED_IN, answers=_HTML, name="signed-out", is_open=True),
)
