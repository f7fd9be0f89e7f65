"""Health: alive, ready, metrics, for orchestrators and monitoring."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.processes.host_clock import host_clock
from gateway.telemetry import OPENMETRICS, metrics_page
from gateway.web.accept import parse
from gateway.web.context import CONTEXT
from gateway.web.measures import MEASURES
from gateway.web.route import SIGNED_IN, Route

_TEXT: Final = "text/plain"


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
    """Metrics in the text format of Prometheus, or in OpenMetrics, with exemplars, where Accept prefers it by name."""
    named = (each.media_type for each in parse(request.headers.get("Accept", "")))
    preferred = next((each for each in named if each in (OPENMETRICS, _TEXT)), _TEXT)
    return await metrics_answer(request, openmetrics=preferred == OPENMETRICS)


async def metrics_answer(request: web.Request, *more: bytes, openmetrics: bool = False) -> web.Response:
    """The answer with all metrics; `more` are further ones in the same format."""
    gauges = await request.app[MEASURES].page(openmetrics=openmetrics)
    body = metrics_page(gauges, *more, openmetrics=openmetrics)
    media_type = f"{OPENMETRICS}; version=1.0.0" if openmetrics else f"{_TEXT}; version=0.0.4"
    return web.Response(body=body, headers={"Content-Type": f"{media_type}; charset=utf-8", "Vary": "Accept"})


ROUTES = (
    Route("GET", "/livez", livez, SIGNED_IN, answers=("text/plain",)),
    Route("GET", "/readyz", readyz, SIGNED_IN, answers=("text/plain",), errors=(503,)),
    Route("GET", "/metrics", metrics, "settings", answers=(_TEXT, OPENMETRICS), name="metrics"),
)
