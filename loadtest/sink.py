"""The sink: a server that accepts everything and stores nothing. Work against it shows the generator's own ceiling.

Over DICOM it answers every request with success. Over HTTP it is a DICOMweb service with a study of `PARTS` instances
of 512 KB under every UID. It also receives the instances of our C-MOVE.
"""

from __future__ import annotations

import asyncio
import contextlib

from aiohttp import web

from gateway.dicom import uids
from gateway.dimse import messages
from gateway.dimse.command import C_CANCEL_RQ, C_STORE_RQ, Command
from gateway.net.acceptor import Acceptor, listen
from gateway.net.buffers import Block, BlockPool
from gateway.net.receiver import Receiver
from gateway.net.session import Refusal, Session
from gateway.ul import negotiation
from gateway.ul.association import Limits
from gateway.ul.items import UserInformation
from gateway.ul.negotiation import PresentationContext
from gateway.ul.pdu import AssociateAC, AssociateRQ

AET = "SINK"
PARTS = 100
"""Instances in the study that WADO-RS returns."""
_BLOCKS = 256
_CONNECTIONS = 2000
_OPERATIONS = 64
_PIXELS = bytes(512 << 10)
_BOUNDARY = "sink"
_FRAME = b"--sink\r\nContent-Type: application/octet-stream\r\n\r\n" + _PIXELS + b"\r\n--sink--\r\n"
_MAX_HEADER_BYTES = 1 << 16


class _Discard(Receiver):
    """A receiver that discards one message and answers with success."""

    def __init__(self, sink: Sink, session: Session, context: PresentationContext, command: Command) -> None:
        self._sink, self._session, self._context, self._command = sink, session, context, command

    def write(self, data: memoryview, block: Block) -> None:
        self._sink.bytes += len(data)

    def end(self) -> None:
        if self._command.command_field == C_CANCEL_RQ:
            self._session.done()
        else:
            self._session.respond(self._context.id, messages.response(self._command, 0).encode())
            if self._command.command_field == C_STORE_RQ:
                self._sink.acknowledged()


class Sink:
    """The `Services` of an acceptor that accepts everything."""

    def __init__(self) -> None:
        self.bytes = 0
        """Bytes of the data sets received."""
        self.instances = 0
        """Instances acknowledged."""
        self._taken = 0
        self._waiting: dict[asyncio.Event, int] = {}

    def acknowledged(self) -> None:
        """Count an instance, and wake those who wait for that number."""
        self.instances += 1
        for event, wanted in self._waiting.items():
            if self.instances >= wanted:
                event.set()

    async def have(self, count: int, within: float) -> int:
        """Wait until `count` instances are acknowledged, `within` seconds at most; return how many there are."""
        event = asyncio.Event()
        self._waiting[event] = count
        try:
            if self.instances < count:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(event.wait(), within)
        finally:
            del self._waiting[event]
        return self.instances

    def take_count(self) -> int:
        """The bytes received since the previous call."""
        new, self._taken = self.bytes - self._taken, self.bytes
        return new

    async def admit(self, session: Session, request: AssociateRQ) -> AssociateAC | Refusal:
        results = negotiation.negotiate(request, {}, on_unknown=lambda uid: uids.TRANSFER_SYNTAXES)
        proposed = request.user_information.operations
        return AssociateAC(
            request.called_aet,
            request.calling_aet,
            results,
            UserInformation(
                implementation_class_uid=uids.IMPLEMENTATION_CLASS_UID,
                implementation_version_name=uids.IMPLEMENTATION_VERSION_NAME,
                operations=negotiation.answer_operations(proposed, _OPERATIONS, 1),
            ),
        )

    def receive(self, session: Session, context: PresentationContext, command: Command) -> Receiver:
        return _Discard(self, session, context, command)


def open_sink(host: str, port: int, services: Sink | None = None) -> Acceptor:
    """Start a sink that accepts associations; the caller stops it. Raises OSError."""
    acceptor = Acceptor(
        listen(host, port),
        services or Sink(),
        BlockPool(_BLOCKS),
        limits=Limits(),
        max_connections=_CONNECTIONS,
        max_operations=_OPERATIONS,
    )
    acceptor.start()
    return acceptor


