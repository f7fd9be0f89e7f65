"""From an instance that comes in to the destination that has it: everything between, over real associations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pydicom
import pytest

from gateway.admin.deletion import Removal
from gateway.errors import NotFound, OutOfDescriptors
from gateway.events.exports import read_exports
from gateway.forwarding.control import DestinationStatus, Selection
from gateway.forwarding.handler import AT_ONCE
from gateway.forwarding.service import Service
from gateway.forwarding.table import Delivery
from gateway.forwarding.verification import MAX_RESENDS
from gateway.jobs import runner
from gateway.jobs.runner import Runner
from gateway.remote.dicom import DicomNode
from gateway.retrieve.retrieval import Retrieval
from tests.forwarding.conftest import Archive
from tests.forwarding.conftest import archive as archive  # the fixture
from tests.support.destination import Destination, Message
from tests.support.waiting import until


class Desk:
    def __init__(self, archive: Archive, service: Service, runner: Runner, peer: Destination) -> None:
        self.archive, self.service, self.runner, self.peer = archive, service, runner, peer

    def configure(self, *, changes: dict[str, Any] | None = None, **destination: Any) -> None:
        modality = {"aet": "PACS", "host": "127.0.0.1", "port": self.peer.port}
        quick = {"retry_after": 0.001, "retry_longest": 0.01, "prove_after": 0.01}
        self.archive.settings = msgspec.convert(
            {
                "modalities": {"pacs": modality},
                "destinations": {"pacs": {"kind": "dicom", "modality": "pacs", **quick, **destination}},
                "rules": {"all": {"destinations": ["pacs"], "changes": "study" if changes else ""}},
                "changes": {"study": changes} if changes else {},
                "storage": {"duplicates": "overwrite", "min_free": 0},
            },
            type(self.archive.settings),
        )

    async def until(self, wanted: Callable[[list[Delivery]], bool]) -> list[Delivery]:
        """The deliveries once they are so."""
        found: list[Delivery] = []

        async def look() -> bool:
            nonlocal found
            found = await self.archive.all()
            return wanted(found)

        try:
            await until(look)
        except AssertionError:
            raise AssertionError(f"still {found}") from None
        return found

    async def until_all(self, state: str) -> list[Delivery]:
        return await self.until(lambda found: bool(found) and all(each.state == state for each in found))


@asynccontextmanager
async def _desk(archive: Archive) -> AsyncIterator[Desk]:
    peer = Destination()
    threads = ThreadPoolExecutor(2)
    retrieval = Retrieval(archive.database, archive.folder.store, threads)
    loop = asyncio.get_running_loop()
    service = Service(
        archive.database,
        lambda: archive.settings,
        archive.rule_engine,
        retrieval,
        wake=archive.jobs_added.set,
        clock=loop.time,
    )
    runner = Runner(
        archive.database, service.kinds, limit=service.limit, poll=0.02, clock=loop.time, wake=archive.jobs_added
    )
    archive.now = loop.time()
    made = Desk(archive, service, runner, peer)
    made.configure()
    runner.start()
    try:
        yield made
    finally:
        await runner.close()
        await service.close(10.0)
        await made.peer.acceptor.stop(0)
        threads.shutdown()


@pytest.fixture
async def desk(archive: Archive) -> AsyncIterator[Desk]:
    async with _desk(archive) as made:
        yield made


async def test_what_comes_in_goes_out_as_it_came(desk: Desk) -> None:
    for number in range(20):
        await desk.archive.store(f"7.{number}")
    found = await desk.until_all("delivered")
    assert {each.sop_uid for each in found} == desk.peer.received.keys()
    one = found[0]
    assert (one.status, one.sent, one.sent_sop_uid) == (0, len(desk.peer.received["7.0"]), "7.0")
    assert (one.sent_study_uid, one.detail) == (one.study_uid, "0000H success")
    exported, done = await read_exports(desk.archive.database, 0, 100)
    assert done
    assert {(each.sop_uid, each.level, each.remote) for each in exported} == {
        (f"7.{number}", "Instance", "pacs") for number in range(20)
    }


async def test_what_is_taken_another_time(desk: Desk) -> None:
    answers = iter([0xA700, 0xC000, 0x0110])
    desk.peer.answer = lambda message: message.respond(next(answers, 0))
    await desk.archive.store("7.1")
    (one,) = await desk.until_all("delivered")
    assert one.attempts == 4
    assert one.sent == 4 * len(desk.peer.received["7.1"])


async def test_what_is_refused_for_good_is_not_tried_again(desk: Desk) -> None:
    desk.peer.answer = lambda message: message.respond(0xA900)
    await desk.archive.store("7.1")
    (one,) = await desk.until_all("refused")
    assert (one.attempts, one.status) == (1, 0xA900)
    assert "A900H" in one.detail
    desk.peer.answer = Message.respond
    assert await desk.archive.deliveries.act("resend", Selection(destination="pacs")) == 1
    desk.runner.notify()
    (one,) = await desk.until_all("delivered")


async def test_what_fails_too_often_is_dead(desk: Desk) -> None:
    desk.configure(attempts=3)
    desk.peer.answer = lambda message: message.respond(0xA700)
    await desk.archive.store("7.1")
    (one,) = await desk.until_all("dead")
    assert (one.attempts, one.status) == (3, 0xA700)


async def test_a_dead_destination_costs_no_attempts(desk: Desk) -> None:
    await desk.peer.acceptor.stop(0)
    for number in range(5):
        await desk.archive.store(f"7.{number}")

    async def failing() -> DestinationStatus | None:
        (status,) = await desk.archive.deliveries.destinations()
        return status if status.failures else None

    status = await until(failing)
    assert "refused" in status.reason
    assert (status.waiting + status.sending, {each.state for each in await desk.archive.all()}) == (5, {"waiting"})
    assert {each.attempts for each in await desk.archive.all()} == {0}
    desk.peer = Destination()
    desk.configure()
    await desk.archive.deliveries.release_destination("pacs")
    desk.runner.notify()
    assert {each.attempts for each in await desk.until_all("delivered")} == {1}
    assert (await desk.archive.deliveries.destinations())[0].failures == 0


async def test_how_many_are_under_way_depends_on_hours_and_settings(desk: Desk) -> None:
    hour = datetime.fromtimestamp(asyncio.get_running_loop().time()).hour
    desk.configure(hours=[f"{(hour + 2) % 24:02}:00-{(hour + 2) % 24:02}:59"])
    assert desk.service.limit("to:pacs") == 0
    desk.configure(hours=[f"{hour:02}:00-24:00"], connections=3)
    assert desk.service.limit("to:pacs") == 3 * AT_ONCE
    desk.archive.settings = msgspec.structs.replace(desk.archive.settings, destinations={})
    assert desk.service.limit("to:pacs") == 0


async def test_an_earlier_version_is_not_sent(desk: Desk) -> None:
    await desk.archive.deliveries.hold_destination("pacs")
    await desk.archive.store("7.1")
    await desk.archive.store("7.1", PatientComments="newer")
    old = (await desk.archive.all())[0]
    assert (old.state, old.detail) == ("cancelled", "version 2 has come")
    await desk.archive.deliveries.act_on("resend", old.id)
    await desk.archive.deliveries.release_destination("pacs")
    desk.runner.notify()
    found = await desk.until(lambda found: [each.state for each in found] == ["cancelled", "delivered"])
    assert found[0].detail == "version 2 has come"


async def delete(desk: Desk) -> None:
    await Removal(desk.archive.ingest, clock=lambda: desk.archive.now).by_uid(["1.2"])


@pytest.mark.case("item 5 the delivery of a deleted instance is cancelled, and no failure of its destination")
async def test_what_was_deleted_is_not_sent(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    await desk.archive.deliveries.hold_destination("pacs")
    await desk.archive.store("7.1")
    await delete(desk)
    await desk.archive.deliveries.release_destination("pacs")
    desk.runner.notify()
    (one,) = await desk.until_all("cancelled")
    assert one.detail == "the instance is not stored any more"
    (status,) = await desk.archive.deliveries.destinations()
    assert (status.refused, status.dead) == (0, 0)
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


async def test_what_is_deleted_while_it_is_sent(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def data_set(_self: Retrieval, *_: Any) -> Any:
        await delete(desk)
        raise NotFound("it has gone")

    monkeypatch.setattr(Retrieval, "data_set", data_set)
    await desk.archive.store("7.1")
    (one,) = await desk.until_all("cancelled")
    assert one.detail == "the instance is not stored any more"


@pytest.mark.case("item 5 a lack of descriptors is no attempt to deliver")
async def test_a_lack_of_descriptors_is_no_attempt(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_DESCRIPTORS_S", 0.001)
    desk.configure(attempts=1)
    whole, lacks = Retrieval.data_set, iter([OutOfDescriptors("too many open files")] * 3)

    async def data_set(self: Retrieval, *arguments: Any) -> Any:
        for lack in lacks:
            raise lack
        return await whole(self, *arguments)

    monkeypatch.setattr(Retrieval, "data_set", data_set)
    await desk.archive.store("7.1")
    (one,) = await desk.until_all("delivered")
    assert one.attempts == 1
    assert next(lacks, None) is None


class TestProof:
    @pytest.fixture(autouse=True)
    def _prove(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        self.there: set[str] = set()
        self.asked = 0

        async def has(_self: DicomNode, instances: Any) -> set[str]:
            self.asked += 1
            return self.there

        monkeypatch.setattr(DicomNode, "has", has)
        desk.configure(prove=True)

    async def test_it_has_what_it_took(self, desk: Desk) -> None:
        self.there = {"7.1", "7.2"}
        await desk.archive.store("7.1")
        await desk.archive.store("7.2")
        await desk.until(lambda found: len(found) == 2 and all(each.proven_at for each in found))

    async def test_what_it_lacks_is_sent_again_and_then_given_up(self, desk: Desk) -> None:
        self.there = {"7.2"}
        await desk.archive.store("7.1")
        await desk.archive.store("7.2")
        lost, there = await desk.until(
            lambda found: [each.state for each in found] == ["dead", "delivered"] and bool(found[1].proven_at)
        )
        assert lost.detail == f"pacs accepted it {MAX_RESENDS + 1} times and does not have it"
        assert there.state == "delivered"
        assert [message.uid for message in desk.peer.messages].count("7.1") == MAX_RESENDS + 1
        assert [message.uid for message in desk.peer.messages].count("7.2") == 1


class TestChanges:
    @pytest.fixture(autouse=True)
    def _changes(self, desk: Desk, tmp_path: Path) -> None:
        (tmp_path / "key").write_text("0123456789abcdef0123456789abcdef")
        desk.configure(changes={"key_file": str(tmp_path / "key"), "deidentify": {}})

    async def test_what_leaves_is_changed_and_on_record(self, desk: Desk) -> None:
        await desk.archive.store("7.1", PatientName="Doe^Jane")
        await desk.archive.store("7.2", PatientName="Doe^Jane")
        found = await desk.until_all("delivered")
        left = {uid: pydicom.dcmread(BytesIO(data), force=True) for uid, data in desk.peer.received.items()}
        assert {each.sent_sop_uid for each in found} == left.keys()
        assert not left.keys() & {"7.1", "7.2"}
        assert {"Doe" in str(each) for each in left.values()} == {False}
        assert len({each.StudyInstanceUID for each in left.values()}) == 1
        assert {(each.changes, each.changes_version) for each in found} == {
            ("study", desk.archive.rule_engine.compiled.change_sets["study"].version)
        }
        assert {each.sent_study_uid for each in found} == {each.StudyInstanceUID for each in left.values()}

    async def test_again_it_is_the_same(self, desk: Desk) -> None:
        answers = iter([0xA700, 0xA700])
        desk.peer.answer = lambda message: message.respond(next(answers, 0))
        await desk.archive.store("7.1")
        await desk.until_all("delivered")
        assert len({bytes(message.data) for message in desk.peer.messages}) == 1
        assert len(desk.peer.messages) == 3

    async def test_what_may_not_leave_does_not(self, desk: Desk) -> None:
        await desk.archive.store("7.1", BurnedInAnnotation="YES", PixelData=bytes(128 * 128 * 2))
        (one,) = await desk.until_all("refused")
        assert "study cannot be made" in one.detail
        assert not desk.peer.messages
