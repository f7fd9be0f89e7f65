"""Errors as pages, for a person in front of a browser; programs get the JSON of `web/errors.py`.

The page is self-contained, style included: a caller without a password, or under a foreign host name, gets no other
file, and learns nothing of the gateway but that it is one.
"""

from __future__ import annotations

import base64
import hashlib
import http
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from aiohttp import web
from markupsafe import Markup

from gateway.web.errors import DETAILS
from gateway.web.pages.environment import ENVIRONMENT
from gateway.web.security import PAGE
from gateway.web.urls import path_template

_STYLE: Final = Path(__file__).with_name("static").joinpath("gateway.css").read_text("utf-8")
_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS: Final = {
    **PAGE,
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
}
_KEPT: Final = ("Allow", "Content-Range", "Retry-After", "WWW-Authenticate")
_STRANGER: Final = frozenset((401, 421, 429))
"""Statuses for callers that are not authenticated: their page has no links."""
_TEXTS: Final = {
    400: ("Invalid request", "The gateway cannot process the request."),
    401: (
        "Please sign in",
        "This gateway requires a user name and a password. Reload the page to enter them. Its administrator assigns "
        "them.",
    ),
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
    page = request.app[ENVIRONMENT].get_template("error.html")
    values = {
        "details": answer[DETAILS],
        "home": path_template(request, "home"),
        "is_stranger": answer.status in _STRANGER,
        "status": answer.status,
        "style": Markup(_STYLE),
        "text": text,
        "title": title,
    }
    kept = {name: answer.headers[name] for name in _KEPT if name in answer.headers}
    return web.Response(
        status=answer.status, text=page.render(values), content_type="text/html", headers={**_HEADERS, **kept}
    )


def _is_shown(request: web.Request) -> bool:
    """Whether the answer becomes a page in a tab: only then do browsers name text/html first, and */* last."""
    accept = request.headers.get("Accept", "").lower()
    return accept.lstrip().startswith("text/html") and "*/*" in accept
