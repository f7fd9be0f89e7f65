"""A sink in the loop of the test: DICOM and DICOMweb."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from loadtest.sink import Sink, open_sink, web_app
from loadtest.target import Target, Web


@asynccontextmanager
async def serving(services: Sink | None = None, app: web.Application | None = None) -> AsyncIterator[Target]:
    """A target that answers, for as long as the `async with` lasts."""
    acceptor = open_sink("127.0.0.1", 0, services)
    runner = web.AppRunner(app or web_app(), shutdown_timeout=1)
    try:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/dicom-web"
        host, port = acceptor.address
        yield Target(host, port, "SINK", timeout=5.0, web=Web(url), move_to="LOADTEST")
    finally:
        await runner.cleanup()
        await acceptor.stop(0)
