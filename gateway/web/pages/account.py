"""The page of the user who is signed in: password, tokens for scripts, links, emergency access. It needs no scripts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiohttp import web

from gateway.access.issued_tokens import Allowance, password_mark
from gateway.access.passwords import hash_password
from gateway.access.principals import ANYBODY, covers, user_of
from gateway.access.users import BasicCredentials
from gateway.config import User
from gateway.config.roles import BUILT_IN
from gateway.errors import BadRequest
from gateway.web.authentication import AUTHENTICATOR, EMERGENCIES, EMERGENCY
from gateway.web.authorization import PRINCIPAL
from gateway.web.context import CONTEXT
from gateway.web.inputs import read_form, whole_number
from gateway.web.pages.frame import page_answer
from gateway.web.pages.wording import reader_words
from gateway.web.rest.tokens import DAY_S, MAX_DAYS, issue_api_token
from gateway.web.rest.users import ACCESS_CHANGES
from gateway.web.route import SIGNED_IN, Route
from gateway.web.sessions import ISSUED_TOKENS, SESSION, Forbidden, begin_session, check_form, cookie_of
from gateway.web.urls import path_template

log = logging.getLogger(__name__)

MIN_PASSWORD_LENGTH: Final = 12
"""Characters of a new password."""
_MAX_PASSWORD_LENGTH: Final = 256


async def account(request: web.Request) -> web.Response:
    """The page of the user who is signed in."""
    return await _page(request)


async def act(request: web.Request) -> web.StreamResponse:
    """Perform the action of a form of the page."""
    form = await read_form(request)
    check_form(request, form)
    action = _ACTIONS.get(form.get("what", ""))
    if action is None:
        raise BadRequest(f"there is no action {form.get('what', '')[:40]!r}")
    try:
        return await action(request, form)
    except BadRequest as error:
        return await _page(request, problem=str(error), status=400)


async def _page(request: web.Request, *, status: int = 200, **shown: Any) -> web.Response:
    who, settings = request.get(PRINCIPAL, ANYBODY), request.app[CONTEXT].settings()
    issued, mine = request.app[ISSUED_TOKENS], who.is_person and bool(who.name)
    user = user_of(who.name, settings) if mine else None
    known = {**BUILT_IN, **settings.roles}
    values = {
        "account_url": path_template(request, "account"),
        "can_break_glass": mine and bool(who.granting(("break-glass",))),
        "links": await issued.listed("share", who.name) if mine else [],
        "minutes": settings.break_glass.minutes,
        "has_password": user is not None and bool(user.password),
        "min_length": MIN_PASSWORD_LENGTH,
        "mine": mine,
        "problem": "",
        "done": "",
        "roles": [name for name, role in known.items() if role in who.roles],
        "givable": [name for name, role in known.items() if covers(who.roles, role)],
        "secret": "",
        "tokens": await issued.listed("api", who.name) if mine else [],
        "who": who,
        **shown,
    }
    answer = page_answer(request, "account.html", values)
    answer.set_status(status)
    return answer


async def _change_password(request: web.Request, form: Mapping[str, str]) -> web.StreamResponse:
    """Change the user's own password, and end the user's other sessions."""
    settings, user, t = request.app[CONTEXT].settings(), _user(request), reader_words(request)
    new = form.get("new", "")
    if new != form.get("again", ""):
        raise BadRequest(t("account.differ"))
    if not MIN_PASSWORD_LENGTH <= len(new) <= _MAX_PASSWORD_LENGTH:
        raise BadRequest(t("account.length", least=MIN_PASSWORD_LENGTH, most=_MAX_PASSWORD_LENGTH))
    old = BasicCredentials(user.name, form.get("old", ""))
    if await request.app[AUTHENTICATOR].verify(old, settings.http.users, request.remote or "") is None:
        raise BadRequest(t("account.wrong"))
    configured = user_of(user.name, request.app[CONTEXT].use_cases.configured())
    made = await asyncio.to_thread(hash_password, new)
    await request.app[ACCESS_CHANGES].change_password(user, configured or user, made)
    await request.app[ISSUED_TOKENS].end_sessions(user.name)
    log.warning("user %s has changed the password", user.name)
    answer = await _page(request, done=t("account.changed"))
    if cookie_of(request, SESSION):
        await begin_session(request, answer, user.name, Allowance(password=password_mark(made)))
    return answer


async def _make_token(request: web.Request, form: Mapping[str, str]) -> web.StreamResponse:
    days = whole_number(form.get("days", "")) or 0
    if not 1 <= days <= MAX_DAYS:
        raise BadRequest(f"A token lasts 1 to {MAX_DAYS} days.")
    roles = (form["role"],) if form.get("role") else None
    _, secret = await issue_api_token(request, form.get("name", ""), roles, days * DAY_S)
    return await _page(request, secret=secret)


async def _revoke(request: web.Request, form: Mapping[str, str]) -> web.StreamResponse:
    kind: Any = "api" if form["what"] == "revoke-token" else "share"
    who = request.get(PRINCIPAL, ANYBODY)
    name = who.name if who.is_person else ""
    if name:
        await request.app[ISSUED_TOKENS].revoke(kind, form.get("id", ""), name)
        log.warning("user %s has revoked %s %s", name, kind, form.get("id", "")[:40])
    raise web.HTTPSeeOther(path_template(request, "account"))


async def _break_glass(request: web.Request, form: Mapping[str, str]) -> web.StreamResponse:
    who, settings = request.get(PRINCIPAL, ANYBODY), request.app[CONTEXT].settings()
    if not who.is_person or not who.granting(("break-glass",)):
        raise Forbidden(f"user {who.name} has no role with the permission break-glass")
    await request.app[EMERGENCIES].begin(who, form.get("reason", ""), settings)
    raise web.HTTPSeeOther(path_template(request, "home"))


async def _end_emergency(request: web.Request, _form: Mapping[str, str]) -> web.StreamResponse:
    if EMERGENCY in request:
        await request.app[EMERGENCIES].end(request.get(PRINCIPAL, ANYBODY))
    raise web.HTTPSeeOther(path_template(request, "home"))


def _user(request: web.Request) -> User:
    """The user of the configuration who is signed in. Raises: BadRequest."""
    who = request.get(PRINCIPAL, ANYBODY)
    user = user_of(who.name, request.app[CONTEXT].settings()) if who.is_person else None
    if user is None or not user.password:
        raise BadRequest("The gateway has no password of yours; change it where you sign in.")
    return user


_ACTIONS: Final[Mapping[str, Callable[[web.Request, Mapping[str, str]], Awaitable[web.StreamResponse]]]] = {
    "password": _change_password,
    "token": _make_token,
    "revoke-token": _revoke,
    "revoke-link": _revoke,
    "break-glass": _break_glass,
    "end-emergency": _end_emergency,
}

ROUTES = (
    Route("GET", "/ui/account", account, SIGNED_IN, answers=("text/html",), name="account"),
    Route(
        *("POST", "/ui/account", act, SIGNED_IN),
        action="account",
        body=("application/x-www-form-urlencoded",),
        answers=("text/html",),
    ),
)
