"""Health: alive, ready, metrics, for orchestrators and monitoring."""

from __future__ import annotations

from aiohttp import web

from gateway.processes.host_clock import host_clock
from gateway.telemetry import metrics_page
from gateway.web.context import CONTEXT
from gateway.web.measures import MEASURES
from gateway.web.route import SIGNED_IN, Route


async def livez(_request: web.Request) -> web.Response:
    """Alive: the process answers. Nothing else is checked, since a restart repairs nothing else."""
    return web.Response(text="alive\n")


async def readyz(request: web.Request) -> web.Response:
    """Ready: 200 when the gateway can do its work, else 503 with one reason per line.

    A clock that nothing keeps is noted in a second line, and makes nothing unready: images are worth more than times.
    """
    ready, reasons = request.app[CONTEXT].readiness()
    clock = host_clock()
    if ready:
        note = "" if clock is None or clock.is_kept else "note: no time service keeps the clock of this machine\n"
        return web.Response(text=f"ready\n{note}")
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
