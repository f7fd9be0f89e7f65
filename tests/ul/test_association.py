"""PS3.8 §7 and §9.2: an association from both sides, in memory, with time as a number."""

from __future__ import annotations

import struct

import pytest

from gateway.errors import AssociationLost
from gateway.ul import pdu
from gateway.ul.association import Association, Limits
from gateway.ul.events import (
    Aborted,
    AssociateAccepted,
    AssociateRejected,
    AssociateRequested,
    Closed,
    DataFragment,
    Released,
    ReleaseRequested,
)
from gateway.ul.items import ContextResult, UserInformation
from gateway.ul.states import State
from tests.support.links import CT, EXPLICIT, Link, a_request, an_accept


def opened(**limits: float) -> Link:
    link = Link(Limits(**limits), Limits(**limits))  # type: ignore[arg-type]
    link.open()
    return link


def waiting(limits: Limits | None = None) -> Association:
    """An acceptor in Sta2."""
    association = Association.acceptor(limits)
    association.connected(0.0)
    return association


def asked() -> Association:
    """An acceptor in Sta3."""
    association = waiting()
    association.receive(a_request().encode(), 0.0)
    return association


def sent(association: Association) -> bytes:
    return b"".join(association.data_to_send())


def p_data(context_id: int, data: bytes, *, command: bool = False, last: bool = True) -> bytes:
    return pdu.PData([pdu.PDV(context_id, command, last, data)]).encode()


class TestPS38_7_1_Establishment:
    def test_accepted(self) -> None:
        link = Link()
        link.requestor.request(a_request(), 0.0)
        assert link.requestor.state is State.Sta4
        assert link.requestor.data_to_send() == []
        link.requestor.connected(0.0)
        assert link.requestor.state is State.Sta5
        link.acceptor.connected(0.0)
        (indication,) = link.to_acceptor()
        assert isinstance(indication, AssociateRequested)
        assert indication.pdu.calling_aet == "MODALITY"
        link.acceptor.accept(an_accept(indication.pdu), 0.0)
        (confirmation,) = link.to_requestor()
        assert isinstance(confirmation, AssociateAccepted)
        assert link.requestor.state is link.acceptor.state is State.Sta6
        assert link.acceptor.contexts.keys() == link.requestor.contexts.keys() == {1, 3}
        context = link.acceptor.contexts[3]
        assert (context.abstract_syntax, context.transfer_syntax) == (CT, EXPLICIT)
        assert (context.as_scu, context.as_scp) == (False, True)
        assert link.requestor.contexts[3].as_scu

    def test_each_side_learns_the_others_limit_not_the_one_in_its_own_pdu(self) -> None:
        link = Link(Limits(max_length_received=100_000), Limits(max_length_received=0))
        link.open()
        assert link.requestor.peer_max_length == 100_000
        assert link.acceptor.peer_max_length == 0

    def test_reserved_fields_go_back_as_they_came(self) -> None:
        wire = bytearray(a_request().encode())
        wire[10:26] = b"  GATEWAY\0\0\0\0\0\0\0"
        wire[42:74] = bytes(range(32))
        association = waiting()
        (event,) = association.receive(bytes(wire), 0.0)
        assert isinstance(event, AssociateRequested)
        association.accept(an_accept(event.pdu), 0.0)
        assert sent(association)[10:74] == wire[10:74]

    def test_rejected(self) -> None:
        link = Link()
        link.requestor.request(a_request(), 0.0)
        link.requestor.connected(0.0)
        link.acceptor.connected(0.0)
        link.to_acceptor()
        link.acceptor.reject(1, 1, 7, 0.0)
        assert link.acceptor.state is State.Sta13
        assert not link.acceptor.close_transport
        assert link.to_requestor() == [AssociateRejected(1, 1, 7)]
        assert link.requestor.close_transport
        assert "called AE title not recognized" in link.requestor.ended
        assert link.acceptor.eof(1.0) == []
        assert link.acceptor.close_transport

    @pytest.mark.parametrize("version", [0, 2, 0xFFFE])
    def test_protocol_version_without_bit_0(self, version: int) -> None:
        association = waiting()
        assert association.receive(a_request(protocol_version=version).encode(), 0.0) == [AssociateRejected(1, 2, 2)]
        assert sent(association) == pdu.AssociateRJ(1, 2, 2).encode()
        assert association.state is State.Sta13

    @pytest.mark.parametrize("version", [1, 3, 0xFFFF])
    def test_only_bit_0_of_the_protocol_version_is_tested(self, version: int) -> None:
        (event,) = waiting().receive(a_request(protocol_version=version).encode(), 0.0)
        assert isinstance(event, AssociateRequested)

    def test_no_connection_came_about(self) -> None:
        association = Association.requestor()
        association.request(a_request(), 0.0)
        assert association.eof(0.0) == [Closed("the peer closed the connection")]
        assert association.state is State.Sta1

    def test_given_up_while_connecting(self) -> None:
        association = Association.requestor()
        association.request(a_request(), 0.0)
        association.abort(0.0)
        assert association.close_transport
        assert sent(association) == b""
        assert association.eof(0.0) == []


