"""Transports in memory: what one link writes the other reads, in turns of the loop. No ports, no clock."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from gateway.dicom import uids
from gateway.dimse.command import Command
from gateway.net.buffers import BlockPool
from gateway.net.link import Link
from gateway.net.receiver import Receiver
from gateway.net.refused_request import RefusedRequest
from gateway.net.requestor import Call, Handler, Requestor
from gateway.net.session import Refusal, Session
from gateway.ul import negotiation
from gateway.ul.association import Limits
from gateway.ul.items import AsynchronousOperations, ProposedContext, RoleSelection, UserInformation
from gateway.ul.negotiation import PresentationContext
from gateway.ul.pdu import AssociateAC, AssociateRQ

CT = "1.2.840.10008.5.1.4.1.1.2"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
EXPLICIT = uids.EXPLICIT_VR_LITTLE_ENDIAN.uid


class Wire(asyncio.Transport):
    """The transport of one link: keeps what is written until `carry` brings it to `target`.

    As the loop's own it stops reading while paused, and tells the link where more than `high` bytes wait.
    """

    def __init__(self) -> None:
        super().__init__()
        self.written: deque[bytes] = deque()
        self.reading = True
        self.closing = False
        self.high: int | None = None
        """Bytes not taken past which the writer is paused; None is no limit."""
        self.target: Wire | None = None
        self._link: Link | None = None
        self._socket: socket.socket | None = None
        self._paused = False

    def connect(self, link: Link) -> None:
        self._link = link
        # Only for its options: it is bound to nothing. The link detaches its own object of it.
        self._socket = socket.socket()
        link.connection_made(self)

    def lose(self) -> None:
        """The connection has ended, for whatever reason."""
        self.closing = True
        if self._link is not None and self._socket is not None:
            self._link.connection_lost(None)
            self._socket.close()
            self._socket = None

    def carry(self, most: int | None = None) -> bool:
        """Bring what is written to the other side, as far as that reads; whether anything came."""
        target = self.target
        moved = 0
        while self.written and target is not None and target.reading and not target.closing:
            data = self.written.popleft()
            if most is not None and len(data) > most - moved:
                self.written.appendleft(data[most - moved :])
                data = data[: most - moved]
            target.feed(data)
            moved += len(data)
            if moved == most:
                break
        self._tell()
        if self.closing and not self.written:
            self.lose()
            if target is not None:
                target.lose()
        return moved > 0

    def feed(self, data: bytes) -> None:
        """Have the link read `data`; what it does not want to read is dropped."""
        link = self._link
        assert link is not None
        view = memoryview(data)
        while view:
            buffer = link.get_buffer(-1)
            assert len(buffer) > 0
            size = min(len(buffer), len(view))
            buffer[:size] = view[:size]
            link.buffer_updated(size)
            view = view[size:]

    def _tell(self) -> None:
        if self.high is None or self._link is None:
            return
        full = sum(map(len, self.written)) > self.high
        if full != self._paused:
            self._paused = full
            if full:
                self._link.pause_writing()
            else:
                self._link.resume_writing()

    # What a link asks of its transport.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._socket if name == "socket" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.written.extend(bytes(data) for data in list_of_data)
        self._tell()

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.written.clear()
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Request(Receiver):
    """Receives one request; `take` is called when it is whole."""

    def __init__(
        self, take: Callable[[Request], None], on: Session | Requestor, context: PresentationContext, command: Command
    ) -> None:
        self.take, self.on, self.context, self.command = take, on, context, command
        self.data = b""
        self.flushed = 0
        self.is_lost = False

    def write(self, data: memoryview, block: object) -> None:
        self.data += data

    def end(self) -> None:
        self.take(self)

    def flush(self) -> None:
        self.flushed += 1

    def lost(self) -> None:
        self.is_lost = True


class Pair:
    """An association of ours with ourselves, over two wires. `take` has each request of the requestor."""

    def __init__(
        self,
        take: Callable[[Request], None],
        *,
        max_operations: int = 8,
        window: int = 1,
        handler: Handler = RefusedRequest,
        blocks: BlockPool | None = None,
    ) -> None:
        self.take = take
        self.received: list[Request] = []
        call = Call("host", 104, "CALLED", "CALLING", [(uid, [EXPLICIT]) for uid in (CT, FIND, GET)])
        self.session = Session(self, blocks or BlockPool(8), Limits(), "peer", 1, max_operations)
        self.requestor = Requestor(call, BlockPool(8), handler)
        self.ours, self.theirs = Wire(), Wire()
        """The requestor's wire, and the session's."""
        self.ours.target, self.theirs.target = self.theirs, self.ours
        operations = AsynchronousOperations(window, 1) if window != 1 else None
        contexts = [ProposedContext(2 * at + 1, uid, [EXPLICIT]) for at, uid in enumerate((CT, FIND, GET))]
        user = UserInformation(
            implementation_class_uid="1.2.3", operations=operations, roles=[RoleSelection(CT, scu=True, scp=True)]
        )
        self._request = AssociateRQ("CALLED", "CALLING", contexts, user)

    async def open(self) -> Pair:
        """Associate."""
        self.requestor.association.request(self._request, asyncio.get_running_loop().time())
        self.theirs.connect(self.session.link)
        self.ours.connect(self.requestor.link)
        await self.until(lambda: self.requestor.established)
        return self

    def close(self) -> None:
        """Lose the connection, as both sides see it."""
        self.ours.lose()
        self.theirs.lose()

    def carry(self) -> None:
        """Bring what is written both ways, until neither side has more."""
        while self.ours.carry() | self.theirs.carry():
            pass

    async def until(self, condition: Callable[[], bool]) -> None:
        """Carry and give everybody turns of the loop until it holds."""
        for _ in range(10_000):
            self.carry()
            if condition():
                return
            await asyncio.sleep(0)
        raise AssertionError("it does not come to that")

    async def turns(self, count: int = 20) -> None:
        """Carry, and give everybody so many turns."""
        for _ in range(count):
            self.carry()
            await asyncio.sleep(0)

    async def admit(self, session: Session, request: AssociateRQ) -> AssociateAC | Refusal:
        results = negotiation.negotiate(request, {uid: [EXPLICIT] for uid in (CT, FIND, GET)}, as_scu={CT})
        user = UserInformation(
            implementation_class_uid="1.2.3",
            operations=negotiation.answer_operations(request.user_information.operations, 100, 1),
            roles=negotiation.answer_roles(request, results, as_scu={CT}),
        )
        return AssociateAC(request.called_aet, request.calling_aet, results, user)

    def receive(self, session: Session, context: PresentationContext, command: Command) -> Request:
        request = Request(lambda request: self.take(request), session, context, command)
        self.received.append(request)
        return request
