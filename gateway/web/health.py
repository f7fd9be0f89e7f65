"""What orchestrators and monitoring ask: alive, ready, metrics."""

from __future__ import annotations

from aiohttp import web

from gateway.telemetry import metrics_page
from gateway.web.context import CONTEXT


async def livez(_request: web.Request) -> web.Response:
    """Alive: the process answers; nothing more is looked at, since a restart mends nothing else."""
    return web.Response(text="alive\n")


async def readyz(request: web.Request) -> web.Response:
    """Ready: 200 when the gateway can do its work, else 503 with what is in the way, a reason a line."""
    ready, reasons = request.app[CONTEXT].readiness()
    if ready:
        return web.Response(text="ready\n")
    return web.Response(status=503, text="not ready\n" + "".join(f"{reason}\n" for reason in reasons))


async def metrics(_request: web.Request) -> web.Response:
    """What is measured, in the text format of Prometheus."""
    return web.Response(body=metrics_page(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})
