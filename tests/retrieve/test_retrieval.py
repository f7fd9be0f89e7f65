"""gateway/retrieve/retrieval.py: the row read again, and nothing left open."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.dicom import part10
from gateway.errors import DataSetError, NotFound, Overloaded, StorageError
from gateway.imaging.pixels import locate_pixels
from gateway.index.locate import Located
from gateway.retrieve import frame_memory, read_ahead
from gateway.retrieve import retrieval as module
from gateway.retrieve.frame_memory import FrameMemory
from gateway.retrieve.read_ahead import MemoryBudget, ReadAhead
from gateway.retrieve.retrieval import Retrieval
from gateway.storage.memory import MemoryObject
from tests.support.datasets import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, instance
from tests.support.index import data_set
from tests.support.web import House, house

_RLE = "1.2.840.10008.1.2.5"


class CountingStore:
    """Counts what is open; `pause` holds every read up until it is set."""

    def __init__(self, inner: object) -> None:
        self.inner = inner
        self.open_objects = 0
        self.changed = threading.Condition()
        self.pause = threading.Event()
        self.pause.set()
        self.reading = threading.Event()
        self.expected: list[str] = []

    def open(self, key: str) -> CountedObject:
        stored: MemoryObject = self.inner.open(key)  # type: ignore[attr-defined]
        self.count(1)
        return CountedObject(self, stored)

    def count(self, change: int) -> None:
        with self.changed:
            self.open_objects += change
            self.changed.notify_all()

    def settle(self) -> bool:
        """Wait until nothing is open. Whether it came to that in time."""
        with self.changed:
            return self.changed.wait_for(lambda: not self.open_objects, timeout=10)

    def prefetch(self, key: str) -> None:
        self.expected.append(key)


class CountedObject:
    def __init__(self, store: CountingStore, inner: MemoryObject) -> None:
        self._store = store
        self._inner = inner
        self._closed = False

    @property
    def size(self) -> int:
        return self._inner.size

    def read(self, offset: int, length: int) -> bytes:
        self._store.reading.set()
        assert self._store.pause.wait(10)
        assert not self._closed, "read after close"
        return self._inner.read(offset, length)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._store.count(-1)


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as made:
        yield made


@pytest.fixture
def store(gateway: House) -> CountingStore:
    return CountingStore(gateway.memory)


@pytest.fixture
def retrieval(gateway: House, store: CountingStore, executor: ThreadPoolExecutor) -> Retrieval:
    return Retrieval(gateway.database, store, executor)


def as_stored(uid: str) -> str:
    return uid


async def only(retrieval: Retrieval, study: str) -> Located:
    pages = [page async for page in retrieval.pages(study)]
    ((found,),) = pages
    return found


class TestOpen:
    async def test_the_row_is_read_again_when_the_object_has_gone(self, gateway: House, retrieval: Retrieval):
        source = data_set("1.1")
        old, _ = await gateway.add(source)
        located = await only(retrieval, "1.1")
        _, new = await gateway.add(source, IMPLICIT, replaces=old)
        gateway.memory.remove(old)
        content = await retrieval.open(located, as_stored)
        assert content.transfer_syntax_uid == IMPLICIT
        assert b"".join([chunk async for chunk in content.chunks()]) == new

    async def test_pixels_are_converted_in_the_memory_of_all_frames(
        self, gateway: House, store: CountingStore, executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Raises Overloaded where other frames have it, before anything is given."""
        monkeypatch.setattr(frame_memory, "PATIENCE_S", 0.0)
        await gateway.add(instance(StudyInstanceUID="1.1"))
        memory = FrameMemory(lambda: 1000)
        retrieval = Retrieval(gateway.database, store, executor, frame_memory=memory)
        located = await only(retrieval, "1.1")
        with memory.reserved(1000), pytest.raises(Overloaded, match="imaging\\.memory"):
            await retrieval.open(located, lambda _: _RLE)
        content = await retrieval.open(located, lambda _: _RLE)
        assert content.transfer_syntax_uid == _RLE
        content.close()

    async def test_an_instance_removed_meanwhile(self, gateway: House, retrieval: Retrieval):
        await gateway.add(data_set("1.1"))
        located = await only(retrieval, "1.1")
        gone = Located(-1, *[getattr(located, name) for name in located.__slots__[1:]])
        gateway.memory.remove(located.key)
        with pytest.raises(NotFound):
            await retrieval.open(gone, as_stored)

    async def test_an_object_that_is_lost(self, gateway: House, retrieval: Retrieval):
        key, _ = await gateway.add(data_set("1.1"))
        gateway.memory.remove(key)
        with pytest.raises(StorageError):
            await retrieval.open(await only(retrieval, "1.1"), as_stored)

    async def test_a_file_shorter_than_its_row(self, gateway: House, retrieval: Retrieval, store: CountingStore):
        key, file = await gateway.add(data_set("1.1"))
        gateway.memory.put(key, file[:-10])
        content = await retrieval.open(await only(retrieval, "1.1"), as_stored)
        with pytest.raises(StorageError, match="expected"):
            _ = [chunk async for chunk in content.chunks()]
        assert store.open_objects == 0

    async def test_what_cannot_be_converted(self, gateway: House, retrieval: Retrieval, store: CountingStore):
        await gateway.add(data_set("1.1"), IMPLICIT, data=b"\x08\x00\x18\x00\xff\x00\x00\x00")
        with pytest.raises(DataSetError):
            await retrieval.open(await only(retrieval, "1.1"), lambda _uid: EXPLICIT)
        assert store.open_objects == 0