class TestPS38_7_2_Release:
    def test_requestor_releases(self) -> None:
        link = opened()
        link.requestor.release(0.0)
        assert link.requestor.state is State.Sta7
        assert link.to_acceptor() == [ReleaseRequested()]
        link.acceptor.respond_release(0.0)
        assert link.acceptor.state is State.Sta13
        assert link.to_requestor() == [Released()]
        assert link.requestor.close_transport
        assert link.requestor.state is State.Sta1

    def test_data_still_flow_towards_the_one_who_asked(self) -> None:
        link = opened()
        link.requestor.release(0.0)
        link.to_acceptor()
        link.acceptor.send_data(3, True, b"late", True)  # Sta8, AR-7
        assert link.to_requestor() == [DataFragment(3, True, True, memoryview(b"late"))]  # Sta7, AR-6

    def test_no_data_behind_a_release_request(self) -> None:
        link = opened()
        link.requestor.release(0.0)
        with pytest.raises(RuntimeError):
            link.requestor.send_data(3, True, b"late", True)
        link.to_acceptor()
        (event,) = link.acceptor.receive(p_data(3, b"late"), 0.0)
        assert isinstance(event, Aborted)
        assert (event.source, event.reason, event.by_peer) == (2, 2, False)

    @pytest.mark.parametrize("early", [True, False])
    def test_collision(self, early: bool) -> None:
        link = opened()
        link.requestor.release(0.0)
        link.acceptor.release(0.0)
        to_requestor, to_acceptor = sent(link.acceptor), sent(link.requestor)
        assert link.requestor.receive(to_requestor, 0.0) == [ReleaseRequested()]
        assert link.acceptor.receive(to_acceptor, 0.0) == [ReleaseRequested()]
        assert (link.requestor.state, link.acceptor.state) == (State.Sta9, State.Sta10)
        if early:
            link.acceptor.respond_release(0.0)
            assert sent(link.acceptor) == b""
        link.requestor.respond_release(0.0)
        assert link.requestor.state is State.Sta11
        assert link.to_acceptor() == [Released()]
        if not early:
            assert link.acceptor.state is State.Sta12
            link.acceptor.respond_release(0.0)
        assert link.acceptor.state is State.Sta13
        assert link.to_requestor() == [Released()]
        assert link.requestor.close_transport


