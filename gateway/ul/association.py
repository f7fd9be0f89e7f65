"""One association, either side of it: bytes and `now` in; events, bytes and a deadline out.

Here: the byte stream split into PDUs, P-DATA without copying, and the service primitives of the upper layer.
Not here: what a PDU does in which state (`states`, `machine`), sockets, clocks, messages (`gateway.dimse`).

The caller feeds `receive`, writes what `data_to_send` returns, calls `timeout` at `deadline` and `eof` when the
connection ends, and closes the connection when `close_transport` is true. A violation by the peer never raises: A-ABORT
is queued, and Aborted reported. A method that makes no sense in the present state raises RuntimeError, or
AssociationLost where the association is over.
"""

from __future__ import annotations

import struct
from typing import Final

from gateway.errors import ProtocolError
from gateway.ul import pdu
from gateway.ul.events import Aborted, Closed, DataFragment, Event
from gateway.ul.items import INVALID_PARAMETER, UNEXPECTED_PDU, UNRECOGNIZED_PDU
from gateway.ul.machine import Limits, Machine
from gateway.ul.pdu import AssociateAC, AssociateRJ, AssociateRQ
from gateway.ul.states import TABLE, WITHOUT_BODY, Action, Evt, State

__all__ = ["Association", "Limits"]

_RECEIVED: Final = {
    pdu.ASSOCIATE_RQ: Evt.Evt6,
    pdu.ASSOCIATE_AC: Evt.Evt3,
    pdu.ASSOCIATE_RJ: Evt.Evt4,
    pdu.P_DATA_TF: Evt.Evt10,
    pdu.RELEASE_RQ: Evt.Evt12,
    pdu.RELEASE_RP: Evt.Evt13,
    pdu.ABORT: Evt.Evt16,
}
_BOTH_HEADERS = struct.Struct(">BxLLBB")
"""The header of a P-DATA-TF and that of its first PDV, twelve bytes."""

_TLS_HANDSHAKE = 0x16
"""First byte of a TLS connection (RFC 8446 §5.1): an A-ABORT would mean nothing to its sender."""

_SMALL_BYTES = 2048  # Up to here copying the data behind the header costs less than a second buffer to write.


