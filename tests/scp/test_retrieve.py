"""C-MOVE and C-GET over real sockets: what is sent, counted and answered, whatever the destination does."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from gateway.dicom import uids
from gateway.dicom.decode import decode_data_set
from gateway.dicom.encode import Attribute, encode_data_set
from gateway.dicom.part10 import file_header
from gateway.dimse import messages, status
from gateway.errors import AssociationLost, DatabaseError
from gateway.index.store import Origin
from gateway.ingest.part10_receiver import receive
from gateway.net.requestor import Requestor, associate
from gateway.net.requests import Response
from gateway.net.session import Refusal
from gateway.scp.suboperations import Tally
from gateway.scu.succession import MAX_FRUITLESS
from gateway.ul.association import Association
from gateway.ul.items import ExtendedNegotiation, RoleSelection
from gateway.ul.negotiation import CALLED_AE_TITLE_NOT_RECOGNIZED
from tests.support.datasets import CT, DEFLATED, EXPLICIT, IMPLICIT, decode, encode, instance, read_sample, sample
from tests.support.destination import ALL, Destination, Message, Taking
from tests.support.intake import Intake, intake
from tests.support.waiting import until

PATIENT_MOVE, PATIENT_GET = "1.2.840.10008.5.1.4.1.2.1.2", "1.2.840.10008.5.1.4.1.2.1.3"
STUDY_MOVE, STUDY_GET = "1.2.840.10008.5.1.4.1.2.2.2", "1.2.840.10008.5.1.4.1.2.2.3"
KEYS = {"level": 0x00080052, "patient": 0x00100020, "study": 0x0020000D, "series": 0x0020000E, "image": 0x00080018}
RLE = "1.2.840.10008.1.2.5"
MPEG2 = "1.2.840.10008.1.2.4.100"


def identifier(**keys: str | list[str]) -> bytes:
    """Of keys by the names of KEYS."""
    found = {}
    for name, value in keys.items():
        vr = "CS" if name == "level" else "LO" if name == "patient" else "UI"
        found[KEYS[name]] = Attribute(vr, [value] if isinstance(value, str) else value)
    return encode_data_set(found, EXPLICIT)


def instances(count: int, study: str = "1.1", **values: Any) -> list[Dataset]:
    return [
        instance(
            StudyInstanceUID=study,
            SeriesInstanceUID=f"{study}.{number % 2 + 1}",
            SOPInstanceUID=f"{study}.{number % 2 + 1}.{number + 1}",
            SeriesNumber=number % 2 + 1,
            InstanceNumber=number + 1,
            **values,
        )
        for number in range(count)
    ]


async def store(gateway: Intake, data_sets: Sequence[Dataset], syntax: str = EXPLICIT, **call: Any) -> dict[str, bytes]:
    """The data sets, by SOP Instance UID, as they went over the wire in a call with these changes."""
    classes = dict.fromkeys(str(data_set.SOPClassUID) for data_set in data_sets)
    sent = {}
    async with associate(gateway.call(*((uid, [syntax]) for uid in classes), **call)) as association:
        for data_set in data_sets:
            data = sent[str(data_set.SOPInstanceUID)] = encode(data_set, syntax)
            context = association.context_for(data_set.SOPClassUID)
            answer = await association.store(context, data_set.SOPInstanceUID, [data])
            assert answer.status in (0, 0xB007)  # what has no pixels to decode lacks pixel data
    return sent


@asynccontextmanager
async def gateway_and(
    path: Path, target: Destination | None, *, timeout: float = 5.0, **sections: Any
) -> AsyncIterator[Intake]:
    """A gateway whose modality DEST is the destination."""
    port = target.port if target is not None else 1
    modalities = {
        "dest": {"aet": "DEST", "host": "127.0.0.1", "port": port, "response_timeout": timeout},
        "deaf": {"aet": "DEAF", "host": "127.0.0.1"},
        "test": {"aet": "TEST"},
    }
    sections = {"retrieve": {"progress_interval": 0.01}, "modalities": modalities, **sections}
    try:
        async with asyncio.timeout(30), intake(path, **sections) as gateway:
            yield gateway
            assert not gateway.services._context.tasks
            await until(lambda: not still_open(path))  # a read that has begun ends by itself
    finally:
        if target is not None:
            await target.acceptor.stop(0)


def still_open(path: Path) -> list[str]:
    """Stored files that this process has open."""
    links = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            links.append(str(descriptor.readlink()))
    return [link for link in links if link.startswith(f"{path}/store")]


async def responses_to(association: Requestor, model: str, data: bytes, to: str = "DEST") -> list[Response]:
    context = association.context_for(model)
    number = association.next_message_id()
    if model in (PATIENT_MOVE, STUDY_MOVE):
        command = messages.c_move_request(number, model, to)
    else:
        command = messages.c_get_request(number, model)
    return [response async for response in association.requests(context, command, [data], timeout=20)]


async def move(
    gateway: Intake, to: str = "DEST", *, model: str = STUDY_MOVE, extended: Sequence[Any] = (), **keys: Any
) -> list[Response]:
    async with associate(gateway.call((model, [EXPLICIT]), extended=extended)) as association:
        return await responses_to(association, model, identifier(**keys), to)


async def get(
    gateway: Intake,
    taking: Taking,
    contexts: Sequence[tuple[str, list[str]]] = ((CT, [EXPLICIT]),),
    *,
    roles: bool = True,
    window: int = 1,
    **keys: Any,
) -> list[Response]:
    classes = dict.fromkeys(uid for uid, _ in contexts)
    selection = [RoleSelection(uid, scu=False, scp=True) for uid in classes] if roles else ()
    call = gateway.call((STUDY_GET, [EXPLICIT]), *contexts, roles=selection, max_operations=window)
    async with associate(call, handler=taking.handler) as association:
        return await responses_to(association, STUDY_GET, identifier(**keys))


def numbers(response: Response) -> tuple[int, int | None, int | None, int | None, int | None]:
    """Status, remaining, completed, failed, with warnings."""
    command = response.command
    return (
        response.status,
        command.remaining_suboperations,
        command.completed_suboperations,
        command.failed_suboperations,
        command.warning_suboperations,
    )


def failed(response: Response) -> list[str]:
    if response.data_set is None:
        return []
    return list(decode_data_set(response.data_set, EXPLICIT)[0x00080058].values)


class TestTally:
    """PS3.4 C.4.2.1.5 and Tables C.4-2, C.4-3."""

    @pytest.mark.parametrize(
        ("codes", "expected"),
        [
            ([], status.SUCCESS),
            ([0, 0], status.SUCCESS),
            ([0, 0xB000], 0xB000),
            ([0xB007, 0xB006], 0xB000),
            ([0, 0xA700], 0xB000),
            ([0xA700, 0xC000], 0xA702),
            ([0xA700, 0xB000], 0xB000),
        ],
    )
    def test_status(self, codes: list[int], expected: int) -> None:
        tally = Tally(len(codes))
        for code in codes:
            tally.count("1.2", code)
        assert tally.remaining == 0
        assert tally.status(cancelled=False) == tally.status(cancelled=True) == expected

    def test_cancelled(self) -> None:
        tally = Tally(2)
        tally.count("1.2", 0)
        request = messages.c_get_request(1, STUDY_GET)
        command, data = tally.final(request, EXPLICIT, cancelled=True)
        assert (command.status, command.remaining_suboperations, data) == (status.CANCEL, 1, b"")

    def test_more_than_a_number_can_say(self) -> None:
        tally = Tally(100_000)
        for number in range(70_000):
            tally.fail(f"1.2.{number}", "why")
        request = messages.c_get_request(1, STUDY_GET)
        pending = tally.pending(request)
        assert (pending.remaining_suboperations, pending.failed_suboperations) == (30_000, 65_535)
        assert len(failed(Response(*tally.final(request, EXPLICIT, cancelled=False)))) == 70_000


class TestIdentifiers:
    """PS3.4 C.4.2.1.4, C.4.2.2.1."""

    REFUSED = (
        (STUDY_MOVE, {}),
        (STUDY_MOVE, {"study": ""}),
        (STUDY_MOVE, {"level": "PATIENT", "patient": ""}),
        (STUDY_MOVE, {"level": "IMAGES", "study": "1.1"}),
        (STUDY_MOVE, {"level": "STUDY", "study": "*"}),
        (STUDY_MOVE, {"level": "STUDY", "study": ""}),
        (STUDY_MOVE, {"level": "STUDY"}),
        (STUDY_MOVE, {"level": "STUDY", "study": "../x"}),
        (STUDY_MOVE, {"level": "STUDY", "study": "1" * 65}),
        (STUDY_MOVE, {"level": "SERIES", "study": ["1.1", "1.2"], "series": "1.1.1"}),
        (PATIENT_MOVE, {"level": "PATIENT", "patient": "P*"}),
    )
    LENIENT = (
        (STUDY_MOVE, {"study": "1.1"}, 4),
        (STUDY_MOVE, {"study": "1.1", "series": "1.1.1"}, 2),
        (STUDY_MOVE, {"patient": "P1"}, 6),
        (STUDY_MOVE, {"level": "SERIES", "series": "1.1.1"}, 2),
        (STUDY_MOVE, {"level": "IMAGE", "image": ["1.1.1.1", "1.2.1.1"]}, 2),
        (PATIENT_MOVE, {"level": "STUDY", "study": "1.1"}, 4),
        (PATIENT_MOVE, {"level": "IMAGE", "study": "1.1", "image": "1.1.1.1"}, 1),
        (PATIENT_MOVE, {"image": "1.1.1.1"}, 1),
    )
    """What the standard refuses, and is clear all the same."""

    async def test_refused(self, tmp_path: Path) -> None:
        async with gateway_and(tmp_path, None) as gateway:
            for model, keys in self.REFUSED:
                (response,) = await move(gateway, model=model, **keys)
                assert response.status == status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS, keys
                assert response.command.offending_element
                assert response.error_comment

    async def test_what_cannot_be_read(self, tmp_path: Path) -> None:
        async with gateway_and(tmp_path, None) as gateway:
            async with associate(gateway.call((STUDY_MOVE, [EXPLICIT]))) as association:
                (response,) = await responses_to(association, STUDY_MOVE, b"\xff" * 21)
            assert response.status == status.CANNOT_UNDERSTAND

    SERVED = (
        (PATIENT_MOVE, {"level": "PATIENT", "patient": "P1"}, 6),
        (STUDY_MOVE, {"level": "PATIENT", "patient": "P1"}, 6),  # as Orthanc asks
        (PATIENT_MOVE, {"level": "STUDY", "patient": "P1", "study": "1.1"}, 4),
        (PATIENT_MOVE, {"level": "STUDY", "patient": "P2", "study": "1.1"}, 0),
        (STUDY_MOVE, {"level": "STUDY", "study": ["1.1", "1.2"]}, 6),
        (STUDY_MOVE, {"level": "SERIES", "study": "1.1", "series": ["1.1.1", "1.1.2", "9"]}, 4),
        (STUDY_MOVE, {"level": "SERIES", "study": "1.1", "series": "1.1.1"}, 2),
        (STUDY_MOVE, {"level": "IMAGE", "study": "1.1", "series": "1.1.1", "image": ["1.1.1.1", "1.1.1.3"]}, 2),
        (STUDY_MOVE, {"level": "IMAGE", "study": "1.1", "series": "1.1.2", "image": ["1.1.1.1"]}, 0),
    )

    async def test_levels_and_lists(self, tmp_path: Path) -> None:
        target = Destination()
        async with gateway_and(tmp_path, target) as gateway:
            await store(gateway, instances(4) + instances(2, "1.2"))
            for model, keys, expected in self.SERVED:
                target.messages.clear()
                *_, last = await move(gateway, model=model, **keys)
                assert numbers(last) == (status.SUCCESS, None, expected, 0, 0), keys
                assert len(target.messages) == expected

    @pytest.mark.case("identifiers without a level or the keys above it are answered where they are clear")
    @pytest.mark.parametrize("lenient", [True, False])
    async def test_lenient(self, tmp_path: Path, lenient: bool) -> None:
        target = Destination()
        async with gateway_and(tmp_path, target, dicom={"lenient_identifiers": lenient}) as gateway:
            await store(gateway, instances(4) + instances(2, "1.2"))
            for model, keys, expected in self.LENIENT:
                target.messages.clear()
                *_, last = await move(gateway, model=model, **keys)
                assert last.status == (status.SUCCESS if lenient else status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS), keys
                assert len(target.messages) == (expected if lenient else 0), keys

    @pytest.mark.parametrize(("offered", "expected"), [(b"\1", status.SUCCESS), (b"\0", 0xA900)])
    async def test_relational(self, tmp_path: Path, offered: bytes, expected: int) -> None:
        target = Destination()
        async with gateway_and(tmp_path, target, dicom={"lenient_identifiers": False}) as gateway:
            await store(gateway, instances(4))
            extended = [ExtendedNegotiation(STUDY_MOVE, offered)]
            *_, last = await move(gateway, extended=extended, level="SERIES", series="1.1.2")
            assert last.status == expected
            assert len(target.messages) == (2 if expected == 0 else 0)


class TestSeveralPatients:
    """One study of the same UIDs under two Patient IDs, and a study of one of them alone."""

    SERVED = (
        (STUDY_MOVE, {"level": "STUDY", "study": "1.1", "patient": "ANON1"}, {"ANON1"}),
        (STUDY_MOVE, {"level": "SERIES", "study": "1.1", "series": "1.1.1", "patient": "ORIG1"}, {"ORIG1"}),
        (PATIENT_MOVE, {"level": "STUDY", "study": "1.1", "patient": "ANON1"}, {"ANON1"}),
        (PATIENT_MOVE, {"level": "PATIENT", "patient": "ANON1"}, {"ANON1"}),
        (STUDY_MOVE, {"level": "STUDY", "study": "1.2"}, {"ORIG1"}),
        (STUDY_MOVE, {"level": "STUDY", "study": "1.2", "patient": "*"}, {"ORIG1"}),
        (STUDY_MOVE, {"level": "STUDY", "study": "1.2", "patient": "ANON1"}, set()),
    )
    REFUSED = (
        (STUDY_MOVE, {"level": "STUDY", "study": "1.1"}),
        (STUDY_MOVE, {"level": "STUDY", "study": ["1.2", "1.1"]}),
        (STUDY_MOVE, {"level": "IMAGE", "study": "1.1", "series": "1.1.1", "image": "1.1.1.1"}),
        (PATIENT_MOVE, {"level": "STUDY", "study": "1.1"}),
        (PATIENT_MOVE, {"level": "SERIES", "series": "1.1.1"}),
        (PATIENT_MOVE, {"level": "IMAGE", "image": "1.1.1.1"}),
    )

    @pytest.mark.case("file 05 C-MOVE and C-GET heed Patient ID, and send nobody's where two patients' would be meant")
    async def test_move(self, tmp_path: Path) -> None:
        target = Destination()
        async with gateway_and(tmp_path, target) as gateway:
            await store(gateway, instances(2, PatientID="ORIG1"))
            await store(gateway, instances(2, PatientID="ANON1"))
            await store(gateway, instances(2, "1.2", PatientID="ORIG1"))
            for model, keys, expected in self.SERVED:
                target.messages.clear()
                target.received.clear()
                *_, last = await move(gateway, model=model, **keys)
                assert last.status == status.SUCCESS, keys
                assert {decode(data).PatientID for data in target.received.values()} == expected, keys
            target.messages.clear()
            for model, keys in self.REFUSED:
                (last,) = await move(gateway, model=model, **keys)
                assert last.status == status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS, keys
                assert last.command.offending_element in ([0x00100020], [0x0020000D])
            assert target.messages == []

    async def test_get(self, tmp_path: Path) -> None:
        async with gateway_and(tmp_path, None) as gateway:
            await store(gateway, instances(2, PatientID="ORIG1"))
            await store(gateway, instances(2, PatientID="ANON1"))
            taking = Taking()
            *_, last = await get(gateway, taking, level="STUDY", study="1.1", patient="ANON1")
            assert (last.status, last.command.completed_suboperations) == (status.SUCCESS, 2)
            (last,) = await get(gateway, taking, level="STUDY", study="1.1")
            assert last.status == status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS


async def test_an_index_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise DatabaseError("disk I/O error")

    target = Destination()
    async with gateway_and(tmp_path, target) as gateway:
        monkeypatch.setattr("gateway.scp.retrieve.outline", broken)
        (response,) = await move(gateway, level="STUDY", study="1.1")
        assert response.status == status.OUT_OF_RESOURCES_MATCHES


class TestMove:
    async def test_byte_for_byte_with_the_originator(self, tmp_path: Path) -> None:
        target = Destination()
        async with gateway_and(tmp_path, target) as gateway:
            sent = await store(gateway, instances(4, rows=1024, columns=1024))
            *_, last = await move(gateway, level="STUDY", study="1.1")
        assert numbers(last) == (status.SUCCESS, None, 4, 0, 0)
        assert target.received == sent
        (request,) = target.requests
        assert (request.called_aet, request.calling_aet) == ("DEST", "GATEWAY")
        for message in target.messages:
            assert message.command.move_originator_aet == "TEST"
            assert message.command.move_originator_message_id == 1

    async def test_unknown_destinations(self, tmp_path: Path) -> None:
        async with gateway_and(tmp_path, None) as gateway:
            for to in ("NOBODY", "DEAF", "", "../x", "/abs", "dest"):
                (response,) = await move(gateway, to, level="STUDY", study="1.1")
                assert response.status == status.MOVE_DESTINATION_UNKNOWN

    @pytest.mark.parametrize("window", [1, 5])
    async def test_as_many_at_once_as_the_destination_allows(self, tmp_path: Path, window: int) -> None:
        target = Destination(window=window)
        held: list[Message] = []

        def answer(message: Message) -> None:
            held.append(message)
            if len(held) == window:
                for each in held:
                    each.respond()
                held.clear()

        target.answer = answer
        async with gateway_and(tmp_path, target) as gateway:
            await store(gateway, instances(10))
            *_, last = await move(gateway, level="STUDY", study="1.1")
        assert numbers(last) == (status.SUCCESS, None, 10, 0, 0)
        assert target.most_open == window

    async def test_warnings_and_failures(self, tmp_path: Path) -> None:
        target = Destination()
        codes = iter([0, 0xB007, 0xA700, 0, 0xC123])
        target.answer = lambda message: message.respond(next(codes))
        async with gateway_and(tmp_path, target) as gateway:
            await store(gateway, instances(5))
            *_, last = await move(gateway, level="STUDY", study="1.1")
        assert numbers(last) == (0xB000, None, 2, 2, 1)
        assert failed(last) == [target.messages[2].uid, target.messages[4].uid]

    async def test_pending_responses_say_how_far_it_is(self, tmp_path: Path) -> None:
        target = Destination()
        loop = asyncio.get_running_loop()
        target.answer = lambda message: loop.call_later(0.03, message.respond)
        async with gateway_and(tmp_path, target) as gateway:
            await store(gateway, instances(5))
            *pending, last = await move(gateway, level="STUDY", study="1.1")
        assert numbers(last) == (status.SUCCESS, None, 5, 0, 0)
        assert pending
        for response in pending:
            code, remaining, completed, bad, warned = numbers(response)
            assert (code, bad, warned) == (status.PENDING, 0, 0)
            assert (remaining or 0) + (completed or 0) == 5

    @pytest.mark.parametrize("window", [1, 3])
    async def test_cancel(self, tmp_path: Path, window: int) -> None:
        target = Destination(window=window)
        async with gateway_and(tmp_path, target) as gateway:
            await store(gateway, instances(20))
            async with associate(gateway.call((STUDY_MOVE, [EXPLICIT]))) as association:
                context = association.context_for(STUDY_MOVE)
                command = messages.c_move_request(7, STUDY_MOVE, "DEST")

                def answer(message: Message) -> None:
                    if len(target.messages) == 5:
                        association.cancel_request(7)
                    asyncio.get_running_loop().call_later(0.02, message.respond)

                target.answer = answer
                data = identifier(level="STUDY", study="1.1")
                last = await association.request(context, command, [data], timeout=20)
        code, remaining, completed, bad, _ = numbers(last)
        assert (code, bad) == (status.CANCEL, 0)
        assert completed == len(target.messages)
        assert 5 <= (completed or 0) < 20
        assert (remaining or 0) + (completed or 0) == 20

    async def test_more_classes_than_contexts(self, tmp_path: Path) -> None:
        """Several associations, one after another."""
        target = Destination()
        classes = list(uids.STORAGE_CLASSES)[:70]
        async with gateway_and(tmp_path, target) as gateway:
            data_sets = instances(70)
            for data_set, uid in zip(data_sets, classes, strict=True):
                data_set.SOPClassUID = uid
            sent = await store(gateway, data_sets)
            *_, last = await move(gateway, level="STUDY", study="1.1")
        assert numbers(last) == (status.SUCCESS, None, 70, 0, 0)
        assert target.received == sent
        assert len(target.requests) == 2

    async def test_a_requester_that_goes_away(self, tmp_path: Path) -> None:
        target = Destination()
        target.answer = lambda message: None
        async with gateway_and(tmp_path, target) as gateway:
            await store(gateway, instances(3))
            association = await Requestor.open(gateway.call((STUDY_MOVE, [EXPLICIT])), gateway.blocks)
            moving = asyncio.ensure_future(
                responses_to(association, STUDY_MOVE, identifier(level="STUDY", study="1.1"))
            )
            await until(lambda: target.messages)
            await association.abort()
            await asyncio.gather(moving, return_exceptions=True)
            await until(lambda: not (target.acceptor.associations() or gateway.services._context.tasks))


class TestTroubledDestinations:
    """Right statuses and counts; nothing else waits; nothing is left behind."""

    async def move_beside_work(self, gateway: Intake) -> Response:
        """A move, and meanwhile an echo and a store that must not notice."""
        moving = asyncio.ensure_future(move(gateway, level="STUDY", study="1.1"))
        async with asyncio.timeout(2):
            for _ in range(3):
                await store(gateway, instances(2, "7.7"))
        *_, last = await moving
        return last

    async def test_nobody_there(self, tmp_path: Path) -> None:
        async with gateway_and(tmp_path, None) as gateway:
            await store(gateway, instances(3))
            last = await self.move_beside_work(gateway)
            assert numbers(last) == (0xA702, None, 0, 3, 0)
            assert len(failed(last)) == 3
            assert "no connection" in last.error_comment

    async def test_one_that_refuses(self, tmp_path: Path) -> None:
        target = Destination()
        target.refusal = Refusal(CALLED_AE_TITLE_NOT_RECOGNIZED, "who?")
        async with gateway_and(tmp_path, target) as gateway:
            await store(gateway, instances(3))
            last = await self.move_beside_work(gateway)
            assert numbers(last) == (0xA702, None, 0, 3, 0)
            assert len(failed(last)) == 3

    async def test_one_that_accepts_no_context(self, tmp_path: Path) -> None:
        target = Destination(syntaxes=())
        async with gateway_and(tmp_path, target) as gateway:
            await store(gateway, instances(3))
            last = await self.move_beside_work(gateway)
            assert numbers(last) == (0xA702, None, 0, 3, 0)

    async def test_one_that_never_answers_a_request(self, tmp_path: Path) -> None:
        target = Destination()
        target.answer = lambda message: None
        async with gateway_and(tmp_path, target, timeout=0.3) as gateway:
            await store(gateway, instances(3))
            last = await self.move_beside_work(gateway)
            assert numbers(last) == (0xA702, None, 0, 3, 0)
            assert sorted(failed(last)) == ["1.1.1.1", "1.1.1.3", "1.1.2.2"]
        assert not target.acceptor.associations()

    async def test_one_that_never_answers_the_association(self, tmp_path: Path) -> None:
        target = Destination()
        target.silent = True
        async with gateway_and(tmp_path, target, dicom={"association_timeout": 0.3}) as gateway:
            await store(gateway, instances(3))
            last = await self.move_beside_work(gateway)
            assert numbers(last) == (0xA702, None, 0, 3, 0)

    @pytest.mark.parametrize("window", [1, 4])
    async def test_one_that_aborts_in_the_middle(self, tmp_path: Path, window: int) -> None:
        target = Destination(window=window)

        def answer(message: Message) -> None:
            if len(target.messages) == 5:
                message.on.abort()  # type: ignore[attr-defined]
            else:
                message.respond()

        target.answer = answer
        async with gateway_and(tmp_path, target) as gateway:
            await store(gateway, instances(12))
            last = await self.move_beside_work(gateway)
            code, _, completed, bad, _ = numbers(last)
            # Where several were on their way it might have been any of them, and each has a second try.
            assert (code, completed, bad) == ((0xB000, 11, 1) if window == 1 else (status.SUCCESS, 12, 0))
            assert len(set(failed(last))) == bad
            assert len(target.requests) == 2

    @pytest.mark.case("case 05 a destination that aborts at one instance gets all others")
    @pytest.mark.parametrize("window", [1, 4])
    async def test_one_that_aborts_at_one_instance(self, tmp_path: Path, window: int) -> None:
        """ "Sub-operations complete with one or more failures": each has an outcome of its own (PS3.4 C.4.2.3)."""
        target = Destination(window=window)
        target.answer = lambda message: (
            message.on.abort()  # type: ignore[attr-defined]
            if message.uid == "1.1.1.1"
            else message.respond()
        )
        async with gateway_and(tmp_path, target) as gateway:
            await store(gateway, instances(10))
            last = await self.move_beside_work(gateway)
        assert numbers(last) == (0xB000, None, 9, 1, 0)
        assert failed(last) == ["1.1.1.1"]

    async def test_one_that_aborts_at_each(self, tmp_path: Path) -> None:
        target = Destination()
        target.answer = lambda message: message.on.abort()  # type: ignore[attr-defined]
        async with gateway_and(tmp_path, target) as gateway:
            await store(gateway, instances(20))
            last = await self.move_beside_work(gateway)
        assert numbers(last) == (0xA702, None, 0, 20, 0)
        assert len(set(failed(last))) == 20
        assert len(target.requests) == MAX_FRUITLESS

    @pytest.mark.parametrize("reads", [True, False])
    async def test_many_that_are_stuck_hold_up_no_other(self, tmp_path: Path, reads: bool) -> None:
        """More of them than there are threads: they answer nothing, or do not even read."""
        stuck, good = Destination(window=4), Destination()
        stuck.answer = lambda message: None
        if not reads:
            stuck.begin = lambda on: on.link.pause_reading(True)
        modalities = {
            "stuck": {"aet": "STUCK", "host": "127.0.0.1", "port": stuck.port, "response_timeout": 1.0},
            "good": {"aet": "DEST", "host": "127.0.0.1", "port": good.port},
            "test": {"aet": "TEST"},
        }
        threads = {"threads": 2, "progress_interval": 0.01}
        async with gateway_and(tmp_path, good, modalities=modalities, retrieve=threads) as gateway:
            sent = await store(gateway, instances(4, rows=2048, columns=2048))
            moves = [asyncio.ensure_future(move(gateway, "STUCK", level="STUDY", study="1.1")) for _ in range(6)]
            await until(lambda: len(stuck.acceptor.associations()) == 6)
            *_, last = await move(gateway, level="STUDY", study="1.1")
            assert numbers(last) == (status.SUCCESS, None, 4, 0, 0)
            assert good.received == sent
            for responses in await asyncio.gather(*moves):
                assert numbers(responses[-1]) == (0xA702, None, 0, 4, 0)
        await stuck.acceptor.stop(0)

    async def test_one_that_is_slow(self, tmp_path: Path) -> None:
        target = Destination()
        loop = asyncio.get_running_loop()
        target.answer = lambda message: loop.call_later(0.2, message.respond)
        async with gateway_and(tmp_path, target) as gateway:
            await store(gateway, instances(3))
            last = await self.move_beside_work(gateway)
            assert numbers(last) == (status.SUCCESS, None, 3, 0, 0)

    def test_half_a_minute_for_each_message(self, tmp_path: Path) -> None:
        """By a clock that is moved on: it keeps its association, and who asked, with 20 s of patience, hears of it."""

        class Clock(asyncio.SelectorEventLoop):
            passed = 0.0

            def time(self) -> float:
                return super().time() + self.passed

        clock = Clock()

        async def run() -> tuple[list[Response], int]:
            target = Destination()
            waiting: asyncio.Queue[Message] = asyncio.Queue()
            target.answer = waiting.put_nowait
            modalities = {"dest": {"aet": "DEST", "host": "127.0.0.1", "port": target.port}, "test": {"aet": "TEST"}}
            async with intake(tmp_path, modalities=modalities) as gateway:
                await store(gateway, instances(3))
                moving = asyncio.ensure_future(move(gateway, level="STUDY", study="1.1"))
                for _ in range(3):
                    message = await waiting.get()
                    for _ in range(30):
                        clock.passed += 1
                        await store(gateway, instances(1, "7.7"))
                    message.respond()
                responses = await moving
            await target.acceptor.stop(0)
            return responses, len(target.requests)

        with asyncio.Runner(loop_factory=lambda: clock) as runner:
            (*pending, last), associations = runner.run(run())
        assert numbers(last) == (status.SUCCESS, None, 3, 0, 0)
        assert associations == 1
        assert len(pending) >= 6

    async def test_a_file_that_has_gone(self, tmp_path: Path) -> None:
        target = Destination()
        async with gateway_and(tmp_path, target, storage={"pack_below": 0}) as gateway:
            await store(gateway, instances(3))
            key = next(iter(gateway.folder.store.keys()))
            gateway.folder.store.remove(key)
            *_, last = await move(gateway, level="STUDY", study="1.1")
            assert numbers(last) == (0xB000, None, 2, 1, 0)


class TestGet:
    @pytest.mark.parametrize("roles", [True, False])
    @pytest.mark.parametrize("window", [1, 4])
    async def test_over_the_same_association(self, tmp_path: Path, roles: bool, window: int) -> None:
        taking = Taking()
        async with gateway_and(tmp_path, None) as gateway:
            sent = await store(gateway, instances(6, rows=1024, columns=1024))
            *_, last = await get(gateway, taking, roles=roles, window=window, level="STUDY", study="1.1")
        assert numbers(last) == (status.SUCCESS, None, 6, 0, 0)
        assert taking.received == sent

    @pytest.mark.parametrize("roles", [True, False])
    async def test_who_may_get_but_not_store(self, tmp_path: Path, roles: bool) -> None:
        taking = Taking()
        reader = {"aet": "READER", "allow": ["get"]}
        async with gateway_and(tmp_path, None, modalities={"reader": reader, "test": {"aet": "TEST"}}) as gateway:
            await store(gateway, instances(2))
            selection = [RoleSelection(CT, scu=False, scp=True)] if roles else ()
            call = gateway.call((STUDY_GET, [EXPLICIT]), (CT, [EXPLICIT]), roles=selection, calling_aet="READER")
            async with associate(call, handler=taking.handler) as association:
                *_, last = await responses_to(association, STUDY_GET, identifier(level="STUDY", study="1.1"))
                assert numbers(last) == (status.SUCCESS, None, 2, 0, 0)
                (context,) = (c for c in association.contexts.values() if c.abstract_syntax == CT)
                refused = await association.store(context, "1.2.3", [encode(instance())])
                assert refused.status == status.NOT_AUTHORIZED

    async def test_what_the_peer_takes_no_context_for(self, tmp_path: Path) -> None:
        taking = Taking()
        async with gateway_and(tmp_path, None) as gateway:
            data_sets = instances(3)
            data_sets[1].SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
            await store(gateway, data_sets)
            *_, last = await get(gateway, taking, level="STUDY", study="1.1")
        assert numbers(last) == (0xB000, None, 2, 1, 0)
        assert failed(last) == [data_sets[1].SOPInstanceUID]

    async def test_nothing_found(self, tmp_path: Path) -> None:
        async with gateway_and(tmp_path, None) as gateway:
            (last,) = await get(gateway, Taking(), level="STUDY", study="9.9")
            assert numbers(last) == (status.SUCCESS, None, 0, 0, 0)

    async def test_pending_responses_stand_between_messages(self, tmp_path: Path) -> None:
        taking = Taking()
        loop = asyncio.get_running_loop()
        taking.answer = lambda message: loop.call_later(0.02, message.respond)
        async with gateway_and(tmp_path, None) as gateway:
            sent = await store(gateway, instances(5, rows=1024, columns=1024))
            *pending, last = await get(gateway, taking, level="STUDY", study="1.1")
        assert last.status == status.SUCCESS
        assert {response.status for response in pending} == {status.PENDING}
        assert taking.received == sent

    async def test_cancel(self, tmp_path: Path) -> None:
        taking = Taking()
        async with gateway_and(tmp_path, None) as gateway:
            await store(gateway, instances(20))
            call = gateway.call((STUDY_GET, [EXPLICIT]), (CT, [EXPLICIT]))
            async with associate(call, handler=taking.handler) as association:

                def answer(message: Message) -> None:
                    if len(taking.messages) == 3:
                        association.cancel_request(7)
                    asyncio.get_running_loop().call_later(0.01, message.respond)

                taking.answer = answer
                command = messages.c_get_request(7, STUDY_GET)
                data = identifier(level="STUDY", study="1.1")
                last = await association.request(association.context_for(STUDY_GET), command, [data], timeout=20)
        code, remaining, completed, bad, _ = numbers(last)
        assert (code, bad) == (status.CANCEL, 0)
        assert (remaining or 0) + (completed or 0) == 20
        assert 3 <= (completed or 0) < 20

    @pytest.mark.parametrize("whose", ["of all", "of this modality"])
    @pytest.mark.parametrize("reads", [True, False])
    async def test_a_peer_that_never_answers(self, tmp_path: Path, reads: bool, whose: str) -> None:
        taking = Taking()
        taking.answer = lambda message: None
        if not reads:
            taking.begin = lambda on: on.link.pause_reading(True)
        sections: dict[str, Any] = {"dicom": {"response_timeout": 0.2}}
        if whose == "of this modality":
            sections = {"modalities": {"test": {"aet": "TEST", "response_timeout": 0.2}}}
        async with gateway_and(tmp_path, None, **sections) as gateway:
            await store(gateway, instances(3, rows=2048, columns=2048))
            asking = asyncio.ensure_future(get(gateway, taking, level="STUDY", study="1.1"))
            await until(lambda: taking.begun)
            await until(lambda: not gateway.acceptor.associations())
            asking.cancel()
            (outcome,) = await asyncio.gather(asking, return_exceptions=True)
            assert isinstance(outcome, (AssociationLost, asyncio.CancelledError))
            await until(lambda: not gateway.services._context.tasks)


async def bring(gateway: Intake, data: bytes, syntax: str, uid: str = "1.1.1.1") -> None:
    """Have a data set stored as it is, as a file brings it."""

    async def file() -> AsyncGenerator[bytes, None]:
        yield file_header(sop_class_uid=CT, sop_instance_uid=uid, transfer_syntax_uid=syntax) + data

    await receive(gateway.ingest, file(), Origin("", "", "", 0.0, "rest"))


def _rle(frame: bytes) -> bytes:
    """A frame of one value as RLE (PS3.5 G.4)."""
    runs = [bytes([257 - length, frame[0]]) for length in _run_lengths(len(frame))]
    return struct.pack("<16I", 1, 64, *[0] * 14) + b"".join(runs)


def _run_lengths(total: int) -> list[int]:
    return [128] * (total // 128) + ([total % 128] if total % 128 else [])


class TestOddLengths:
    """PS3.5 §7.1.1, PS3.8 Annex E.1: what lies here as a file brought it goes out padded."""

    CASE = pytest.mark.case("case 06 what is of odd length is sent on in fragments of even length")

    @CASE
    @pytest.mark.parametrize("over", ["move", "get"])
    async def test_pixel_data(self, tmp_path: Path, over: str) -> None:
        (data_set,) = instances(1)
        data_set.PixelData = b"\1" * 36
        even = encode(data_set, EXPLICIT)
        odd = even[:-40] + b"\x23\0\0\0" + even[-36:-1]
        target = Destination()
        async with gateway_and(tmp_path, target) as gateway:
            await bring(gateway, odd, EXPLICIT)
            if over == "move":
                *_, last = await move(gateway, level="STUDY", study="1.1")
            else:
                *_, last = await get(gateway, target, level="STUDY", study="1.1")
        assert numbers(last) == (status.SUCCESS, None, 1, 0, 0)
        assert target.received == {"1.1.1.1": even[:-1] + b"\0"}

    @CASE
    async def test_deflated(self, tmp_path: Path) -> None:
        """ "shall have a trailing NULL byte" (PS3.5 A.5)."""
        for length in range(2, 100, 2):
            (data_set,) = instances(1, PatientComments="x" * length)
            stream = encode(data_set, DEFLATED)
            odd = stream.removesuffix(b"\0")
            if len(odd) % 2:
                break
        target = Destination()
        async with gateway_and(tmp_path, target) as gateway:
            await bring(gateway, odd, DEFLATED)
            *_, last = await move(gateway, level="STUDY", study="1.1")
        assert numbers(last) == (status.SUCCESS, None, 1, 0, 0)
        assert target.received == {"1.1.1.1": odd + b"\0"}

    @pytest.mark.case("file 04 frames of odd length are decoded into fragments of even length")
    async def test_decoded_frames(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Large ones, each of which comes in pieces of its own."""
        data_set = instance(StudyInstanceUID="1.1", SOPInstanceUID="1.1.1.1", NumberOfFrames=3)
        data_set.Rows, data_set.Columns = 1201, 1001
        data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit = 8, 8, 7
        frames = [bytes([n]) * (1201 * 1001) for n in (1, 2, 3)]
        data_set.PixelData = encapsulate([_rle(each) for each in frames])
        lengths: list[int] = []
        send_data = Association.send_data

        def noting(self: Association, context_id: int, is_command: bool, data: bytes, last: bool) -> None:
            lengths.append(len(data))
            send_data(self, context_id, is_command, data, last)

        target = Destination(syntaxes=[EXPLICIT])
        async with gateway_and(tmp_path, target) as gateway:
            await bring(gateway, encode(data_set, RLE), RLE)
            monkeypatch.setattr(Association, "send_data", noting)
            *_, last = await move(gateway, level="STUDY", study="1.1")
        assert numbers(last) == (status.SUCCESS, None, 1, 0, 0)
        assert decode(target.received["1.1.1.1"], EXPLICIT).PixelData == b"".join(frames) + b"\0"
        assert all(length % 2 == 0 for length in lengths)