class TestOtherSyntaxes:
    """Pixels are decoded and encoded on the way (PS3.5 Annex A), for files and for data sets alone."""

    J2K, RLE, JPEG_LS = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80"

    @pytest.mark.parametrize("target", [J2K, RLE, JPEG_LS, IMPLICIT, BIG_ENDIAN, DEFLATED])
    async def test_each(self, gateway: House, retrieval: Retrieval, store: CountingStore, target: str):
        source = instance(frames=3, StudyInstanceUID="1.1")
        await gateway.add(source)
        located = await only(retrieval, "1.1")
        content = await retrieval.open(located, lambda _uid: target)
        assert content.length is None
        file = b"".join([chunk async for chunk in content.chunks()])
        meta = part10.read_header(lambda at, size: file[at : at + size])
        assert meta.transfer_syntax_uid == target
        alone = await retrieval.data_set(located, lambda _uid: target)
        data = b"".join([chunk async for chunk in alone.chunks()])
        assert file[meta.data_set_offset :] == data
        pixels = locate_pixels(lambda at, size: data[at : at + size], 0, len(data), target)
        assert pixels is not None
        frames = [pixels.native(lambda at, size: data[at : at + size], number) for number in range(3)]
        assert b"".join(frames) == source.PixelData
        await settled(store)

    async def test_what_is_wrong_is_said_before_the_first_byte(
        self, gateway: House, retrieval: Retrieval, store: CountingStore
    ):
        await gateway.add(instance(frames=3, StudyInstanceUID="1.1", NumberOfFrames=4))
        located = await only(retrieval, "1.1")
        for way in (retrieval.open, retrieval.data_set):
            with pytest.raises(DataSetError, match="4 frames"):
                await way(located, lambda _uid: self.RLE)
        await settled(store)

    def test_what_can_be_had(self):
        assert module.obtainable(EXPLICIT, self.J2K)
        assert module.obtainable(self.RLE, EXPLICIT)
        assert not module.obtainable(EXPLICIT, "1.2.840.10008.1.2.4.50")


