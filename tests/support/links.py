"""Two associations linked in memory: what one queues the other receives. No sockets, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gateway.ul.association import Association, Limits
from gateway.ul.events import AssociateRequested, DataFragment, Event
from gateway.ul.items import ProposedContext, UserInformation
from gateway.ul.negotiation import negotiate
from gateway.ul.pdu import AssociateAC, AssociateRQ

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


def a_request(**changes: object) -> AssociateRQ:
    """Context 1 is Verification, context 3 CT Image Storage."""
    fields: dict[str, object] = {
        "called_aet": "GATEWAY",
        "calling_aet": "MODALITY",
        "contexts": [ProposedContext(1, VERIFICATION, [IMPLICIT]), ProposedContext(3, CT, [EXPLICIT, IMPLICIT])],
        "user_information": UserInformation(
            max_length=16384, implementation_class_uid="1.2.3", implementation_version_name="TEST"
        ),
    }
    return AssociateRQ(**(fields | changes))  # type: ignore[arg-type]


def an_accept(request: AssociateRQ) -> AssociateAC:
    """Both contexts of `a_request` accepted, in the first transfer syntax."""
    results = negotiate(request, {VERIFICATION: [IMPLICIT], CT: [IMPLICIT, EXPLICIT]})
    user = UserInformation(max_length=16384, implementation_class_uid="1.2.4", implementation_version_name="OURS")
    return AssociateAC(request.called_aet, request.calling_aet, results, user)


def cut(data: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    """`data` in slices of these sizes, then the rest."""
    at = 0
    for size in sizes:
        if at >= len(data):
            return
        yield data[at : at + size]
        at += size
    if at < len(data):
        yield data[at:]


def joined(events: Iterable[Event]) -> list[Event]:
    """The events with the slices of each PDV joined to one fragment of bytes, so that slicing does not show.

    Slices that are not last are joined with what follows in the same context and kind.
    """
    result: list[Event] = []
    for event in events:
        if isinstance(event, DataFragment):
            before = result[-1] if result else None
            data = bytes(event.data)
            if (
                isinstance(before, DataFragment)
                and not before.is_last
                and (before.context_id, before.is_command) == (event.context_id, event.is_command)
            ):
                data = bytes(before.data) + data
                result.pop()
            event = DataFragment(event.context_id, event.is_command, event.is_last, memoryview(data))
        result.append(event)
    return result


class Link:
    """A requestor and an acceptor over a perfect wire."""

    def __init__(self, ours: Limits | None = None, theirs: Limits | None = None, slice_size: int = 1 << 20) -> None:
        self.requestor = Association.requestor(theirs)
        self.acceptor = Association.acceptor(ours)
        self.slice_size = slice_size
        self.now = 0.0

    def open(self, request: AssociateRQ | None = None) -> None:
        """Connect and associate; both sides end in Sta6."""
        self.requestor.request(request or a_request(), self.now)
        self.acceptor.connected(self.now)
        self.requestor.connected(self.now)
        (event,) = self.to_acceptor()
        assert isinstance(event, AssociateRequested)
        self.acceptor.accept(an_accept(event.pdu), self.now)
        self.to_requestor()

    def to_acceptor(self) -> list[Event]:
        """Carry what the requestor has queued; the events of the acceptor."""
        return self._carry(self.requestor, self.acceptor)

    def to_requestor(self) -> list[Event]:
        """Carry what the acceptor has queued; the events of the requestor."""
        return self._carry(self.acceptor, self.requestor)

    def _carry(self, source: Association, target: Association) -> list[Event]:
        data = b"".join(source.data_to_send())
        events = []
        for piece in range(0, len(data), self.slice_size):
            events += target.receive(data[piece : piece + self.slice_size], self.now)
        return joined(events)