class TestPS38_7_3_Abort:
    def test_by_the_user(self) -> None:
        link = opened()
        link.requestor.abort(0.0)
        assert link.requestor.state is State.Sta13
        (event,) = link.to_acceptor()
        assert isinstance(event, Aborted)
        assert (event.source, event.reason, event.by_peer) == (0, 0, True)
        assert link.acceptor.close_transport
        assert link.requestor.eof(0.0) == []

    def test_by_the_provider_with_its_reason(self) -> None:
        link = opened()
        link.acceptor.abort(0.0, source=2, reason=5, detail="a data set that no command announced")
        (event,) = link.to_requestor()
        assert isinstance(event, Aborted)
        assert (event.source, event.reason, event.by_peer) == (2, 5, True)
        assert "upper layer" in event.detail
        assert link.acceptor.ended == "a data set that no command announced"

    def test_once_is_enough(self) -> None:
        link = opened()
        link.acceptor.abort(0.0)
        link.acceptor.abort(0.0)
        assert sent(link.acceptor) == pdu.Abort().encode()

    def test_before_anything_was_asked(self) -> None:
        association = waiting()
        association.abort(1.0, detail="the gateway stops")
        assert association.close_transport
        assert sent(association) == b""
        assert association.ended == "the gateway stops"

    def test_received_before_anything_was_asked(self) -> None:
        association = waiting()
        (event,) = association.receive(pdu.Abort(0, 0).encode(), 0.0)
        assert isinstance(event, Aborted)
        assert event.by_peer
        assert association.close_transport

    def test_in_the_middle_of_a_pdu_the_rest_of_it_is_ignored(self) -> None:
        for size in range(6, 30):
            link = opened()
            wire = pdu.PData([pdu.PDV(3, False, False, b"a" * 7), pdu.PDV(3, False, True, b"b" * 5)]).encode()
            link.acceptor.receive(wire[:size], 0.0)
            link.acceptor.abort(0.0)
            assert link.acceptor.receive(wire[size:] + p_data(3, b"more") + pdu.Abort().encode(), 0.0) == []
            assert link.acceptor.close_transport, size
            assert sent(link.acceptor) == pdu.Abort().encode()

    def test_in_the_middle_of_a_release_request(self) -> None:
        link = opened()
        wire = pdu.ReleaseRQ().encode()
        link.acceptor.receive(wire[:8], 0.0)
        link.acceptor.abort(0.0)
        assert link.acceptor.receive(wire[8:], 0.0) == []
        assert link.acceptor.state is State.Sta13
        assert sent(link.acceptor) == pdu.Abort().encode()

    def test_the_connection_went(self) -> None:
        link = opened()
        assert link.acceptor.eof(0.0) == [Closed("the peer closed the connection")]
        assert link.acceptor.state is State.Sta1
        assert link.acceptor.eof(0.0) == []
        assert link.acceptor.receive(b"late", 0.0) == []
        with pytest.raises(AssociationLost, match="closed the connection"):
            link.acceptor.send_data(3, True, b"", True)
        with pytest.raises(AssociationLost):
            link.acceptor.connected(0.0)

    def test_the_connection_went_before_a_request(self) -> None:
        association = waiting()
        assert association.eof(0.0) == [Closed("the peer closed the connection")]


