"""The audit log of HTTP requests: who asked for what, and whether it was done.

What a route does is in its declaration (`Route.action`), and what it does that with in its path. Handlers add what only
a body names: `named`, `uploaded`, `searched`. Looking at something is counted; a change is in the log together with the
first thing that the request writes, or else before the answer is sent.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any, Final

from aiohttp import web
from yarl import URL

from gateway.access.principals import Principal
from gateway.audit.entry import NO_SUBJECT, AuditOutcome, AuditSubject
from gateway.audit.log import AuditLog
from gateway.audit.searches import detail_text, search_detail
from gateway.audit.table import append
from gateway.database.actor import Actor
from gateway.database.companion import Companion, accompanying
from gateway.errors import DatabaseError, GatewayError
from gateway.web.route import Route

log = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

AUDIT: web.AppKey[AuditLog] = web.AppKey("audit", AuditLog)
_COUNTED: Final = frozenset(("view", "search", "download", "upload"))
"""Actions that happen many times a second."""
_SIGN_IN_S: Final = 3600.0
"""Seconds after which a user who goes on with requests counts as signing in again."""
_MAX_SIGNED_IN: Final = 4096


class _Noted:
    """What handlers have said about a request."""

    def __init__(self, log: AuditLog, action: str, actor: Actor, detail: dict[str, Any]) -> None:
        self._log = log
        self._action = action
        self._actor = actor
        self.detail = detail
        self.subjects: dict[AuditSubject, None] = {}
        self.text: str | None = None
        """The detail of a search, if a body has it."""
        self.companion: Companion | None = None
        """What a change writes into the log with what it changes; None for what is counted."""

    async def about(self, subjects: Iterable[AuditSubject]) -> None:
        """Set what the request, or the next part of it, does its work with."""
        found = await self._log.identify(subjects)
        self.subjects = dict.fromkeys(found)
        if self.companion is not None:
            entries = [self._log.entry(self._action, self._actor, each, detail=self.detail) for each in found]
            self.companion.pending = [lambda: append(entries)] if entries else []


class SignIns:
    """Users who have signed in, by name, token and address, so that each is in the log once in an hour."""

    def __init__(self) -> None:
        self._since: dict[Actor, float] = {}

    def note(self, audit: AuditLog, actor: Actor) -> None:
        """Count a sign-in unless it is known."""
        now = time.monotonic()
        if now - self._since.get(actor, -_SIGN_IN_S) < _SIGN_IN_S:
            return
        if len(self._since) >= _MAX_SIGNED_IN:
            self._since.clear()
        self._since[actor] = now
        audit.count("sign-in", actor)


SIGN_INS: web.AppKey[SignIns] = web.AppKey("sign-ins", SignIns)
_NOTED: Final = web.RequestKey("audit", _Noted)


def actor_of(request: web.Request, who: Principal) -> Actor:
    """The actor of a request."""
    return Actor(who.name, who.token, request.remote or "")


async def audited(request: web.Request, route: Route, actor: Actor, handler: Handler) -> web.StreamResponse:
    """Answer a request, and write down who made it. Raises Overloaded while the audit log cannot be written."""
    audit = request.app[AUDIT]
    if not audit.is_on:
        return await handler(request)
    if actor.user:
        request.app[SIGN_INS].note(audit, actor)
    if not route.action:
        return await handler(request)
    if route.method == "GET" or route.action in _COUNTED:
        await audit.room()
        return await _counted(request, route.action, route, audit, actor, handler)
    return await _written(request, route.action, route, audit, actor, handler)


def denied(request: web.Request, route: Route, who: Principal) -> None:
    """Write down that a user may not make a request."""
    audit = request.app[AUDIT]
    if audit.is_on:
        detail = {"permission": route.permission, **_names(request)}
        audit.count(
            route.action or "denied", actor_of(request, who), _subject(request, route), "denied", detail_text(detail)
        )


def sign_in_failed(request: web.Request, name: str) -> None:
    """Write down that somebody has given a wrong password, or a token that is not valid; by address alone, whatever
    names are tried from there."""
    request.app[AUDIT].count(
        "sign-in", Actor("", "", request.remote or ""), outcome="denied", first=detail_text({"user": name[:64]})
    )


async def _counted(
    request: web.Request, action: str, route: Route, audit: AuditLog, actor: Actor, handler: Handler
) -> web.StreamResponse:
    outcome: AuditOutcome = "success"
    try:
        response = await handler(request)
        if response.status >= 400:
            outcome = "failure"
        return response
    except (GatewayError, web.HTTPError):
        outcome = "failure"
        raise
    finally:
        noted = request.get(_NOTED)
        detail = ""
        if action == "search":
            detail = noted.text if noted is not None and noted.text is not None else _search(request.query_string)
        elif route.names_other:
            detail = detail_text(_names(request))
        for subject in noted.subjects if noted is not None and noted.subjects else (_subject(request, route),):
            audit.count(action, actor, subject, outcome, detail)


async def _written(
    request: web.Request, action: str, route: Route, audit: AuditLog, actor: Actor, handler: Handler
) -> web.StreamResponse:
    noted = request[_NOTED] = _Noted(audit, action, actor, {"method": request.method, **_names(request)})
    noted.companion = companion = Companion()
    await noted.about((_subject(request, route),))
    outcome: AuditOutcome = "failure"
    try:
        with accompanying(companion):
            response = await handler(request)
        if response.status < 400:
            outcome = "success"
        elif response.status == 403:
            outcome = "denied"
        return response
    except web.HTTPRedirection:  # A form that was taken leads to a page.
        outcome = "success"
        raise
    finally:
        if outcome != "success" or companion.pending:
            entries = [
                audit.entry(action, actor, each, outcome=outcome, detail=noted.detail) for each in noted.subjects
            ]
            companion.pending.clear()
            await _now(audit.write(*entries), must=outcome == "success")


async def _now(writing: Awaitable[None], *, must: bool) -> None:
    """Write to the end, even if the client goes meanwhile. Raises DatabaseError if it must be written."""
    task = asyncio.ensure_future(writing)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
    except DatabaseError as error:
        if must:
            raise
        log.error("a request that failed is not in the audit log: %s", error)


async def named(request: web.Request, public_ids: Collection[str], level: str = "") -> None:
    """Note the resources that a body names, before anything is done with them; the level is empty if not known."""
    if (noted := _noted(request)) is not None and public_ids:
        await noted.about([AuditSubject(level, each) for each in public_ids])


async def detailed(request: web.Request, **more: str) -> None:
    """Add what a form names to the detail of the entry about a change, before anything is done."""
    if (noted := _noted(request)) is not None:
        noted.detail |= more
        await noted.about(list(noted.subjects) or [NO_SUBJECT])


def uploaded(request: web.Request, study_uids: Iterable[str]) -> None:
    """Note the studies of instances that were stored."""
    if (noted := _noted(request)) is not None:
        noted.subjects |= {AuditSubject("study", "", each): None for each in study_uids}


def searched(request: web.Request, keys: Mapping[str, Any]) -> None:
    """Note what a body searches for, by keyword or tag."""
    if (noted := _noted(request)) is not None:
        noted.text = search_detail(keys.items())


def _noted(request: web.Request) -> _Noted | None:
    if (noted := request.get(_NOTED)) is None and request.app[AUDIT].is_on:
        noted = request[_NOTED] = _Noted(request.app[AUDIT], "", Actor(), {})
    return noted


def _subject(request: web.Request, route: Route) -> AuditSubject:
    names = request.match_info
    if (study := names.get("study")) is not None:
        return AuditSubject("study" if route.method == "GET" else route.level, "", study)
    if route.resource_level:
        return AuditSubject(route.resource_level, names["id"])
    if route.action == "view" and (study := request.query.get("studyUID")) is not None:  # WADO-URI
        return AuditSubject("study", "", study)
    return NO_SUBJECT


def _names(request: web.Request) -> dict[str, str]:
    """The names in a path, other than of what `_subject` has."""
    return {name: value[:64] for name, value in request.match_info.items() if name != "study"}


@functools.lru_cache(1024)
def _search(query: str) -> str:
    return search_detail(URL.build(path="/", query_string=query, encoded=True).query.items())
