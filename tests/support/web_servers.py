"""HTTP systems that a gateway sends to, in this process: they answer as those of Google, Azure, dcm4chee and Orthanc
do, or not at all, and hand out tokens.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import RSAKey

from gateway.dicom.part10 import read_header
from gateway.http.multipart import Head, Parser, Tail

Item = dict[str, Any]


def referenced(uid: str, warning: int = 0) -> Item:
    item: Item = {"00081155": {"vr": "UI", "Value": [uid]}, "00081190": {"vr": "UR", "Value": [f"http://x/{uid}"]}}
    return item | ({"00081196": {"vr": "US", "Value": [warning]}} if warning else {})


def failed(uid: str, reason: int) -> Item:
    return {"00081155": {"vr": "UI", "Value": [uid]}, "00081197": {"vr": "US", "Value": [reason]}}


def answer(status: int, taken: list[Item], refused: list[Item]) -> web.Response:
    """PS3.18 Annex I in JSON."""
    model: dict[str, Any] = {}
    if taken:
        model["00081199"] = {"vr": "SQ", "Value": taken}
    if refused:
        model["00081198"] = {"vr": "SQ", "Value": refused}
    return web.Response(status=status, text=json.dumps(model), content_type="application/dicom+json")


def answer_xml(status: int, taken: list[Item], refused: list[Item]) -> web.Response:
    """The same as dcm4chee writes it where it is not asked otherwise."""

    def sequence(tag: str, items: list[Item]) -> str:
        rows = []
        for number, item in enumerate(items, 1):
            values = "".join(
                f'<DicomAttribute tag="{at}" vr="{one["vr"]}"><Value number="1">{one["Value"][0]}</Value>'
                "</DicomAttribute>"
                for at, one in item.items()
            )
            rows.append(f'<Item number="{number}">{values}</Item>')
        return f'<DicomAttribute tag="{tag}" vr="SQ">{"".join(rows)}</DicomAttribute>' if items else ""

    body = f"<NativeDicomModel>{sequence('00081199', taken)}{sequence('00081198', refused)}</NativeDicomModel>"
    return web.Response(status=status, text=body, content_type="application/dicom+xml")


class WebServer:
    """Takes what is sent to it, as `behave` says; by default all, and says so as the standard has it."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        """By SOP Instance UID."""
        self.requests: list[list[str]] = []
        """The instances of each, in order."""
        self.headers: list[dict[str, str]] = []
        self.behave: Callable[[list[str]], web.StreamResponse | Awaitable[web.StreamResponse] | None] = lambda uids: (
            None
        )
        """None: take them."""
        self.before: Callable[[web.Request], Awaitable[web.StreamResponse | None]] | None = None
        """Before anything of the body is read."""
        self.url = ""
        self.down = False
        """As a proxy before a server that is not there."""
        self.at_once = self.most_at_once = 0
        self.tokens = 0
        self.token_answer: Callable[[dict[str, str], str], web.Response] | None = None

    @web.middleware
    async def proxy(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self.down:
            return web.Response(status=502, text="bad gateway")
        answer: web.StreamResponse = await handler(request)
        return answer

    async def stow(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(dict(request.headers))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.before is not None and (early := await self.before(request)) is not None:
                return early
            parts = await self._parts(request)
            return await self._answered(parts, lambda: answer(200, [referenced(uid) for uid in parts], []))
        finally:
            self.at_once -= 1

    async def _answered(self, parts: dict[str, bytes], usual: Callable[[], web.StreamResponse]) -> web.StreamResponse:
        self.requests.append(list(parts))
        special = self.behave(list(parts))
        if isinstance(special, Awaitable):
            special = await special
        if special is not None:
            return special
        self.files |= parts
        return usual()

    async def _parts(self, request: web.Request) -> dict[str, bytes]:
        parser, found, data = (
            Parser(request.content_type and request.headers["Content-Type"].split("boundary=")[1]),
            {},
            b"",
        )
        async for chunk in request.content.iter_any():
            for event in parser.feed(chunk):
                match event:
                    case Head():
                        assert event.headers["content-type"] == "application/dicom"
                        data = b""
                    case Tail():
                        found[uid_of(data)] = data
                    case _:
                        data += bytes(event)
        parser.close()
        return found

    async def instances(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(dict(request.headers))
        data = await request.read()
        uid = uid_of(data)
        status = "AlreadyStored" if uid in self.files else "Success"
        return await self._answered({uid: data}, lambda: web.json_response({"ID": "x", "Status": status}))

    async def find(self, request: web.Request) -> web.StreamResponse:
        asked = (await request.json())["Query"]["SOPInstanceUID"].split("\\")
        return web.json_response([{"MainDicomTags": {"SOPInstanceUID": uid}} for uid in asked if uid in self.files])

    async def search(self, request: web.Request) -> web.StreamResponse:
        """Two results a page, as servers may (PS3.18 §8.3.4.4)."""
        found = [uid for uid in sorted(self.files) if request.query.get("SOPInstanceUID") in (None, uid)]
        offset = int(request.query.get("offset", 0))
        page = [{"00080018": {"vr": "UI", "Value": [uid]}} for uid in found[offset : offset + 2]]
        if not page:
            return web.Response(status=204)
        return web.Response(text=json.dumps(page), content_type="application/dicom+json")

    async def token(self, request: web.Request) -> web.StreamResponse:
        form = {key: str(value) for key, value in (await request.post()).items()}
        self.tokens += 1
        if self.token_answer is not None:
            return self.token_answer(form, request.headers.get("Authorization", ""))
        return web.json_response({"access_token": f"token-{self.tokens}", "expires_in": 600})


def uid_of(data: bytes) -> str:
    return read_header(lambda offset, length: data[offset : offset + length]).sop_instance_uid


def basic_of(header: str) -> str:
    return base64.b64decode(header.removeprefix("Basic ")).decode()


def verified(assertion: str, key: RSAKey) -> dict[str, Any]:
    """The claims of a JWT that `key` has signed by RS256."""
    token = jwt.decode(assertion, key, algorithms=["RS256"])
    return {**token.header, **token.claims}


@asynccontextmanager
async def web_server(context: ssl.SSLContext | None = None) -> AsyncIterator[WebServer]:
    server = WebServer()
    app = web.Application(client_max_size=1 << 30, middlewares=[server.proxy])
    app.add_routes(
        [
            web.post("/studies", server.stow),
            web.get("/instances", server.search),
            web.get("/studies/{study}/series/{series}/instances", server.search),
            web.post("/instances", server.instances),
            web.post("/tools/find", server.find),
            web.post("/token", server.token),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = runner.addresses[0][1]
    server.url = f"{'https://localhost' if context else 'http://127.0.0.1'}:{port}"
    try:
        async with asyncio.timeout(30):
            yield server
    finally:
        await runner.cleanup()