class TestPS38_9_1_5_Deadlines:
    def test_artim_while_no_request_comes(self) -> None:
        association = Association.acceptor(Limits(artim_timeout=10))
        assert association.deadline is None
        association.connected(5.0)
        assert association.deadline == 15.0
        association.receive(a_request().encode()[:50], 14.0)
        assert association.deadline == 15.0
        assert association.timeout(14.9) == []
        assert association.timeout(15.0) == [Closed("no A-ASSOCIATE-RQ came in 10 s")]
        assert association.close_transport
        assert sent(association) == b""

    def test_artim_stops_with_the_request(self) -> None:
        assert asked().deadline is None

    @pytest.mark.parametrize("end", ["reject", "release", "abort", "violation"])
    def test_artim_while_the_peer_does_not_close(self, end: str) -> None:
        association = asked()
        if end == "reject":
            association.reject(1, 1, 1, 7.0)
        else:
            assert association.requested is not None
            association.accept(an_accept(association.requested), 1.0)
        if end == "release":
            association.receive(pdu.ReleaseRQ().encode(), 6.0)
            association.respond_release(7.0)
        elif end == "abort":
            association.abort(7.0)
        elif end == "violation":
            association.receive(b"GET / HTTP/1.1\r\n", 7.0)
        assert association.deadline == 37.0
        assert association.timeout(37.0) == []
        assert association.close_transport
        assert association.state is State.Sta1
        assert association.deadline is None

    def test_idle(self) -> None:
        link = opened(idle_timeout=100)
        link.acceptor.receive(p_data(3, b"x"), 50.0)
        assert link.acceptor.deadline == 150.0
        link.acceptor.operations = 1
        assert link.acceptor.deadline is None
        assert link.acceptor.timeout(151.0) == []
        link.acceptor.send_data(3, True, b"answer", True)
        link.acceptor.operations = 0
        assert link.acceptor.timeout(200.0) == []
        assert link.acceptor.deadline == 300.0
        (event,) = link.acceptor.timeout(300.0)
        assert event == Aborted(0, 0, by_peer=False, detail="nothing came in 100 s")
        assert link.acceptor.data_to_send()[-1] == pdu.Abort(0, 0).encode()

    def test_idle_turned_off(self) -> None:
        assert opened(idle_timeout=0).acceptor.deadline is None

    def test_no_answer_to_a_request(self) -> None:
        association = Association.requestor(Limits(response_timeout=20))
        association.request(a_request(), 0.0)
        association.connected(1.0)
        assert association.deadline == 21.0
        (event,) = association.timeout(21.0)
        assert event == Aborted(0, 0, by_peer=False, detail="no answer to our request in 20 s")

    def test_no_answer_to_a_release(self) -> None:
        link = opened(response_timeout=20)
        link.requestor.release(3.0)
        (event,) = link.requestor.timeout(23.0)
        assert event == Aborted(0, 0, by_peer=False, detail="no answer to our release in 20 s")


class TestPS38_9_3_5_SendingData:
    @pytest.mark.parametrize("limit", [64, 65, 128, 16384, 0])
    @pytest.mark.parametrize("size", [0, 1, 57, 58, 59, 116, 117, 5000, 40000])
    def test_the_peers_limit_is_obeyed(self, limit: int, size: int) -> None:
        link = Link(Limits(max_length_received=limit))
        link.open()
        data = bytes(range(256)) * 157
        link.requestor.send_data(3, False, memoryview(data)[:size], True)
        wire = sent(link.requestor)
        at, got = 0, b""
        while at < len(wire):
            length = struct.unpack_from(">L", wire, at + 2)[0]
            assert not limit or length <= limit
            (value,) = pdu.PData.decode(wire[at + 6 : at + 6 + length]).values
            got += value.data
            at += 6 + length
            assert value.is_last == (at == len(wire))
            assert value.is_last or len(value.data) % 2 == 0
        assert got == data[:size]

    def test_large_data_are_not_copied(self) -> None:
        link = opened()
        data = bytes(1_000_000)
        link.requestor.send_data(3, False, data, True)
        views = [part for part in link.requestor.data_to_send() if isinstance(part, memoryview)]
        assert sum(map(len, views)) == len(data)
        assert all(view.obj is data for view in views)
        small = bytes(10_000)
        link.requestor.send_data(3, False, small, False)
        assert link.requestor.data_to_send()[1] is small

    def test_a_context_that_was_not_accepted(self) -> None:
        with pytest.raises(RuntimeError, match="context 5 was not accepted"):
            opened().requestor.send_data(5, False, b"", True)


class TestMisuse:
    def test_methods_in_the_wrong_state(self) -> None:
        association = Association.acceptor()
        for call in (
            lambda: association.receive(b"x", 0.0),
            lambda: association.release(0.0),
            lambda: association.respond_release(0.0),
            lambda: association.reject(1, 1, 1, 0.0),
            lambda: association.send_data(1, True, b"", True),
        ):
            with pytest.raises(RuntimeError):
                call()
        association.abort(0.0)
        assert association.data_to_send() == []

    def test_methods_once_all_is_over(self) -> None:
        link = opened()
        link.requestor.abort(0.0)
        link.to_acceptor()
        for call in (
            lambda: link.acceptor.release(0.0),
            lambda: link.acceptor.respond_release(0.0),
            lambda: link.requestor.release(0.0),
            lambda: link.requestor.send_data(3, True, b"", True),
        ):
            with pytest.raises(AssociationLost, match="abort"):
                call()