class TestTranscoding:
    """PS3.5 §10.1: every peer takes Implicit VR Little Endian."""

    def compressed(self) -> tuple[Dataset, bytes]:
        """An RLE image of a study 1.1, and its pixels."""
        data_set = read_sample(sample("MR_small_RLE.dcm"))
        del data_set.file_meta
        data_set.StudyInstanceUID, data_set.SeriesInstanceUID, data_set.SOPInstanceUID = "1.1", "1.1.1", "1.1.1.9"
        return data_set, read_sample(sample("MR_small.dcm")).PixelData

    @pytest.mark.parametrize("target_syntax", [EXPLICIT, IMPLICIT])
    async def test_decoded_for_a_destination(self, tmp_path: Path, target_syntax: str) -> None:
        target = Destination(syntaxes=[target_syntax])
        data_set, pixels = self.compressed()
        async with gateway_and(tmp_path, target) as gateway:
            await store(gateway, [data_set], RLE)
            *_, last = await move(gateway, level="STUDY", study="1.1")
        assert numbers(last) == (status.SUCCESS, None, 1, 0, 0)
        (message,) = target.messages
        found = decode(bytes(message.data), target_syntax)
        assert found.PixelData == pixels
        assert found.PatientName == data_set.PatientName

    async def test_as_it_is_where_that_is_taken(self, tmp_path: Path) -> None:
        target = Destination(syntaxes=ALL)
        data_set, _ = self.compressed()
        async with gateway_and(tmp_path, target) as gateway:
            sent = await store(gateway, [data_set], RLE)
            await move(gateway, level="STUDY", study="1.1")
        assert target.received == sent

    @pytest.mark.parametrize("stored", sorted({EXPLICIT, "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"}))
    async def test_encoded_anew_for_a_get(self, tmp_path: Path, stored: str) -> None:
        taking = Taking()
        data_sets = instances(2)
        async with gateway_and(tmp_path, None) as gateway:
            await store(gateway, data_sets, stored)
            *_, last = await get(gateway, taking, [(CT, [IMPLICIT])], level="STUDY", study="1.1")
        assert numbers(last) == (status.SUCCESS, None, 2, 0, 0)
        for message in taking.messages:
            assert decode(bytes(message.data), IMPLICIT).PatientName == "Doe^Jane"

    async def test_what_cannot_be_decoded_fails_alone(self, tmp_path: Path) -> None:
        """Video, and an image whose last frame is broken: said so, and the others come."""
        target = Destination(syntaxes=[EXPLICIT])
        good, pixels = self.compressed()
        bad, _ = self.compressed()
        bad.SOPInstanceUID = "1.1.1.8"
        bad.Rows = 65
        good.PatientID = bad.PatientID = "P1"
        async with gateway_and(tmp_path, target) as gateway:
            (video,) = instances(1, PixelData=None)
            video.SOPInstanceUID = "1.1.1.7"
            await store(gateway, [video], MPEG2)
            await store(gateway, [good, bad], RLE)
            *_, last = await move(gateway, level="STUDY", study="1.1")
        assert numbers(last) == (0xB000, None, 1, 2, 0)
        assert sorted(failed(last)) == ["1.1.1.7", "1.1.1.8"]
        assert decode(target.received["1.1.1.9"], EXPLICIT).PixelData == pixels
