"""Sending: what is proposed, what becomes of each instance, and nodes that do not behave."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pydicom
import pytest

from gateway.dicom import uids
from gateway.ingest.files import Source, look_into
from gateway.net.session import Refusal
from gateway.scu.store import Item, send
from gateway.scu.succession import MAX_FRUITLESS
from gateway.scu.transfer import Origin, Sent, plan
from gateway.storage.memory import MemoryStore
from gateway.ul import negotiation
from tests.support.datasets import encode, instance, sample
from tests.support.nodes import CT, EXPLICIT, IMPLICIT, Message, asked_node
from tests.support.waiting import until

MR = "1.2.840.10008.5.1.4.1.1.4"
JPEG = "1.2.840.10008.1.2.4.50"
BIG = "1.2.840.10008.1.2.2"
MPEG2 = "1.2.840.10008.1.2.4.100"


def item(uid: str, data: bytes = b"some bytes", sop_class: str = CT, syntax: str = EXPLICIT, before: int = 0) -> Item:
    store = MemoryStore()
    store.put(uid, bytes(before) + data)
    return Item(uid, sop_class, uid, syntax, lambda: store.open(uid), before, before + len(data))


def items(count: int) -> list[Item]:
    return [item(f"1.{number}") for number in range(count)]


def outcomes(sent: list[Sent]) -> Counter[int | None]:
    return Counter(one.status for one in sent)


class TestPlan:
    def test_each_syntax_as_it_is_and_what_it_can_become(self):
        assert plan({CT: [BIG, EXPLICIT, BIG], MR: [MPEG2], "1.2.3": [JPEG]}) == [
            [
                *[(CT, (BIG,)), (CT, (EXPLICIT,)), (CT, (IMPLICIT,)), (MR, (MPEG2,))],
                *[("1.2.3", (JPEG,)), ("1.2.3", (EXPLICIT,)), ("1.2.3", (IMPLICIT,))],
            ]
        ]

    def test_no_more_than_an_association_can_have(self):
        plans = plan({f"1.2.{n}": [EXPLICIT] for n in range(150)})
        assert [len(proposals) for proposals in plans] == [128, 128, 44]
        classes = [uid for proposals in plans for uid in dict.fromkeys(uid for uid, _ in proposals)]
        assert classes == [f"1.2.{n}" for n in range(150)]

    def test_nothing(self):
        assert plan({}) == []


class TestSending:
    async def test_every_instance_arrives_as_it_is_stored(self):
        data = {f"1.{n}": bytes([n]) * (n * 700_000) for n in range(5)}
        async with asked_node({CT: [EXPLICIT]}) as asked:
            sent = await send(asked.node, [item(uid, value, before=132) for uid, value in data.items()])
        assert [one.ok for one in sent] == [True] * 5
        assert {m.command.affected_sop_instance_uid: m.data for m in asked.messages} == data

    async def test_over_several_associations_with_the_window_used(self):
        waiting: list[Message] = []
        go_on = asyncio.Event()

        async def later(message: Message) -> None:
            waiting.append(message)
            if len(waiting) == 12:
                go_on.set()
            await go_on.wait()
            message.respond()

        async with asked_node({CT: [EXPLICIT]}, window=4) as asked:
            asked.answer = later
            sent = await send(asked.node, items(30), associations=3, window=9)
        assert outcomes(sent) == {0: 30}
        assert asked.most_at_once == 3

    @pytest.mark.case("case 06 what is of odd length is sent on in fragments of even length")
    async def test_a_data_set_of_odd_length_is_padded(self):
        odd = encode(instance(PatientComments="abc"), EXPLICIT).replace(b"LT\x04\0abc ", b"LT\x03\0abc")
        assert len(odd) % 2
        async with asked_node({CT: [EXPLICIT]}) as asked:
            sent = await send(asked.node, [item("1.1", odd)])
        assert outcomes(sent) == {0: 1}
        assert asked.messages[0].data == odd.replace(b"LT\x03\0abc", b"LT\x04\0abc ")

    async def test_re_encoded_where_only_that_is_accepted(self):
        data = {syntax: encode(instance(), syntax) for syntax in (EXPLICIT, BIG, IMPLICIT)}
        async with asked_node({CT: [IMPLICIT]}) as asked:
            sent = await send(asked.node, [item(f"1.{n}", data[s], syntax=s) for n, s in enumerate(data)])
        assert outcomes(sent) == {0: 3}
        lengths = {len(message.data) for message in asked.messages}
        assert all(message.context.transfer_syntax == IMPLICIT for message in asked.messages)
        assert len(data[IMPLICIT]) in lengths

    async def test_what_is_not_accepted_is_said_and_the_rest_goes(self):
        async with asked_node({CT: [EXPLICIT]}) as asked:
            sent = await send(asked.node, [item("1", syntax=MPEG2), item("2"), item("3", sop_class=MR)])
        by_name = {one.item.name: one for one in sent}
        assert by_name["2"].ok
        assert "the peer does not accept CT Image Storage in MPEG2 Main Profile" in by_name["1"].detail
        assert by_name["3"].detail == "the peer does not accept MR Image Storage"

    async def test_decoded_where_only_that_is_accepted(self):
        file = sample("MR_small_RLE.dcm")
        before = pydicom.dcmread(file)
        found = look_into(Source("it", lambda: file.open("rb")))
        assert found is not None
        meta = found.meta
        one = Item("it", MR, "1.1", meta.transfer_syntax_uid, found.open, meta.data_set_offset, found.size)
        async with asked_node({MR: [IMPLICIT]}) as asked:
            sent = await send(asked.node, [one])
        assert outcomes(sent) == {0: 1}
        after = pydicom.dcmread(BytesIO(asked.messages[0].data), force=True)
        after.file_meta.TransferSyntaxUID = IMPLICIT
        assert (after.pixel_array == before.pixel_array).all()

    @pytest.mark.case("files without preamble or group 0002 are taken where they can be read")
    async def test_a_bare_data_set(self, tmp_path: Path):
        file = tmp_path / "bare"
        file.write_bytes(data := encode(instance(SOPInstanceUID="1.1"), IMPLICIT))
        found = look_into(Source("it", lambda: file.open("rb")))
        assert found is not None
        assert (found.sop_class_uid, found.sop_instance_uid) == (CT, "1.1")
        one = Item("it", CT, "1.1", found.meta.transfer_syntax_uid, found.open, found.meta.data_set_offset, found.size)
        async with asked_node({CT: [IMPLICIT]}) as asked:
            assert outcomes(await send(asked.node, [one])) == {0: 1}
        assert asked.messages[0].data == data

    async def test_the_status_and_its_comment(self):
        async with asked_node({CT: [EXPLICIT]}) as asked:
            asked.answer = lambda message: message.respond(0xA700, "disk full")
            (sent,) = await send(asked.node, items(1))
            asked.answer = lambda message: message.respond(0xB000)
            (warned,) = await send(asked.node, items(1))
        assert (sent.ok, sent.status, sent.detail) == (False, 0xA700, "A700H out of resources: disk full")
        assert (warned.ok, warned.status) == (True, 0xB000)

    async def test_on_behalf_of_a_move(self):
        async with asked_node({CT: [EXPLICIT]}) as asked:
            await send(asked.node, items(1), origin=Origin(1, "MOVER", 7))
        command = asked.messages[0].command
        assert (command.priority, command.move_originator_aet, command.move_originator_message_id) == (1, "MOVER", 7)

    async def test_what_cannot_be_read_is_said_and_the_rest_goes(self):
        def missing() -> None:
            raise OSError("the file is gone")

        bad = Item("bad", CT, "1.9", EXPLICIT, missing, 0, 10)  # type: ignore[arg-type]
        async with asked_node({CT: [EXPLICIT]}) as asked:
            sent = await send(asked.node, [*items(3), bad, *items(3)], associations=1)
        assert outcomes(sent) == {0: 6, None: 1}
        assert asked.associations == 1

    async def test_one_that_ends_too_early_costs_an_association_and_no_other(self):
        whole = item("1.9", bytes(3 << 20))
        cut = Item("cut", CT, "1.9", EXPLICIT, whole.open, 0, 4 << 20)
        async with asked_node({CT: [EXPLICIT]}) as asked:
            sent = await send(asked.node, [*items(3), cut, *items(3)], associations=1)
        assert outcomes(sent) == {0: 6, None: 1}
        assert [one.detail for one in sent if not one.ok] == [
            "cannot be read: the data set ends at offset 3145728, not at 4194304"
        ]
        assert (asked.associations, asked.lost) == (2, 1)


class TestTroubles:
    async def test_it_refuses(self):
        async with asked_node({}) as asked:
            asked.refusal = Refusal(negotiation.LOCAL_LIMIT_EXCEEDED, "full")
            sent = await send(asked.node, items(5))
        assert outcomes(sent) == {None: 5}
        assert {one.detail for one in sent} == {"PEER: rejected for now: local limit exceeded"}

    async def test_it_never_answers(self):
        async with asked_node({CT: [EXPLICIT]}) as asked:
            asked.answer = lambda message: None
            asked.node = replace(asked.node, response_timeout=0.1)
            sent = await send(asked.node, items(20), associations=2)
        assert outcomes(sent) == {None: 20}
        assert {one.detail for one in sent} == {"PEER did not answer C-STORE-RQ within 0.1 s"}
        assert asked.associations == 2  # Who did not answer once is not asked twenty times.

    async def test_it_never_accepts(self):
        async with asked_node({CT: [EXPLICIT]}) as asked:
            asked.silent = True
            asked.node = replace(asked.node, association_timeout=0.5)
            sent = await send(asked.node, items(5), associations=2)
        assert outcomes(sent) == {None: 5}
        assert {one.detail for one in sent} == {"PEER: no answer to our request in 0.5 s"}

    async def test_it_takes_nothing(self):
        """More than the kernel buffers, to somebody who reads no further once the first instance begins."""
        many = [item(f"1.{number}", bytes(6 << 20)) for number in range(3)]
        async with asked_node({CT: [EXPLICIT]}) as asked:
            asked.begin = lambda session: session.link.pause_reading(True)
            asked.node = replace(asked.node, response_timeout=0.2)
            sent = await send(asked.node, many, associations=1)
        assert outcomes(sent) == {None: 3}

    async def test_it_is_slow_and_others_are_not(self):
        go_on = asyncio.Event()

        async def later(message: Message) -> None:
            await go_on.wait()
            message.respond()

        async with asked_node({CT: [EXPLICIT]}) as slow, asked_node({CT: [EXPLICIT]}) as quick:
            slow.answer = later
            sending = asyncio.ensure_future(send(slow.node, items(12), associations=1))
            await until(lambda: slow.messages)
            assert outcomes(await send(quick.node, items(50))) == {0: 50}
            assert not sending.done()
            go_on.set()
            assert outcomes(await sending) == {0: 12}

    async def test_the_timeout_is_that_of_each_answer(self):
        """All together take longer than it, and no one of them does."""

        async def later(message: Message) -> None:
            await asyncio.sleep(0.1)  # the subject is time: twelve of these are longer than the timeout
            message.respond()

        async with asked_node({CT: [EXPLICIT]}) as slow:
            slow.answer = later
            slow.node = replace(slow.node, response_timeout=1.0)
            assert outcomes(await send(slow.node, items(12), associations=1)) == {0: 12}

    @pytest.mark.parametrize("associations", [1, 3])
    async def test_it_aborts_now_and_then(self, associations: int):
        def fourth(message: Message) -> None:
            if len(asked.messages) % 4 == 0:
                message.session.abort(detail="enough")
            else:
                message.respond()

        async with asked_node({CT: [EXPLICIT]}) as asked:
            asked.answer = fourth
            sent = await send(asked.node, items(20), associations=associations)
        assert len(sent) == 20
        assert len({one.item.name for one in sent}) == 20
        assert outcomes(sent)[0] >= 10
        assert all("abort" in one.detail for one in sent if not one.ok)

    async def test_it_aborts_at_once(self):
        async with asked_node({CT: [EXPLICIT]}) as asked:
            asked.answer = lambda message: message.session.abort(detail="enough")
            sent = await send(asked.node, items(20), associations=1)
        assert outcomes(sent) == {None: 20}
        assert asked.associations == MAX_FRUITLESS

    @pytest.mark.case("case 05 a destination that aborts at one instance gets all others")
    async def test_it_aborts_at_one_of_many_on_their_way(self):
        """Nobody can say which of them it was, so they go once more, one by one."""

        def at_the_third(message: Message) -> None:
            if message.command.affected_sop_instance_uid == "1.3":
                message.session.abort(detail="enough")
            elif asked.associations > 1:
                message.respond()

        async with asked_node({CT: [EXPLICIT]}, window=8) as asked:
            asked.answer = at_the_third
            sent = await send(asked.node, items(20), associations=1)
        assert outcomes(sent) == {0: 19, None: 1}
        assert [one.item.name for one in sent if not one.ok] == ["1.3"]
        assert len({one.item.name for one in sent}) == 20

    async def test_cancelled_it_leaves_nothing_behind(self):
        begun = asyncio.Event()
        async with asked_node({CT: [EXPLICIT]}, window=4) as asked:
            asked.answer = lambda message: begun.set()
            task = asyncio.ensure_future(send(asked.node, items(50), associations=3))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    async def test_classes_without_end_go_in_several_turns(self):
        known = dict.fromkeys(list(uids.STORAGE_CLASSES)[:150], (EXPLICIT,))
        async with asked_node(known) as asked:
            sent = await send(asked.node, [item(f"1.{n}", sop_class=uid) for n, uid in enumerate(known)])
        assert outcomes(sent) == {0: 150}