class Association(Machine):
    """The upper layer of one association. Construct with `acceptor` or `requestor`."""

    def __init__(self, limits: Limits, *, requestor: bool) -> None:
        super().__init__(limits, requestor=requestor)
        self._head = bytearray()  # the beginning of a header whose rest has not arrived
        self._pdu_left = 0  # of the current P-DATA-TF, behind the current PDV
        self._pdv_left = 0  # of the data of the current PDV
        self._pdv: tuple[int, bool, bool] = (0, False, False)
        self._body = bytearray()  # of any other PDU
        self._body_left = 0
        self._body_kind = 0
        self._skip = 0  # bytes of a PDU that is ignored
        self.speaks_tls = False
        """Whether the peer began with TLS, on a port for plain DICOM."""
        self._respond_at_once = False  # our half of a release collision, once the other half has come

    @classmethod
    def acceptor(cls, limits: Limits | None = None) -> Association:
        return cls(limits or Limits(), requestor=False)

    @classmethod
    def requestor(cls, limits: Limits | None = None) -> Association:
        return cls(limits or Limits(), requestor=True)

    # What the transport reports

    def connected(self, now: float) -> None:
        """Start on an open transport connection. A requestor calls it after `request`; A-ASSOCIATE-RQ is queued."""
        self._heard = now
        self._fire(Evt.Evt2 if self.is_requestor else Evt.Evt5, now)

    def receive(self, data: memoryview | bytes | bytearray, now: float) -> list[Event]:
        """Parse received bytes, cut at any place. P-DATA fragments are slices of `data` itself.

        Equal bytes give equal events however they are cut, apart from how DataFragments are sliced. Nothing
        is retained but headers, and incomplete PDUs other than P-DATA.
        """
        events: list[Event] = []
        self._events = events
        if self.state is State.Sta1 or self.state is State.Sta4:
            if self.ended:
                return events
            raise RuntimeError("bytes came without a connection")
        self._heard = now
        view = data if type(data) is memoryview else memoryview(data)
        at, end = 0, len(view)
        contexts, limit = self.contexts, self._receive_limit
        while at < end:
            if self._pdv_left:
                at = self._continue_pdv(view, at, end)
                continue
            if end - at >= 12 and self._delivering and not self._pdu_left and not self._head and not self._body_left:
                # The common case by far: a P-DATA-TF whose first PDV, often its only one, begins in this buffer.
                kind, length, pdv_length, context_id, control = _BOTH_HEADERS.unpack_from(view, at)
                rest = length - pdv_length - 4
                if (
                    kind == 4
                    and length <= limit
                    and pdv_length >= 2
                    and context_id in contexts
                    and (rest == 0 or rest >= 6)
                ):
                    start = at + 12
                    at = start + pdv_length - 2
                    self._pdu_left = rest
                    if at <= end:
                        events.append(DataFragment(context_id, control & 1 != 0, control & 2 != 0, view[start:at]))
                    else:
                        self._pdv_left = pdv_length - 2
                        self._pdv = (context_id, control & 1 != 0, control & 2 != 0)
                        at = start
                    continue
            if self._deaf:
                break
            at = self._step(view, at, end, now)
            contexts, limit = self.contexts, self._receive_limit
        return events

    def eof(self, now: float) -> list[Event]:
        """End the association: the transport connection is closed, by the peer or by an error."""
        self._events = []
        if self.state is not State.Sta1:
            self._fire(Evt.Evt17, now)
        self.close_transport = True
        return self._events

    def timeout(self, now: float) -> list[Event]:
        """Handle an expired `deadline`; nothing happens before it."""
        self._events = []
        deadline = self.deadline
        if deadline is None or now < deadline:
            return self._events
        if self.state in (State.Sta2, State.Sta13):
            waited = f"no A-ASSOCIATE-RQ came in {self.limits.artim_timeout:g} s"
            self._fire(Evt.Evt18, now, Closed(waited))
        elif self.state is not State.Sta6:
            waited = f"no answer to our {'request' if self.state is State.Sta5 else 'release'}"
            self._abort(Aborted(0, 0, by_peer=False, detail=f"{waited} in {self.limits.response_timeout:g} s"), now)
        elif self._spoke:
            # Sending is a sign of life too, but `send_data` is not given the time.
            self._spoke = False
            self._heard = now
        else:
            idle = f"nothing came in {self.limits.idle_timeout:g} s"
            self._abort(Aborted(0, 0, by_peer=False, detail=idle), now)
        return self._events

    def data_to_send(self) -> list[bytes | memoryview]:
        """Bytes to write, in order; each is returned once."""
        out = self._out
        self._out = []
        return out

    # Service primitives

    def request(self, request: AssociateRQ, now: float) -> None:
        """A-ASSOCIATE request (Sta1 to Sta4): connect, then call `connected`. Our limit replaces its `max_length`."""
        self._fire(Evt.Evt1, now, request)

    def accept(self, answer: AssociateAC, now: float) -> None:
        """A-ASSOCIATE response, accepted. Our limit replaces its `max_length`; the request's titles are returned."""
        self._fire(Evt.Evt7, now, answer)

    def reject(self, result: int, source: int, reason: int, now: float) -> None:
        """A-ASSOCIATE response, rejected: values of PS3.8 Table 9-21."""
        self._fire(Evt.Evt8, now, AssociateRJ(result, source, reason))

    def send_data(self, context_id: int, is_command: bool, data: bytes | memoryview, last: bool) -> None:
        """P-DATA request: queue `data`, cut to the peer's maximum length. Long data are not copied and must not change.

        Raises: RuntimeError for a context that was not accepted; AssociationLost where the association is over.
        """
        if self.state is not State.Sta6:
            self._check(Evt.Evt9)
        if context_id not in self.contexts:
            raise RuntimeError(f"presentation context {context_id} was not accepted")
        self._spoke = True
        size, chunk, out = len(data), self._chunk, self._out
        control = (1 if is_command else 0) | (2 if last else 0)
        if size <= chunk:
            header = _BOTH_HEADERS.pack(4, size + 6, size + 2, context_id, control)
            if size <= _SMALL_BYTES:
                out.append(header + data)
            else:
                out.append(header)
                out.append(data)
            return
        view = memoryview(data)
        header = _BOTH_HEADERS.pack(4, chunk + 6, chunk + 2, context_id, control & 1)
        at = 0
        while size - at > chunk:
            out.append(header)
            out.append(view[at : at + chunk])
            at += chunk
        out.append(_BOTH_HEADERS.pack(4, size - at + 6, size - at + 2, context_id, control))
        out.append(view[at:])

    def release(self, now: float) -> None:
        """A-RELEASE request. Released follows, or ReleaseRequested first if both sides release at once."""
        self._fire(Evt.Evt11, now)

    def respond_release(self, now: float) -> None:
        """A-RELEASE response. In a release collision the acceptor's waits for the requestor's (PS3.8 §7.2.2.7)."""
        if self.state is State.Sta10:
            self._respond_at_once = True
        else:
            self._fire(Evt.Evt14, now)

    def abort(self, now: float, source: int = 0, reason: int = 0, detail: str = "") -> None:
        """A-ABORT request; does nothing once the association is over. No event follows."""
        if self.state is State.Sta1 or self.state is State.Sta13:
            return
        why = Aborted(source, reason, by_peer=False, detail=detail or "we aborted the association")
        if self.state is State.Sta2:
            # There is no association yet: the table has no entry, and ARTIM would only close the connection.
            self._fire(Evt.Evt18, now, Closed(why.detail))
        else:
            self._abort(why, now)
        self._events = []

    # The byte stream, off the common path

    def _abort(self, why: Aborted, now: float) -> None:
        self._fire(Evt.Evt15, now, why)
        if self._pdu_left or self._pdv_left:
            self._skip = self._pdu_left + self._pdv_left - len(self._head)
            self._pdu_left = self._pdv_left = 0
            self._head.clear()

    def _continue_pdv(self, view: memoryview, at: int, end: int) -> int:
        context_id, is_command, is_last = self._pdv
        left = self._pdv_left
        size = min(left, end - at)
        self._pdv_left = left - size
        self._events.append(DataFragment(context_id, is_command, is_last and size == left, view[at : at + size]))
        return at + size

    def _step(self, view: memoryview, at: int, end: int, now: float) -> int:
        """Consume some bytes outside of a PDV's data; returns the offset behind them."""
        if self._skip:
            size = min(self._skip, end - at)
            self._skip -= size
            return at + size
        if self._body_left:
            size = min(self._body_left, end - at)
            self._body += view[at : at + size]
            self._body_left -= size
            if not self._body_left:
                self._pdu_received(now)
            return at + size
        head = self._head
        if not head and end - at >= 6:
            size = 6
            header: bytes | memoryview = view[at : at + 6]
        else:
            size = min(6 - len(head), end - at)
            head += view[at : at + size]
            if len(head) < 6:
                return at + size
            header = bytes(head)
            head.clear()
        if self._pdu_left:
            self._pdv_header(header, now)
        else:
            self._pdu_header(header, now)
        return at + size

    def _pdu_header(self, header: bytes | memoryview, now: float) -> None:
        kind, length = pdu.PDU_HEADER.unpack(header)
        if kind == pdu.P_DATA_TF and self._delivering and 6 <= length <= self._receive_limit:
            self._pdu_left = length
            return
        event = _RECEIVED.get(kind)
        if event is None and kind == _TLS_HANDSHAKE and self.state is State.Sta2:
            self.speaks_tls = True
            self._fire(Evt.Evt18, now, Closed("the peer speaks TLS on the port for plain DICOM"))
        elif event is None:
            self._violation(pdu.describe_unknown(header), UNRECOGNIZED_PDU, now)
        elif TABLE[event, self.state][0] in WITHOUT_BODY:
            self._unexpected(kind, now)
            self._skip = length
        elif not self._may_be(kind, length):
            detail = f"a length of {length} bytes is not possible for PDU type {kind:02X}H"
            self._violation(detail, INVALID_PARAMETER, now)
        else:
            self._body_kind = kind
            self._body_left = length

    def _may_be(self, kind: int, length: int) -> bool:
        """Whether a PDU may have this length; called for P-DATA-TF only if too short for a PDV, or too long."""
        if kind in (pdu.ASSOCIATE_RQ, pdu.ASSOCIATE_AC):
            return 0 < length <= self.limits.max_associate_length
        return length == 4 and kind != pdu.P_DATA_TF

    def _pdv_header(self, header: bytes | memoryview, now: float) -> None:
        length, context_id, control = pdu.PDV_HEADER.unpack(header)
        rest = self._pdu_left - length - 4
        if length < 2 or rest < 0 or 0 < rest < 6:
            detail = f"a PDV of {length} bytes does not fit the {self._pdu_left} bytes left of its P-DATA-TF"
            self._violation(detail, INVALID_PARAMETER, now)
        elif context_id not in self.contexts:
            self._violation(f"data for presentation context {context_id}, not accepted", INVALID_PARAMETER, now)
        else:
            self._pdu_left = rest
            self._pdv_left = length - 2
            self._pdv = (context_id, control & 1 != 0, control & 2 != 0)
            if length == 2:
                self._events.append(DataFragment(*self._pdv, memoryview(b"")))

    def _pdu_received(self, now: float) -> None:
        body = bytes(self._body)
        self._body = bytearray()
        try:
            received = pdu.decode(self._body_kind, body)
        except ProtocolError as error:
            self._violation(str(error), error.reason, now)
            return
        if TABLE[_RECEIVED[self._body_kind], self.state][0] in WITHOUT_BODY:
            # We aborted since its header came.
            self._unexpected(self._body_kind, now)
            return
        self._fire(_RECEIVED[self._body_kind], now, received)
        if self._respond_at_once and self.state is State.Sta12:
            self._fire(Evt.Evt14, now)

    def _unexpected(self, kind: int, now: float) -> None:
        detail = f"PDU type {kind:02X}H came in {self.state.name} ({self.state.value})"
        self._refuse(_RECEIVED[kind], detail, UNEXPECTED_PDU, now)

    def _violation(self, detail: str, reason: int, now: float) -> None:
        self._refuse(Evt.Evt19, detail, reason, now)
        self._deaf = True  # the start of the next PDU is unknown

    def _refuse(self, event: Evt, detail: str, reason: int, now: float) -> None:
        action = TABLE[event, self.state][0]
        # "Service-user source", whose reason is not significant, even for what the provider found (AA-1).
        source, reason = (0, 0) if action is Action.AA_1 else (2, reason)
        self._fire(event, now, Aborted(source, reason, by_peer=False, detail=detail))
        if action is Action.AA_7:
            self._deaf = True  # A-ABORT is sent once; a peer that goes on sending is cut off by ARTIM.