def web_app(sink: Sink | None = None) -> web.Application:
    """The DICOMweb service of the sink, and `/received`, which waits for instances of its DICOM service."""
    app = web.Application(client_max_size=0)
    router = app.router
    if sink is not None:

        async def received(request: web.Request) -> web.Response:
            count, within = int(request.query.get("at_least", "0")), float(request.query.get("within", "0"))
            return web.json_response({"instances": await sink.have(count, within)})

        router.add_get("/received", received)
    router.add_post("/dicom-web/studies", _store)
    router.add_get("/dicom-web/{tail:.+}", _give)
    return app


async def serve(host: str, port: int, web_port: int) -> None:
    """Run a sink until cancelled. Prints where it listens on standard output, in the form of the gateway."""
    sink = Sink()
    runner = web.AppRunner(web_app(sink), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, web_port).start()
        acceptor = open_sink(host, port, sink)
        try:
            print("DICOM  {}@{}:{}".format(AET, *acceptor.address))
            print(f"Web    http://{host}:{runner.addresses[0][1]}/dicom-web", flush=True)
            await asyncio.Event().wait()
        finally:
            await acceptor.stop(0)
    finally:
        await runner.cleanup()


async def _store(request: web.Request) -> web.Response:
    """Answer STOW-RS. Only the beginning of each part is parsed, for its UID; the rest is skipped."""
    stored = []
    boundary = b"\r\n--" + request.headers["Content-Type"].rpartition("boundary=")[2].strip('"').encode() + b"\r\n"
    kept = b"\r\n"
    while chunk := await request.content.readany():
        kept += chunk
        while (at := kept.find(boundary)) >= 0:
            head = kept[at + len(boundary) :][:_MAX_HEADER_BYTES]
            if (found := _file_uid(head)) is None:
                break  # The head has not arrived completely.
            stored.append(found)
            kept = kept[at + len(boundary) :]
        else:
            kept = kept[-len(boundary) :]
    rows = ",".join(
        f'{{"00081150":{{"vr":"UI","Value":["1.2"]}},"00081155":{{"vr":"UI","Value":["{uid}"]}}}}' for uid in stored
    )
    return _json(f'{{"00081199":{{"vr":"SQ","Value":[{rows}]}}}}'.encode())


def _file_uid(head: bytes) -> str | None:
    """The Media Storage SOP Instance UID at the beginning of a part; None if it has not arrived."""
    at = head.find(b"\x02\x00\x03\x00UI")
    if at < 0 or len(head) < at + 8:
        return None
    length = int.from_bytes(head[at + 6 : at + 8], "little")
    return head[at + 8 : at + 8 + length].rstrip(b"\0").decode("ascii") if len(head) >= at + 8 + length else None


async def _give(request: web.Request) -> web.StreamResponse:
    what = request.path.rpartition("/")[2]
    if what in ("studies", "series", "instances"):
        return _json(b"[%s]" % b",".join([_ROW] * int(request.query.get("limit", "25"))))
    if what == "metadata":
        return _json(b"[%s]" % b",".join([_ROW] * PARTS))
    if what == "rendered":
        return web.Response(body=_PIXELS[: 64 << 10], content_type="image/jpeg")
    if "/frames/" in request.path:
        return web.Response(body=_FRAME, headers={"Content-Type": _multipart_of("application/octet-stream")})
    return await _multipart(request, "application/dicom", PARTS)


def _multipart_of(kind: str) -> str:
    return f'multipart/related; type="{kind}"; boundary={_BOUNDARY}'


async def _multipart(request: web.Request, kind: str, parts: int) -> web.StreamResponse:
    part = f"\r\n--{_BOUNDARY}\r\nContent-Type: {kind}\r\n\r\n".encode() + _PIXELS
    end = f"\r\n--{_BOUNDARY}--\r\n".encode()
    answer = web.StreamResponse(headers={"Content-Type": _multipart_of(kind)})
    answer.content_length = parts * len(part) + len(end)
    await answer.prepare(request)
    with contextlib.suppress(ConnectionError):
        for _ in range(parts):
            await answer.write(part)
        await answer.write(end)
        await answer.write_eof()
    return answer


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/dicom+json")


_ROW = (
    b'{"0020000D":{"vr":"UI","Value":["2.25.1"]},"0020000E":{"vr":"UI","Value":["2.25.2"]},"00080018":{"vr":"UI",'
    b'"Value":["2.25.3"]},"00100010":{"vr":"PN","Value":[{"Alphabetic":"Sink^Sink"}]},"00100020":{"vr":"LO",'
    b'"Value":["SINK"]},"00080060":{"vr":"CS","Value":["CT"]}}'
)