class TestPS38_9_2_3_Violations:
    """What a peer may not do, and the A-ABORT that it gets."""

    @pytest.mark.parametrize("step", [1, 100])
    def test_tls_where_an_association_was_to_begin(self, step: int) -> None:
        """It is closed at once, and without an A-ABORT: who speaks TLS reads none."""
        association, hello = waiting(), b"\x16\x03\x01\x02\x00\x01\x00\x01"
        events = [event for at in range(0, 8, step) for event in association.receive(hello[at : at + step], 0.0)]
        assert events == [Closed("the peer speaks TLS on the port for plain DICOM")]
        assert association.close_transport
        assert sent(association) == b""

    @pytest.mark.parametrize(
        ("wire", "reason"),
        [
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1),
            (b"\x16\x03\x01\x02\x00\x01", 1),
            (bytes(6), 1),
            (a_request().encode(), 2),
            (an_accept(a_request()).encode(), 2),
            (pdu.AssociateRJ(1, 1, 1).encode(), 2),
            (pdu.ReleaseRP().encode(), 2),
            (struct.pack(">BxL", 4, 0), 6),
            (struct.pack(">BxL", 4, 5) + bytes(5), 6),
            (struct.pack(">BxL", 4, 262145) + bytes(20), 6),
            (struct.pack(">BxL", 4, 0xFFFFFFFF) + bytes(20), 6),
            (struct.pack(">BxLLBB", 4, 6, 0, 3, 0), 6),
            (struct.pack(">BxLLBB", 4, 6, 1, 3, 0), 6),
            (struct.pack(">BxLLBB", 4, 6, 3, 3, 0) + b"x", 6),
            (struct.pack(">BxLLBB", 4, 100, 0xFFFFFFFF, 3, 0) + b"x", 6),
            (struct.pack(">BxLLBB", 4, 9, 2, 3, 0) + b"xxx", 6),
            (p_data(5, b"x"), 6),
            (p_data(0, b"x"), 6),
            (struct.pack(">BxL", 5, 5) + bytes(5), 6),
            (struct.pack(">BxL", 7, 0), 6),
        ],
    )
    def test_in_sta6(self, wire: bytes, reason: int) -> None:
        for step in (len(wire), 1):
            link = opened()
            events = []
            for at in range(0, len(wire), step):
                events += link.acceptor.receive(wire[at : at + step], 0.0)
            assert [type(event) for event in events] == [Aborted]
            event = events[0]
            assert isinstance(event, Aborted)
            assert (event.source, event.reason, event.by_peer) == (2, reason, False)
            assert event.detail
            assert sent(link.acceptor) == pdu.Abort(2, reason).encode()
            assert link.acceptor.state is State.Sta13

    @pytest.mark.parametrize(
        "wire",
        [
            b"GET / HTTP/1.1\r\n",
            p_data(1, b"x"),
            pdu.ReleaseRQ().encode(),
            pdu.AssociateRJ(1, 1, 1).encode(),
            struct.pack(">BxL", 1, 0),
            struct.pack(">BxL", 1, 262145),
            struct.pack(">BxL", 1, 10) + bytes(10),
        ],
    )
    def test_in_sta2_it_is_said_as_service_user(self, wire: bytes) -> None:
        association = waiting()
        (event,) = association.receive(wire, 0.0)
        assert isinstance(event, Aborted)
        assert (event.source, event.reason, event.by_peer) == (0, 0, False)
        assert sent(association) == pdu.Abort(0, 0).encode()

    def test_in_sta13_what_can_be_read_is_ignored(self) -> None:
        association = asked()
        association.reject(1, 1, 1, 0.0)
        association.data_to_send()
        assert (
            association.receive(p_data(1, b"x") + pdu.ReleaseRQ().encode() + an_accept(a_request()).encode(), 0) == []
        )
        assert sent(association) == b""
        assert association.receive(pdu.Abort().encode(), 0.0) == []
        assert association.close_transport

    @pytest.mark.parametrize("wire", [a_request().encode(), b"GET / HTTP/1.1"])
    def test_in_sta13_one_abort_then_silence(self, wire: bytes) -> None:
        association = asked()
        association.reject(1, 1, 1, 0.0)
        association.data_to_send()
        for _ in range(10):
            assert association.receive(wire, 0.0) == []
        assert sent(association) == pdu.Abort(2, 2).encode()
        assert association.timeout(1e9) == []
        assert association.close_transport

    def test_data_in_sta3(self) -> None:
        association = asked()
        (event,) = association.receive(p_data(1, b"x"), 0.0)
        assert isinstance(event, Aborted)
        assert (event.source, event.reason) == (2, 2)

    def test_an_unreadable_accept(self) -> None:
        association = Association.requestor()
        association.request(a_request(), 0.0)
        association.connected(0.0)
        (event,) = association.receive(struct.pack(">BxL", 2, 70) + bytes(70), 0.0)
        assert isinstance(event, Aborted)
        assert (event.source, event.reason) == (2, 6)

    def test_nothing_is_kept_by_a_declared_length(self) -> None:
        association = waiting(Limits(max_associate_length=1 << 31))
        association.receive(struct.pack(">BxL", 1, 1 << 31), 0.0)
        assert len(association._body) == 0
        link = opened()
        link.acceptor.abort(0.0)
        assert link.acceptor.receive(struct.pack(">BxL", 4, 0xFFFFFFFF) + bytes(1000), 0.0) == []


