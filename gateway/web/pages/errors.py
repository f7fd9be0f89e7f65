"""Errors as pages, for a person in front of a browser; programs get the JSON of `web/errors.py`.

A caller who has not signed in gets the page for that; one under a foreign host name learns nothing of the gateway but
that it is one.
"""

from __future__ import annotations

import http
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from gateway.web.errors import DETAILS
from gateway.web.pages.sign_in import sign_in_page
from gateway.web.pages.standalone import standalone_page
from gateway.web.urls import page_address

_KEPT: Final = ("Allow", "Content-Range", "Retry-After", "WWW-Authenticate")
_STRANGER: Final = frozenset((421, 429))
"""Statuses for callers that are not authenticated: their page has no links."""
_TEXTS: Final = {
    400: ("Invalid request", "The gateway cannot process the request."),
    403: ("That is not allowed", "The gateway has refused the request."),
    404: ("There is nothing here", "The address may be mistyped, or its data have been deleted."),
    406: ("This cannot be shown", "The gateway has it, but in no form that a browser shows."),
    421: ("Not under this name", "The gateway is not known by the name in the address."),
    429: ("Too many wrong passwords", "Wait a few seconds, then try again."),
    500: ("Something went wrong here", "The log of the gateway has the cause."),
    503: ("Not now", "The gateway cannot answer at the moment. Try again in a while."),
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def errors_as_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn an error into a page if the caller is a browser that would show it."""
    answer = await handler(request)
    if DETAILS not in answer or not _is_shown(request):
        return answer
    title, text = _TEXTS.get(answer.status, (http.HTTPStatus(answer.status).phrase, ""))
    kept = {name: answer.headers[name] for name in _KEPT if name in answer.headers}
    if answer.status == 401:
        return sign_in_page(request, page_address(request), answer[DETAILS], status=401, headers=kept)
    values = {
        "details": answer[DETAILS],
        "is_stranger": answer.status in _STRANGER,
        "status": answer.status,
        "text": text,
        "title": title,
    }
    return standalone_page(request, "error.html", values, status=answer.status, headers=kept)


def _is_shown(request: web.Request) -> bool:
    """Whether the answer becomes a page in a tab: only then do browsers name text/html first, and */* last."""
    accept = request.headers.get("Accept", "").lower()
    return accept.lstrip().startswith("text/html") and "*/*" in accept
