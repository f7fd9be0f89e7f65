"""The common frame of every page (`templates/base.html`): title, links, and headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from gateway import __version__
from gateway.access.principals import ANYBODY
from gateway.web.authentication import EMERGENCY
from gateway.web.authorization import PRINCIPAL
from gateway.web.context import CONTEXT, USER
from gateway.web.pages.environment import ENVIRONMENT
from gateway.web.pages.wording import LANGUAGES, reader_words
from gateway.web.route import SERVED
from gateway.web.security import PAGE
from gateway.web.sessions import csrf_token
from gateway.web.urls import page_address, path_template, path_to


def part_of_page(request: web.Request, template: str, values: Mapping[str, Any]) -> str:
    """The text of a page, or of a part of one."""
    return request.app[ENVIRONMENT].get_template(template).render({**frame(request), **values})


def page_answer(request: web.Request, template: str, values: Mapping[str, Any]) -> web.Response:
    """The answer with a page, or with a part of one that its script fetches."""
    text = part_of_page(request, template, values)
    return web.Response(text=text, content_type="text/html", headers=PAGE)


_PAGES: Final = (
    *("home", "patients-page", "query-page", "upload-page", "inbox-page", "worklist-page", "now-page", "jobs-page"),
    *("routing", "modalities-page", "rules-page", "configuration-page", "users-page", "audit"),
)
"""The pages that every page links to, by the names of their routes, in order; `frame.pages` has their titles."""


def _pages(request: web.Request) -> list[tuple[str, str, bool]]:
    """Name, path, and whether it is shown now, of each page that the reader may use."""
    principal, here = request.get(PRINCIPAL, ANYBODY), request.match_info.route.name
    routes = {route.name: route for route in request.app[SERVED] if route.name in _PAGES}
    if not request.app[CONTEXT].settings().is_audited:
        del routes["audit"]
    return [
        (name, path_template(request, name), name == here)
        for name in _PAGES
        if name in routes and principal.granting(routes[name].permissions)
    ]


def frame(request: web.Request) -> dict[str, Any]:
    """The values of the frame's template."""
    context, words = request.app[CONTEXT], reader_words(request)
    return {
        "account_url": path_template(request, "account"),
        "aet": context.settings().dicom.aet.strip(),
        "csrf": csrf_token(request),
        "dicom_port": context.ports[0],
        "dicomweb_url": path_template(request, "studies") + "?limit=25",
        "emergency": request.get(EMERGENCY),
        "home": path_template(request, "home"),
        "language_url": path_template(request, "language"),
        "languages": LANGUAGES,
        "here": page_address(request),
        "pages": _pages(request),
        "metrics_url": path_template(request, "metrics"),
        "sign_out_url": path_template(request, "sign-out"),
        "static": path_to(request, "static", filename="").rstrip("/"),
        "system_url": path_template(request, "system"),
        "t": words,
        "user": request.get(USER, ""),
        "version": __version__,
    }
