"""Health: alive, ready, metrics, for orchestrators and monitoring."""

from __future__ import annotations

from aiohttp import web

from gateway.telemetry import metrics_page
from gateway.web.context import CONTEXT
from gateway.web.measures import MEASURES
from gateway.web.route import SIGNED_IN, Route


async def livez(_request: web.Request) -> web.Response:
    """Alive: the process answers. Nothing else is checked, since a restart repairs nothing else."""
    return web.Response(text="alive\n")


async def readyz(request: web.Request) -> web.Response:
    """Ready: 200 when the gateway can do its work, else 503 with one reason per line."""
    ready, reasons = request.app[CONTEXT].readiness()
    if ready:
        return web.Response(text="ready\n")
    return web.Response(status=503, text="not ready\n" + "".join(f"{reason}\n" for reason in reasons))


async def metrics(request: web.Request) -> web.Response:
    """Metrics in the text format of Prometheus."""
    body = metrics_page() + await request.app[MEASURES].page()
    return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


ROUTES = (
    Route("GET", "/livez", livez, SIGNED_IN, answers=("text/plain",)),
    Route("GET", "/readyz", readyz, SIGNED_IN, answers=("text/plain",), errors=(503,)),
    Route("GET", "/metrics", metrics, "settings", answers=("text/plain",), name="metrics"),
)
