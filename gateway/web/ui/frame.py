"""What stands around every page (`templates/base.html`): whose it is, and where its links lead."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from gateway import __version__
from gateway.web.context import CONTEXT
from gateway.web.urls import path_template


def frame(request: web.Request) -> dict[str, Any]:
    """The values of the template."""
    context = request.app[CONTEXT]
    return {
        "aet": context.settings().dicom.aet.strip(),
        "dicom_port": context.ports()[0],
        "dicomweb_url": path_template(request, "studies") + "?limit=25",
        "home": path_template(request, "home"),
        "metrics_url": path_template(request, "metrics"),
        "routing_url": path_template(request, "routing"),
        "static": path_template(request, "static"),
        "system_url": path_template(request, "system"),
        "version": __version__,
    }
