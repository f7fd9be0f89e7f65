"""The common frame of every page (`templates/base.html`): title, links, and headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from gateway import __version__
from gateway.access.principals import ANYBODY
from gateway.web.authentication import EMERGENCY
from gateway.web.authorization import PRINCIPAL
from gateway.web.context import CONTEXT, USER
from gateway.web.pages.environment import ENVIRONMENT
from gateway.web.security import PAGE
from gateway.web.sessions import csrf_token
from gateway.web.urls import path_template, path_to


def page_answer(request: web.Request, template: str, values: Mapping[str, Any]) -> web.Response:
    """The answer with a page, or with a part of one that its script fetches."""
    text = request.app[ENVIRONMENT].get_template(template).render({**frame(request), **values})
    return web.Response(text=text, content_type="text/html", headers=PAGE)


def _may_audit(request: web.Request) -> bool:
    """Whether there is an audit log that the user may read."""
    is_on = request.app[CONTEXT].settings().is_audited
    return is_on and bool(request.get(PRINCIPAL, ANYBODY).granting(("audit-logs",)))


def frame(request: web.Request) -> dict[str, Any]:
    """The values of the frame's template."""
    context = request.app[CONTEXT]
    return {
        "account_url": path_template(request, "account"),
        "audit_url": path_template(request, "audit") if _may_audit(request) else "",
        "aet": context.settings().dicom.aet.strip(),
        "csrf": csrf_token(request),
        "dicom_port": context.ports[0],
        "dicomweb_url": path_template(request, "studies") + "?limit=25",
        "emergency": request.get(EMERGENCY),
        "home": path_template(request, "home"),
        "metrics_url": path_template(request, "metrics"),
        "routing_url": path_template(request, "routing"),
        "sign_out_url": path_template(request, "sign-out"),
        "static": path_to(request, "static", filename="").rstrip("/"),
        "system_url": path_template(request, "system"),
        "user": request.get(USER, ""),
        "version": __version__,
    }
