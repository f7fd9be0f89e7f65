"""Mutated PDUs in bulk against the protocol core, in memory.

Each trial clones a prepared association, which costs a fraction of negotiating one, and feeds it mutated bytes in one
or two pieces. Whatever comes, the core may only report events and queue bytes: an exception is a bug.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass

from gateway.dimse import messages
from gateway.dimse.assembler import Assembler
from gateway.errors import ProtocolError
from gateway.ul import items, pdu
from gateway.ul.association import Association, Limits
from gateway.ul.events import Aborted, AssociateRequested, DataFragment
from gateway.ul.negotiation import answer_roles, negotiate, refusal
from gateway.ul.states import State
from tests.support.links import CT, EXPLICIT, IMPLICIT, VERIFICATION, Link, a_request, an_accept

LIMITS = Limits(max_length_received=4096, max_associate_length=4096)
_LENGTHS = [struct.pack(">L", n) for n in (0, 1, 2, 3, 5, 6, 100, 4096, 4097, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)]


@dataclass
class Outcome:
    trials: int = 0
    aborted: int = 0
    established: int = 0
    fragments: int = 0
    commands_refused: int = 0


def full_request() -> pdu.AssociateRQ:
    """A request with every item there is."""
    user = items.UserInformation(
        16384,
        "1.2.3",
        "TEST",
        items.AsynchronousOperations(5, 5),
        [items.RoleSelection(CT, scu=True, scp=True)],
        [items.ExtendedNegotiation(CT, b"\1\1")],
        [items.CommonExtendedNegotiation(CT, "1.2.840.10008.4.2", ["1.2.3.4"])],
        items.UserIdentity(2, b"user", b"pass", response_requested=True),
    )
    return a_request(user_information=user)


def corpus() -> list[tuple[Association, list[bytes]]]:
    """Associations in several states, with PDUs that are legal there first."""
    store, echo = messages.c_store_request(2, CT, "1.2.3").encode(), messages.c_echo_request(1).encode()
    answer = an_accept(full_request())
    answer.user_information = full_request().user_information
    data = [
        pdu.PData([pdu.PDV(3, True, True, store), pdu.PDV(3, False, True, bytes(64))]).encode(),
        pdu.PData([pdu.PDV(1, True, True, echo)]).encode(),
        pdu.PData([pdu.PDV(3, True, False, store[:40])]).encode()
        + pdu.PData([pdu.PDV(3, True, True, store[40:])]).encode(),
        pdu.ReleaseRQ().encode(),
        pdu.ReleaseRP().encode(),
        pdu.Abort(2, 1).encode(),
    ]
    opening = [full_request().encode(), a_request().encode(), answer.encode(), pdu.AssociateRJ(1, 1, 1).encode()]
    waiting = Association.acceptor(LIMITS)
    waiting.connected(0.0)
    asking = Association.requestor(LIMITS)
    asking.request(full_request(), 0.0)
    asking.connected(0.0)
    link = Link(LIMITS, LIMITS)
    link.open()
    releasing = Link(LIMITS, LIMITS)
    releasing.open()
    releasing.requestor.release(0.0)
    over = Link(LIMITS, LIMITS)
    over.open()
    over.acceptor.abort(0.0)
    return [
        (waiting, opening),
        (asking, [answer.encode(), *opening]),
        (link.acceptor, data),
        (link.acceptor, data),
        (releasing.requestor, data),
        (over.acceptor, data + opening),
    ]


def clone(prepared: Association) -> Association:
    association = Association.__new__(Association)
    association.__dict__.update(prepared.__dict__)
    association._head, association._body, association._out = bytearray(), bytearray(), []
    return association


def mutate(wire: bytes, other: bytes, rng: random.Random) -> bytes:
    """One to three changes: a byte, a bit, a length field, a cut, a splice, or nothing like a PDU at all."""
    mutable = bytearray(wire)
    pick = rng.random
    for _ in range(1 + int(pick() * 3)):
        size = len(mutable)
        how = pick()
        at = int(pick() * size)
        if how < 0.45:
            if size:
                mutable[at] = int(pick() * 256)
        elif how < 0.65:
            if size:
                mutable[at] ^= 1 << int(pick() * 8)
        elif how < 0.8:
            mutable[at : at + 4] = _LENGTHS[int(pick() * len(_LENGTHS))]
        elif how < 0.88:
            del mutable[at:]
        elif how < 0.94:
            mutable[at:] = other[int(pick() * len(other)) :]
        elif how < 0.98:
            del mutable[at : at + 1 + int(pick() * 8)]
        else:
            mutable = bytearray(rng.randbytes(1 + int(pick() * 80)))
    return bytes(mutable)


def run(trials: int, seed: int) -> Outcome:
    """Feed that many mutated PDUs; AssertionError or any other exception where the core misbehaves."""
    rng = random.Random(seed)
    prepared = corpus()
    outcome = Outcome()
    pick = rng.random
    for _ in range(trials):
        template, wires = prepared[int(pick() * len(prepared))]
        wire = mutate(wires[int(pick() * len(wires))], wires[int(pick() * len(wires))], rng)
        association = clone(template)
        if pick() < 0.7:
            events = association.receive(wire, 0.0)
        else:
            at = int(pick() * len(wire))
            events = association.receive(wire[:at], 0.0) + association.receive(wire[at:], 0.0)
        if events:
            check(association, events, outcome)
        assert len(association._head) < 6
        assert len(association._body) <= LIMITS.max_associate_length
        assert len(association._out) <= 1 + len(events)
    outcome.trials = trials
    return outcome


def check(association: Association, events: list[object], outcome: Outcome) -> None:
    """What has to be so after the association has reported these events; they are acted on as a gateway would."""
    assembler = Assembler(association.contexts)
    for event in events:
        kind = type(event)
        if kind is DataFragment:
            outcome.fragments += 1
            try:
                assembler.feed(event)  # type: ignore[arg-type]
            except ProtocolError:
                outcome.commands_refused += 1
                association.abort(0.0, 2, 6)
                break
        elif kind is Aborted and not event.by_peer:  # type: ignore[attr-defined]
            outcome.aborted += 1
            # Sta1 where the peer's own A-ABORT came right behind (AA-2).
            assert association.state in (State.Sta13, State.Sta1)
            assert association._out[-1][0] == pdu.ABORT
        elif kind is AssociateRequested:
            outcome.established += 1
            request = event.pdu  # type: ignore[attr-defined]
            refusal(request)
            if association.state is State.Sta3:
                answer = an_accept(request)
                answer.contexts = negotiate(request, {VERIFICATION: [IMPLICIT], CT: [EXPLICIT]}, as_scu={CT})
                answer.user_information.roles = answer_roles(request, answer.contexts, as_scu={CT})
                association.accept(answer, 0.0)
                for context_id in association.contexts:
                    association.send_data(context_id, False, b"x" * 100, True)
                sent = b"".join(association.data_to_send())
                assert sent[0] == pdu.ASSOCIATE_AC
