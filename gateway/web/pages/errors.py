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
from gateway.web.pages.wording import reader_words
from gateway.web.urls import page_address

_KEPT: Final = ("Allow", "Content-Range", "Retry-After", "WWW-Authenticate")
_STRANGER: Final = frozenset((421, 429))
"""Statuses for callers that are not authenticated: their page has no links."""
_WORDED: Final = frozenset((400, 403, 404, 406, 421, 429, 500, 503))
"""Statuses that have words of their own; others have the name of the status."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def errors_as_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn an error into a page if the caller is a browser that would show it."""
    answer = await handler(request)
    if DETAILS not in answer or not _is_shown(request):
        return answer
    t, status = reader_words(request), str(answer.status)
    title, text = http.HTTPStatus(answer.status).phrase, ""
    if answer.status in _WORDED:
        title, text = t("standalone.error_title." + status), t("standalone.error_text." + status)
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
