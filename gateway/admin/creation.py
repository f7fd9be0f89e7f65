"""Creation of instances out of attributes, pictures and documents, alone or as a series, below what is stored already.

They come in by `ingest/` as all others do. Of the instances of one order all are stored or none: what is stored is
deleted again where a later one fails. How an instance is made is in `new_instance.py`.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Final

from gateway.admin import new_instance
from gateway.admin.deletion import Removal
from gateway.admin.new_instance import Encoded, Payload
from gateway.database.database import Database
from gateway.database.view import seeing
from gateway.dicom.dictionary import KEYWORDS
from gateway.dicom.encode import Attribute, DataSet
from gateway.dicom.levels import LEVELS, UNIQUE_KEYS, Level
from gateway.dicom.modules import MODULES
from gateway.errors import NotFound
from gateway.imaging import picture_file
from gateway.index.locate import Located, identified
from gateway.index.store import Origin
from gateway.ingest.ingest import Ingest
from gateway.ingest.outcome import Outcome, StoreResult
from gateway.retrieve.retrieval import Retrieval
from gateway.retrieve.stored_attributes import attributes_of, decoded
from gateway.storage.store import StoredObject

_CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class NewInstance:
    """One instance of an order: its payload, and the attributes that it has beside those of the order."""

    payload: Payload | None = None
    attributes: DataSet = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CreationOrder:
    """An order to create instances."""

    attributes: DataSet
    """The attributes that all of them are given."""
    instances: Sequence[NewInstance]
    is_series: bool = False
    """Whether they are a series, and numbered."""
    parent: tuple[Level, str] | None = None
    """The resource that they are added to: its level and public id."""
    force: bool = False
    """Whether attributes may be given that an instance has already."""
    encapsulate: bool = False
    """Whether JPEG pictures are put in as they are, without decoding them."""
    character_set: str = ""
    """A term of Specific Character Set that is preferred, if it has all letters."""


class Creation:
    def __init__(
        self,
        database: Database,
        retrieval: Retrieval,
        ingest: Ingest,
        removal: Removal,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._retrieval = retrieval
        self._ingest = ingest
        self._removal = removal
        self._clock = clock

    @asynccontextmanager
    async def memory(self, size: int) -> AsyncIterator[None]:
        """Reserve `size` bytes inside the context, of the memory in which frames are decoded. Raises Overloaded."""
        held = ExitStack()
        reserved = self._retrieval.workspace.reserved(size)
        waiting = asyncio.ensure_future(self._retrieval.run(held.enter_context, reserved))
        try:
            await asyncio.shield(waiting)
        except asyncio.CancelledError:
            waiting.add_done_callback(functools.partial(_release, held))
            raise
        with held:
            yield

    async def create(self, order: CreationOrder, origin: Origin) -> list[StoreResult]:
        """Store the instances of an order.

        Raises: NotFound for a parent that is not there; Overridden; DataSetError for a value or content that makes no
        sense; InstanceRefused; StorageError; Overloaded.
        """
        parent = order.parent[0] if order.parent is not None else None
        inherited, tenant = await self._inherited(order)
        if parent is not None:
            origin = replace(origin, tenant=tenant)
        base = new_instance.begun(parent, inherited, self._clock())
        replaceable = new_instance.REPLACEABLE | ({UNIQUE_KEYS["patient"]} if parent is None else set())
        add = functools.partial(new_instance.added, replaceable=replaceable, force=order.force)
        base = add(base, order.attributes)
        if order.is_series:
            base[KEYWORDS["ImagesInAcquisition"]] = Attribute("IS", [str(len(order.instances))])
            base[KEYWORDS["NumberOfTemporalPositions"]] = Attribute("IS", ["1"])
        results: list[StoreResult] = []
        try:
            for number, each in enumerate(order.instances, 1):
                made = dict(base)
                if order.is_series:
                    made[UNIQUE_KEYS["instance"]] = Attribute("UI", [new_instance.new_uid()])
                made = add(made, each.attributes)
                if order.is_series:
                    made[KEYWORDS["InstanceNumber"]] = Attribute("IS", [str(number)])
                    made[KEYWORDS["ImageIndex"]] = Attribute("US", [number])
                async with self.memory(_decoding_bytes(each.payload)):
                    encode = functools.partial(
                        new_instance.encoded, character_set=order.character_set, encapsulate=order.encapsulate
                    )
                    await self._store(await self._retrieval.run(encode, made, each.payload), origin, results)
        except BaseException:
            if len(results) < len(order.instances):  # Otherwise only whoever asked has gone.
                await asyncio.shield(self._remove(results))
            raise
        return results

    async def _inherited(self, order: CreationOrder) -> tuple[DataSet, str]:
        """The attributes that the order's parent has in its modules, and those above it, and whom it belongs to;
        sequences are left out, as Orthanc leaves them."""
        if order.parent is None:
            return {}, ""
        level, public_id = order.parent
        wanted = frozenset[int]().union(*(MODULES[each] for each in LEVELS[: LEVELS.index(level) + 1]))

        def work(stored: StoredObject, located: Located) -> DataSet:
            return decoded(
                attributes_of(stored, located.data_set_offset, located.size, located.transfer_syntax_uid, wanted)
            )

        async for page in identified(self._database, level, public_id, 1):
            (found,) = await self._retrieval.map([page[0][1]], work)
            kept = {tag: each for tag, each in found.items() if each.vr != "SQ" and tag in wanted}
            return kept, page[0][1].tenant
        raise NotFound(f"there is no {level} {public_id}")

    async def _store(self, made: Encoded, origin: Origin, results: list[StoreResult]) -> None:
        """Store one instance; adds its result, even if this is cancelled meanwhile."""
        writer = self._ingest.begin(
            transfer_syntax_uid=made.transfer_syntax_uid,
            sop_class_uid=made.sop_class_uid,
            sop_instance_uid=made.sop_instance_uid,
            origin=origin,
        )
        try:
            for piece in made.pieces:
                for at in range(0, len(piece), _CHUNK_BYTES):
                    writer.write(memoryview(piece)[at : at + _CHUNK_BYTES], None)
                    await writer.drained()
        except BaseException:
            writer.abandon()
            raise
        commit = writer.commit()
        try:
            await asyncio.shield(commit)
        finally:
            await asyncio.wait([commit])
            if commit.exception() is None:
                results.append(commit.result())

    async def _remove(self, results: Sequence[StoreResult]) -> None:
        """Delete what has been stored of an order that failed."""
        for result in results:
            if result.outcome is Outcome.STORED:
                with suppress(NotFound), seeing(None):  # Whoever asked for it may not see what came of it.
                    await self._removal.by_public_id("instance", result.record.public_id)


def _release(held: ExitStack, waiting: asyncio.Future[None]) -> None:
    """Release memory that was reserved for somebody who has gone."""
    if not waiting.cancelled() and waiting.exception() is None:
        held.close()


def _decoding_bytes(payload: Payload | None) -> int:
    """Bytes of memory that putting in a payload takes: its pixels as decoded, and twice as they are written."""
    if payload is None or payload.media_type not in picture_file.READABLE:
        return 2 * len(payload.data) if payload is not None else 0
    return 3 * picture_file.announced(payload.media_type, payload.data).decoded_bytes
