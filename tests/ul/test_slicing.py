"""The same bytes give the same events, however they are cut: whole, byte by byte, at random; mutated or not."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ul import pdu
from gateway.ul.association import Association, Limits
from gateway.ul.events import AssociateRequested, DataFragment, Event
from tests.support import pdus
from tests.support.links import a_request, an_accept, cut, joined

LIMITS = Limits(max_length_received=2048, max_associate_length=4096)


def run(pieces: list[bytes], *, requestor: bool) -> tuple[list[Event], bytes, object, bool]:
    """Events, output, state and whether to close, for an acceptor that accepts, or a requestor that has asked."""
    association = Association.requestor(LIMITS) if requestor else Association.acceptor(LIMITS)
    if requestor:
        association.request(a_request(), 0.0)
    association.connected(0.0)
    events: list[Event] = []
    for piece in pieces:
        events += association.receive(piece, 0.0)
    return joined(events), b"".join(association.data_to_send()), association.state, association.close_transport


def established(pieces: list[bytes]) -> tuple[list[Event], bytes, object, bool]:
    association = Association.acceptor(LIMITS)
    association.connected(0.0)
    (event,) = association.receive(a_request().encode(), 0.0)
    assert isinstance(event, AssociateRequested)
    association.accept(an_accept(event.pdu), 0.0)
    association.data_to_send()
    events: list[Event] = []
    for piece in pieces:
        events += association.receive(piece, 0.0)
    return joined(events), b"".join(association.data_to_send()), association.state, association.close_transport


fragments = st.builds(pdu.PDV, st.sampled_from([1, 3, 3, 3, 3]), st.booleans(), st.booleans(), st.binary(max_size=60))
traffic = st.lists(
    st.one_of(
        st.builds(pdu.PData, st.lists(fragments, min_size=1, max_size=4)),
        st.builds(pdu.PData, st.lists(fragments, min_size=1, max_size=4)),
        pdus.any_pdu,
    ).map(lambda value: value.encode()),
    max_size=6,
).map(b"".join)
sizes = st.lists(st.integers(1, 40), max_size=60)
flips = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=3)


def mutated(wire: bytes, changes: list[tuple[int, int]]) -> bytes:
    mutable = bytearray(wire)
    for at, value in changes:
        if mutable:
            mutable[at % len(mutable)] = value
    return bytes(mutable)


@settings(deadline=None, max_examples=300)
@given(traffic, flips, sizes)
def test_an_established_association(wire: bytes, changes: list[tuple[int, int]], slices: list[int]) -> None:
    wire = mutated(wire, changes)
    whole = established([wire])
    assert established([wire[at : at + 1] for at in range(len(wire))]) == whole
    assert established(list(cut(wire, slices))) == whole


@settings(deadline=None, max_examples=100)
@given(st.one_of(pdus.requests, pdus.any_pdu), traffic, flips, sizes)
def test_establishment(first: pdu.PDU, rest: bytes, changes: list[tuple[int, int]], slices: list[int]) -> None:
    wire = mutated(first.encode() + rest, changes)
    for requestor in (False, True):
        whole = run([wire], requestor=requestor)
        assert run([wire[at : at + 1] for at in range(len(wire))], requestor=requestor) == whole
        assert run(list(cut(wire, slices)), requestor=requestor) == whole


@settings(deadline=None, max_examples=100)
@given(st.lists(st.lists(fragments, min_size=1, max_size=5), min_size=1, max_size=5), sizes)
def test_what_was_sent_is_what_comes_out(groups: list[list[pdu.PDV]], slices: list[int]) -> None:
    wire = b"".join(pdu.PData(group).encode() for group in groups)
    events, out, _, _ = established(list(cut(wire, slices)))
    expected = joined(
        DataFragment(value.context_id, value.is_command, value.is_last, memoryview(value.data))
        for group in groups
        for value in group
    )
    assert events == expected
    assert out == b""
