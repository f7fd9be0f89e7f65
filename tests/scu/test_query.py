"""C-FIND, C-MOVE and C-GET as a client: what is asked, what comes, and nodes that do not behave."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import TypeVar

import pydicom
import pytest

from gateway.dicom import uids
from gateway.dicom.decode import decode_data_set
from gateway.dicom.encode import Attribute, DataSet, encode_data_set
from gateway.dicom.levels import QUERY_RETRIEVE_LEVEL
from gateway.dimse import messages, status
from gateway.errors import AssociationLost, AssociationRefused, InstanceRefused, OutOfSpace, RequestFailed
from gateway.net.buffers import Block
from gateway.net.session import Session
from gateway.scu import find, get, move
from gateway.scu.folder import FolderSink
from gateway.scu.node import associate
from tests.support.datasets import encode, instance
from tests.support.nodes import CT, EXPLICIT, IMPLICIT, Message, asked_node

T = TypeVar("T")
STUDY, SOP_INSTANCE, NAME = 0x0020000D, 0x00080018, 0x00100010
FIND = {find.STUDY_ROOT: [IMPLICIT], find.PATIENT_ROOT: [EXPLICIT]}
MOVE = {move.STUDY_ROOT: [EXPLICIT]}
GET = {get.STUDY_ROOT: [EXPLICIT], CT: [EXPLICIT, IMPLICIT], find.STUDY_ROOT: [EXPLICIT]}
WANTED: DataSet = {STUDY: Attribute("UI", ["1.2.3"])}


async def everything(responses: AsyncGenerator[T, None]) -> list[T]:
    async with aclosing(responses):
        return [response async for response in responses]


def answer_with(*matches: DataSet, final: int = 0, comment: str | None = None):  # type: ignore[no-untyped-def]
    def take(message: Message) -> None:
        for match in matches:
            response = messages.c_find_response(message.command, status.PENDING)
            message.send(response, encode_data_set(match, message.context.transfer_syntax))
        message.respond(final, comment)

    return take


class TestFind:
    async def test_matches_in_any_script(self):
        names = ["Doe^Jane", "Müller^Jörg", "Yamada^Tarou=山田^太郎=やまだ^たろう"]
        async with asked_node(FIND) as asked:
            asked.answer = answer_with(*({NAME: Attribute("PN", [name])} for name in names))
            wanted = find.identifier("study", {NAME: Attribute("PN", ["*山*"])})
            matches = await everything(find.find(asked.node, wanted))
        assert [match.attributes()[NAME].values for match in matches] == [[name] for name in names]
        assert json.loads(matches[2].json())["00100010"]["Value"][0]["Ideographic"] == "山田^太郎"
        asked_for = decode_data_set(asked.messages[0].data, IMPLICIT)
        assert asked_for[NAME].values == ["*山*"]
        assert asked_for[QUERY_RETRIEVE_LEVEL].values == ["STUDY"]

    async def test_a_failure_raises_with_what_it_says(self):
        async with asked_node(FIND) as asked:
            asked.answer = answer_with({NAME: Attribute("PN", ["A"])}, final=0xA700, comment="too many")
            with pytest.raises(
                RequestFailed, match="PEER answers C-FIND with A700H out of resources: too many"
            ) as raised:
                await everything(find.find(asked.node, WANTED))
        assert raised.value.status == 0xA700

    async def test_leaving_early_cancels(self):
        async def answer(message: Message) -> None:
            data = encode_data_set({NAME: Attribute("PN", ["A"])}, message.context.transfer_syntax)
            message.send(messages.c_find_response(message.command, status.PENDING), data)
            await asked.cancelled.wait()
            message.respond(status.CANCEL)

        async with asked_node(FIND) as asked, associate(asked.node, [(find.STUDY_ROOT, [IMPLICIT])]) as association:
            asked.answer = answer
            for _ in range(2):
                asked.cancelled.clear()
                async with aclosing(find.find_on(association, WANTED)) as matches:
                    assert await anext(matches)
        assert len(asked.messages) == 2
        assert asked.associations == 1

    async def test_a_model_that_it_does_not_know(self):
        async with asked_node(FIND) as asked:
            with pytest.raises(AssociationRefused, match="PEER accepted no context"):
                await everything(find.find(asked.node, WANTED, model=find.WORKLIST))

    async def test_it_aborts_in_the_middle(self):
        def abort(message: Message) -> None:
            answer_with({NAME: Attribute("PN", ["A"])}, {NAME: Attribute("PN", ["B"])}, final=status.PENDING)(message)
            message.session.abort(detail="enough")

        got: list[find.Match] = []
        async with asked_node(FIND) as asked:
            asked.answer = abort
            with pytest.raises(AssociationLost, match="aborted"):  # noqa: PT012
                async with aclosing(find.find(asked.node, WANTED)) as matches:
                    async for match in matches:
                        got.append(match)  # noqa: PERF401
        assert len(got) <= 3


class TestMove:
    async def test_sub_operations_as_they_go(self):
        def answer(message: Message) -> None:
            for done in range(3):
                message.send(messages.c_move_response(message.command, 0xFF00, remaining=3 - done, completed=done))
            failed = encode_data_set({0x00080058: Attribute("UI", ["1.1", "1.2"])}, EXPLICIT)
            final = messages.c_move_response(message.command, 0xB000, completed=1, failed=2, data_set=True)
            message.send(final, failed)

        async with asked_node(MOVE) as asked:
            asked.answer = answer
            going = await everything(move.move(asked.node, find.identifier("study", WANTED), "THIRD"))
        assert [(one.remaining, one.completed, one.total) for one in going[:-1]] == [(3, 0, 3), (2, 1, 3), (1, 2, 3)]
        final = going[-1]
        assert (final.is_final, final.is_success, final.failed, final.failed_uids) == (True, False, 2, ("1.1", "1.2"))
        assert asked.messages[0].command.move_destination == "THIRD"

    async def test_an_unknown_destination_is_told_not_raised(self):
        async with asked_node(MOVE) as asked:
            asked.answer = lambda message: message.respond(0xA801, "who is that?")
            (final,) = await everything(move.move(asked.node, WANTED, "NOBODY"))
        assert (final.status, final.comment, final.is_success) == (0xA801, "who is that?", False)

    async def test_silence_ends_it(self):
        async with asked_node(MOVE) as asked:
            asked.answer = lambda message: None
            node = dataclasses.replace(asked.node, response_timeout=0.01)
            with pytest.raises(AssociationLost, match="did not answer C-MOVE-RQ"):
                await everything(move.move(node, WANTED, "THIRD"))


class Kept:
    """A sink that keeps everything in memory, and refuses what it is told to."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}
        self.refuse: dict[str, Exception] = {}
        self.lost: list[str] = []

    def begin(self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> KeptOne:
        if sop_instance_uid == "refused at once":
            raise InstanceRefused("no", 0xC123)
        return KeptOne(self, sop_instance_uid)


class KeptOne:
    def __init__(self, sink: Kept, uid: str) -> None:
        self.sink, self.uid, self.data = sink, uid, b""

    def write(self, data: memoryview, block: Block) -> None:
        self.data += data

    def flush(self) -> None:
        pass

    async def commit(self) -> None:
        await asyncio.sleep(0)
        if self.uid in self.sink.refuse:
            raise self.sink.refuse[self.uid]
        self.sink.data[self.uid] = self.data

    def abandon(self) -> None:
        self.sink.lost.append(self.uid)


async def give(session: Session, uid: str, data: bytes) -> int:
    context = session.context_for(CT)
    request = messages.c_store_request(session.next_message_id(), CT, uid)
    return (await session.request(context, request, [data[: len(data) // 2], data[len(data) // 2 :]])).status


class TestGet:
    async def test_instances_come_over_the_same_association(self):
        sent = {f"1.{n}": bytes([n]) * 400_000 for n in range(4)}

        async def answer(message: Message) -> None:
            for done, (uid, data) in enumerate(sent.items()):
                assert await give(message.session, uid, data) == 0
                response = messages.c_get_response(message.command, 0xFF00, remaining=3 - done, completed=done + 1)
                message.send(response)
            message.send(messages.c_get_response(message.command, 0, completed=4))

        kept = Kept()
        async with asked_node(GET) as asked:
            asked.answer = answer
            going = await everything(get.get(asked.node, WANTED, kept, classes=[CT]))
        assert kept.data == sent
        assert [one.completed for one in going] == [1, 2, 3, 4, 4]
        assert going[-1].is_success
        assert asked.associations == 1

    async def test_what_the_sink_does_not_take_is_told(self):
        kept = Kept()
        kept.refuse = {"1.1": OutOfSpace("full"), "1.2": InstanceRefused("bad", 0xA900), "1.3": ValueError("oops")}
        statuses: list[int] = []

        async def answer(message: Message) -> None:
            for uid in ("1.1", "1.2", "1.3", "refused at once"):
                statuses.append(await give(message.session, uid, b"data"))  # noqa: PERF401
            message.send(messages.c_get_response(message.command, 0xB000, failed=4))

        async with asked_node(GET) as asked:
            asked.answer = answer
            (final,) = await everything(get.get(asked.node, WANTED, kept, classes=[CT]))
        assert statuses == [0xA700, 0xA900, 0x0110, 0xC123]
        assert not final.is_success

    async def test_it_goes_away_in_the_middle_of_an_instance(self):
        kept = Kept()

        async def chunks(session: Session) -> AsyncIterator[bytes]:
            yield b"half"
            yield b"more"
            session.abort(detail="enough")
            yield b"rest"

        async def answer(message: Message) -> None:
            session = message.session
            request = messages.c_store_request(session.next_message_id(), CT, "1.1")
            await session.request(session.context_for(CT), request, chunks(session))

        async with asked_node(GET) as asked:
            asked.answer = answer
            with pytest.raises(AssociationLost):
                await everything(get.get(asked.node, WANTED, kept, classes=[CT]))
        assert kept.data == {}

    async def test_the_classes_are_asked_for_first(self):
        """From above to below, one level after the other."""
        below = {
            "SERIES": [{0x0020000E: Attribute("UI", [uid])} for uid in ("2.1", "2.2")],
            "IMAGE": [{0x00080016: Attribute("UI", [CT]), SOP_INSTANCE: Attribute("UI", ["1.1"])}],
        }
        asked_for: list[tuple[str, ...]] = []
        offered: list[str] = []

        def answer(message: Message) -> None:
            if message.context.abstract_syntax == find.STUDY_ROOT:
                keys = decode_data_set(message.data, EXPLICIT)
                level = keys[QUERY_RETRIEVE_LEVEL].text
                asked_for.append((level, keys[STUDY].text, keys[0x0020000E].text))
                answer_with(*below[level])(message)
            else:
                offered.extend({c.abstract_syntax for c in message.session.contexts.values() if c.as_scu})
                message.respond()

        async with asked_node(GET) as asked:
            asked.answer = answer
            assert (await everything(get.fetch(asked.node, "study", WANTED, Kept())))[-1].status == 0
        assert offered == [CT]
        assert asked_for == [("SERIES", "1.2.3", ""), ("IMAGE", "1.2.3", "2.1"), ("IMAGE", "1.2.3", "2.2")]
        assert asked.associations == 2

    async def test_where_it_does_not_say_common_ones_are_proposed(self):
        def answer(message: Message) -> None:
            message.respond(0xC000 if message.context.abstract_syntax == find.STUDY_ROOT else 0)

        async with asked_node(GET) as asked:
            asked.answer = answer
            assert (await everything(get.fetch(asked.node, "study", WANTED, Kept())))[-1].status == 0

    async def test_into_a_folder(self, tmp_path: Path):
        data_set = instance()
        data = encode(data_set, EXPLICIT)
        big = b"\0" * 3_000_000

        async def answer(message: Message) -> None:
            assert await give(message.session, data_set.SOPInstanceUID, data) == 0
            assert await give(message.session, "1.2.3", big) == 0
            assert await give(message.session, "../up", b"data") == 0x0117
            assert await give(message.session, "/abs", b"data") == 0x0117
            assert await give(message.session, "..", b"data") == 0x0117
            message.respond()

        sink = FolderSink(tmp_path / "out", "PEER")
        async with asked_node(GET) as asked:
            asked.answer = answer
            await everything(get.get(asked.node, WANTED, sink, classes=[CT]))
            assert all(task.exception() is None for task in asked.tasks)
        sink.close()
        files = sorted((tmp_path / "out").iterdir())
        assert [file.name for file in files] == sorted([f"{data_set.SOPInstanceUID}.dcm", "1.2.3.dcm"])
        assert pydicom.dcmread(tmp_path / "out" / f"{data_set.SOPInstanceUID}.dcm").PatientID == data_set.PatientID
        assert (tmp_path / "out" / "1.2.3.dcm").read_bytes().endswith(big)

    def test_contexts_fit(self):
        assert len(get.storage_contexts([CT])) == 1 + len(get.COMPRESSED)
        many = get.storage_contexts(get.COMMON_CLASSES)
        assert len(many) == 127
        assert len(get.storage_contexts(list(uids.STORAGE_CLASSES)[:60])) == 120
