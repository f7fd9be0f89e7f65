"""A collector of traces in this process: takes OTLP over HTTP as real ones do, and decodes it by OpenTelemetry's own
definitions.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class ReceivedSpan:
    """A span as it came, with its identifiers in hexadecimal digits."""

    def __init__(self, span: Any) -> None:
        self.name: str = span.name
        self.trace_id, self.span_id = span.trace_id.hex(), span.span_id.hex()
        self.parent_id = span.parent_span_id.hex()
        self.links = [(each.trace_id.hex(), each.span_id.hex()) for each in span.links]
        self.seconds = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9
        self.failed = span.status.code == 2
        self.attributes: dict[str, Any] = {
            each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes
        }

    def __repr__(self) -> str:
        return f"<{self.name} {self.trace_id[:6]} {self.span_id[:6]} below {self.parent_id[:6]} {self.attributes}>"


class Collector:
    def __init__(self) -> None:
        self.url = ""
        self.spans: list[ReceivedSpan] = []
        self.resources: list[dict[str, str]] = []
        self.body = b""
        """All that came, undecoded."""
        self._arrived = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        data = await request.read()
        self.body += data
        for resource in ExportTraceServiceRequest.FromString(data).resource_spans:
            self.resources.append({each.key: each.value.string_value for each in resource.resource.attributes})
            self.spans += [ReceivedSpan(span) for scope in resource.scope_spans for span in scope.spans]
        self._arrived.set()
        return web.Response(content_type="application/x-protobuf")

    def named(self, name: str) -> list[ReceivedSpan]:
        return [span for span in self.spans if span.name == name]

    def below(self, above: ReceivedSpan) -> list[ReceivedSpan]:
        return [span for span in self.spans if span.parent_id == above.span_id]

    async def wait_for(self, *names: str) -> list[ReceivedSpan]:
        """The last span of each name, once all have come."""
        async with asyncio.timeout(30):
            while not all(self.named(name) for name in names):
                self._arrived.clear()
                await self._arrived.wait()
        return [self.named(name)[-1] for name in names]


@asynccontextmanager
async def collector() -> AsyncIterator[Collector]:
    made, application = Collector(), web.Application(client_max_size=64 << 20)
    application.router.add_post("/v1/traces", made.take)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()