class TestNothingStaysOpen:
    async def test_after_the_last_chunk_and_after_closing_early(
        self, gateway: House, retrieval: Retrieval, store: CountingStore, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(read_ahead, "CHUNK", 100)
        monkeypatch.setattr(read_ahead, "SMALLEST", 100)
        _, file = await gateway.add(data_set("1.1"))
        located = await only(retrieval, "1.1")
        chunks = (await retrieval.open(located, as_stored)).chunks()
        assert await anext(chunks) == file[:100]
        assert store.open_objects == 1
        await chunks.aclose()
        await settled(store)
        assert b"".join([chunk async for chunk in (await retrieval.open(located, as_stored)).chunks()]) == file
        await settled(store)

    async def test_cancelled_while_a_thread_reads(self, gateway: House, retrieval: Retrieval, store: CountingStore):
        await gateway.add(data_set("1.1"))
        located = await only(retrieval, "1.1")
        store.pause.clear()
        task = asyncio.create_task(retrieval.open(located, as_stored))
        assert await asyncio.to_thread(store.reading.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert store.open_objects == 1, "not under the running read"
        store.pause.set()
        await settled(store)

    async def test_the_next_one_is_let_go_as_well(self, gateway: House, retrieval: Retrieval, store: CountingStore):
        for _ in range(3):
            await gateway.add(data_set("1.1"))

        async def located() -> AsyncIterator[Located]:
            async for page in retrieval.pages("1.1"):
                for each in page:
                    yield each

        opened = retrieval.opened(located(), as_stored, lambda _uid: False, lambda _one, error: pytest.fail(str(error)))
        (await anext(opened)).close()
        await opened.aclose()
        await settled(store)


async def settled(store: CountingStore) -> None:
    """Nothing is open any more, which a thread sees to."""
    assert await asyncio.to_thread(store.settle)


class TestPages:
    async def test_in_order_across_pages(self, gateway: House, retrieval: Retrieval, monkeypatch: pytest.MonkeyPatch):
        for number in (3, 1, 2):
            await gateway.add(data_set("1.1", sop=f"1.1.1.{number}", InstanceNumber=number))
        pages = [page async for page in retrieval.pages("1.1")]
        assert [[each.sop_uid for each in page] for page in pages] == [["1.1.1.1", "1.1.1.2", "1.1.1.3"]]
        rest = [each.sop_uid async for page in retrieval.pages("1.1", after=pages[0][0]) for each in page]
        assert rest == ["1.1.1.2", "1.1.1.3"]

    async def test_none(self, retrieval: Retrieval):
        assert [page async for page in retrieval.pages("1.9")] == []


class TestMap:
    async def test_in_order_and_around_a_moved_one(self, gateway: House, retrieval: Retrieval, store: CountingStore):
        sources = [data_set("1.1") for _ in range(3)]
        keys = [(await gateway.add(source))[0] for source in sources]
        (located,) = [page async for page in retrieval.pages("1.1")]
        await gateway.add(sources[1], replaces=keys[1])
        gateway.memory.remove(keys[1])
        found = await retrieval.map(located, lambda stored, row: (row.sop_uid, stored.size == row.size))
        assert found == [(source.SOPInstanceUID, True) for source in sources]
        assert store.open_objects == 0

    async def test_beginnings_are_fetched_ahead_once_each(
        self, gateway: House, retrieval: Retrieval, store: CountingStore
    ):
        keys = [(await gateway.add(data_set("1.1")))[0] for _ in range(40)]
        (located,) = [page async for page in retrieval.pages("1.1")]
        expected_at: list[int] = []
        await retrieval.map(located, lambda stored, row: expected_at.append(len(store.expected)))
        assert store.expected == keys[1:]
        assert all(known > at for at, known in enumerate(expected_at[:-1]))


async def test_a_pump_that_was_never_started_closes(executor: ThreadPoolExecutor):
    ended = []

    def source() -> Iterator[int]:
        try:
            yield 1
        finally:
            ended.append(True)

    memory = MemoryBudget()
    numbers = ReadAhead(executor, source(), memory, lambda _number: 10)  # type: ignore[arg-type]
    assert await numbers.next() == 1
    assert memory.held == 10
    numbers.close()
    numbers.close()
    assert ended == [True]
    assert memory.held == 0


@pytest.mark.case("item 9 the memory for slow readers is one budget for all workers")
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_memory_of_slow_readers_is_that_of_all_workers_together(workers: int, executor: ThreadPoolExecutor):
    each = Retrieval(None, None, executor, workers=workers).memory  # type: ignore[arg-type]
    share = read_ahead.MEMORY // workers
    assert not each.under_pressure
    each.change(share - 16 * read_ahead.CHUNK)
    assert not each.under_pressure
    each.change(16)
    assert each.under_pressure
    each.change(share)
    assert each.piece == read_ahead.SMALLEST
