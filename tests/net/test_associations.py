"""Records of associations: what was asked, what was granted, how it ended; bounded, whoever calls."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
import pytest

from gateway.errors import AssociationLost, AssociationRefused
from gateway.net import associations
from gateway.net.acceptor import Acceptor
from gateway.net.association_record import AssociationRecord, as_json, from_json
from gateway.net.associations import MAX_RECORDS, OpenAssociations, encoded, read_records
from gateway.net.message_trace import MAX_FIRST, MAX_LAST, MessageTrace
from gateway.net.session import Refusal, Session
from gateway.scu.node import associate
from gateway.ul.negotiation import CALLING_AE_TITLE_NOT_RECOGNIZED
from gateway.ul.pdu import AssociateRQ
from tests.support.nodes import CT, EXPLICIT, IMPLICIT, AskedNode, asked_node
from tests.support.waiting import until
from tests.web.test_modalities_page import record

CONTEXTS = ((CT, (EXPLICIT, IMPLICIT)), ("1.2.3", (IMPLICIT,)))


def kept(acceptor: Acceptor) -> list[AssociationRecord]:
    return read_records(acceptor._open.records())


async def test_open_and_ended() -> None:
    async with asked_node({CT: [IMPLICIT]}) as asked:
        async with associate(asked.node, CONTEXTS):
            (now,) = kept(asked.acceptor)
            assert (now.outcome, now.ended_at, now.calling_aet, now.called_aet) == ("open", 0, "GATEWAY", "PEER")
        (then,) = await until(lambda: [each for each in kept(asked.acceptor) if each.ended_at])
    assert then.outcome == "released"
    assert not then.is_trouble
    assert [(each.abstract_syntax, each.result, each.transfer_syntax) for each in then.contexts] == [
        (CT, 0, IMPLICIT),
        ("1.2.3", 3, ""),
    ]
    assert then.contexts[0].transfer_syntaxes == (EXPLICIT, IMPLICIT)
    assert "DICOMGW" in then.implementation
    assert from_json(msgspec.json.decode(msgspec.json.encode(as_json(then)))) == then


async def test_rejected() -> None:
    async with asked_node({CT: [IMPLICIT]}) as asked:
        asked.refusal = Refusal(CALLING_AE_TITLE_NOT_RECOGNIZED, "nobody knows it")
        with pytest.raises(AssociationRefused):
            async with associate(asked.node, CONTEXTS):
                pass
        (found,) = await until(lambda: kept(asked.acceptor))
    assert (found.outcome, found.code, found.detail) == ("rejected", "1.1.3", "nobody knows it")
    assert [each.result for each in found.contexts] == [-1, -1]
    assert found.is_trouble


@pytest.mark.parametrize(
    ("sent", "outcome", "code"),
    [
        (b"\x16\x03\x01\x00\x05hello", "failed", "tls"),
        (b"GET / HTTP/1.1\r\n\r\n", "aborted", ""),
        (b"", None, ""),
    ],
)
async def test_what_is_no_association(sent: bytes, outcome: str | None, code: str) -> None:
    async with asked_node({CT: [IMPLICIT]}) as asked:
        reader, writer = await asyncio.open_connection(*asked.acceptor.address)
        writer.write(sent)
        if not sent:
            writer.close()
        await reader.read(10)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        await until(lambda: not asked.acceptor.associations())
        found = kept(asked.acceptor)
    assert [(each.outcome, each.code) for each in found] == ([] if outcome is None else [(outcome, code)])


async def test_messages_of_failed_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    admit = AskedNode.admit

    async def traced(self: AskedNode, session: Session, request: AssociateRQ) -> object:
        session.trace = MessageTrace()
        return await admit(self, session, request)

    monkeypatch.setattr(AskedNode, "admit", traced)
    async with asked_node({CT: [EXPLICIT]}) as asked:
        for fails in (False, True):
            with contextlib.suppress(AssociationLost):
                async with associate(asked.node, CONTEXTS) as association:
                    answer = await association.store(association.context_for(CT), "1.2.3.99", [b"secret data"])
                    assert answer.status == 0
                    if fails:
                        await association.abort()
        found = await until(lambda: [each for each in kept(asked.acceptor) if each.outcome == "aborted"])
        good = [each for each in kept(asked.acceptor) if each.outcome == "released"]
    assert [each.trace for each in good] == [()]
    lines = [(each.by_peer, each.text, each.bytes) for each in found[0].trace]
    assert lines == [
        (False, "A-ASSOCIATE-AC", 0),
        (True, f"C-STORE-RQ #1 {CT}", 0),
        (True, "data set", 12),
        (False, f"C-STORE-RSP #1 status 0000 {CT}", 0),
        (True, "aborted", 0),
    ]
    assert from_json(as_json(found[0])) == found[0]
    assert "1.2.3.99" not in str(found)


class TestBounds:
    def test_a_flood_of_good_ones_does_not_push_out_the_bad(self) -> None:
        ring = associations._Ring()
        for number in range(2 * MAX_RECORDS):
            ring.add(encoded(record(number)))
        assert [each.number for each in read_records(ring.records)] == [
            *range(2 * MAX_RECORDS - 1, MAX_RECORDS - 1, -1)
        ]

    def test_records_that_are_long(self) -> None:
        contexts = tuple(record().contexts[0] for _ in range(128))
        ring = associations._Ring()
        for number in range(MAX_RECORDS):
            ring.add(encoded(record(number, contexts=contexts[:60])))
        assert sum(map(len, ring.records)) <= associations._MAX_BYTES
        assert 5 < len(ring.records) < MAX_RECORDS
        assert read_records([encoded(record(contexts=contexts * 4))])[0].contexts == ()

    def test_messages_of_a_long_association(self) -> None:
        trace = MessageTrace()
        for number in range(1000):
            trace.add(str(number), by_peer=True)
        assert len(trace.lines) == MAX_FIRST + MAX_LAST
        assert (trace.lines[0].text, trace.lines[-1].text) == ("0", "999")

    def test_nothing_is_open(self) -> None:
        assert OpenAssociations().records() == []