class TestPS38_9_3_1_Streaming:
    def test_fragments_are_slices_of_what_was_received(self) -> None:
        link = opened()
        wire = bytearray(p_data(3, b"abcdefgh"))
        (event,) = link.acceptor.receive(memoryview(wire)[:16], 0.0)
        assert isinstance(event, DataFragment)
        assert (event.is_last, bytes(event.data)) == (False, b"abcd")
        assert event.data.obj is wire
        (event,) = link.acceptor.receive(wire[16:], 0.0)
        assert event == DataFragment(3, False, True, memoryview(b"efgh"))

    def test_empty_pdvs(self) -> None:
        link = opened()
        wire = pdu.PData([pdu.PDV(1, True, True, b"c"), pdu.PDV(3, False, False, b""), pdu.PDV(3, False, True, b"")])
        kinds = [(e.context_id, e.is_command, e.is_last) for e in link.acceptor.receive(wire.encode(), 0.0)]  # type: ignore[union-attr]
        assert kinds == [(1, True, True), (3, False, False), (3, False, True)]
        (event,) = link.acceptor.receive(p_data(3, b""), 0.0)
        assert event == DataFragment(3, False, True, memoryview(b""))

    def test_unused_bits_of_the_control_header_are_not_tested(self) -> None:
        (event,) = opened().acceptor.receive(struct.pack(">BxLLBB", 4, 7, 3, 3, 0xFE) + b"x", 0.0)
        assert event == DataFragment(3, False, True, memoryview(b"x"))

    def test_many_pdus_in_one_buffer_and_a_release(self) -> None:
        wire = p_data(3, b"a", last=False) + p_data(3, b"b") + pdu.ReleaseRQ().encode()
        assert [type(event) for event in opened().acceptor.receive(wire, 0.0)] == [
            DataFragment,
            DataFragment,
            ReleaseRequested,
        ]

    def test_the_limit_itself_is_allowed(self) -> None:
        link = Link(Limits(max_length_received=1000))
        link.open()
        assert len(link.acceptor.receive(p_data(3, bytes(994)), 0.0)) == 1
        assert [type(event) for event in link.acceptor.receive(p_data(3, bytes(995)), 0.0)] == [Aborted]


def test_an_accept_that_names_an_unknown_context_is_taken_without_it() -> None:
    association = Association.requestor()
    association.request(a_request(), 0.0)
    association.connected(0.0)
    answer = pdu.AssociateAC("", "", [ContextResult(9, 0, EXPLICIT)], UserInformation(max_length=4096))
    (event,) = association.receive(answer.encode(), 0.0)
    assert isinstance(event, AssociateAccepted)
    assert association.contexts == {}
