"""Associate, echo, store, release: both sides ours, in memory, over every slicing of the wire."""

from __future__ import annotations

import os

import pytest

from gateway.dimse import messages
from gateway.dimse.assembler import Assembler, DataSetFragment, MessageStarted
from gateway.dimse.command import Command
from gateway.ul.association import Association, Limits
from gateway.ul.events import DataFragment, Event, Released, ReleaseRequested
from tests.support.links import CT, Link


class Side:
    """One AE: puts messages together from the events of its association."""

    def __init__(self, association: Association) -> None:
        self.association = association
        self.assembler = Assembler(association.contexts)
        self.messages: list[tuple[Command, bytes]] = []

    def take(self, events: list[Event]) -> None:
        for event in events:
            assert isinstance(event, DataFragment)
            result = self.assembler.feed(event)
            if isinstance(result, MessageStarted):
                self.messages.append((result.command, b""))
            elif isinstance(result, DataSetFragment):
                command, data = self.messages[-1]
                self.messages[-1] = command, data + bytes(result.data)

    def send(self, context_id: int, command: Command, data: bytes | None = None) -> None:
        self.association.send_data(context_id, True, command.encode(), True)
        if data is not None:
            self.association.send_data(context_id, False, data, True)


@pytest.mark.parametrize("slice_size", [1, 3, 1000, 1 << 20])
@pytest.mark.parametrize("limit", [64, 16384, 0])
def test_associate_echo_store_release(slice_size: int, limit: int) -> None:
    link = Link(Limits(max_length_received=limit), Limits(max_length_received=64), slice_size)
    link.open()
    scu, scp = Side(link.requestor), Side(link.acceptor)

    echo = messages.c_echo_request(1)
    scu.send(1, echo)
    scp.take(link.to_acceptor())
    assert scp.messages.pop() == (echo, b"")
    scp.send(1, messages.c_echo_response(echo))
    scu.take(link.to_requestor())
    answer, _ = scu.messages.pop()
    assert (answer.status, answer.message_id_being_responded_to) == (0, 1)

    for number, size in enumerate((20_001, 0, 2), 2):
        store, data = messages.c_store_request(number, CT, f"1.2.{number}"), os.urandom(size)
        scu.send(3, store, data)
        scp.take(link.to_acceptor())
        assert scp.messages.pop() == (store, data)
        scp.send(3, messages.c_store_response(store))
        scu.take(link.to_requestor())
        answer, _ = scu.messages.pop()
        assert (answer.status, answer.affected_sop_instance_uid) == (0, f"1.2.{number}")

    assert scu.assembler.idle
    assert scp.assembler.idle
    link.requestor.release(0.0)
    assert link.to_acceptor() == [ReleaseRequested()]
    link.acceptor.respond_release(0.0)
    assert link.to_requestor() == [Released()]
    assert link.requestor.close_transport
    link.acceptor.eof(0.0)
    assert link.acceptor.close_transport


def test_messages_sent_without_waiting() -> None:
    """Several requests in one go, as under an asynchronous operations window."""
    link = Link()
    link.open()
    scu, scp = Side(link.requestor), Side(link.acceptor)
    sent = [(messages.c_store_request(n, CT, f"1.2.{n}"), bytes([n]) * n * 1000) for n in range(1, 6)]
    for command, data in sent:
        scu.send(3, command, data)
    scp.take(link.to_acceptor())
    assert scp.messages == sent
