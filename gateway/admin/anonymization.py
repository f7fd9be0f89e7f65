"""Changes to stored instances, de-identification included: exported as files, or stored beside the originals."""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import AsyncGenerator, Generator, Iterable, Sequence
from contextlib import aclosing, closing
from dataclasses import replace
from typing import Final

from gateway.database.database import Database, Script
from gateway.database.view import seeing
from gateway.dicom import part10
from gateway.dicom.levels import LEVELS, Level
from gateway.edit.change_set import ChangeSet, Received
from gateway.errors import InstanceRefused, NotFound
from gateway.index.annotations import MadeBy, note_origins
from gateway.index.locate import Identity, Located, identified, located_by_public_id
from gateway.index.record import InstanceRecord
from gateway.index.store import Origin, correct_parents
from gateway.ingest.ingest import ITSELF, NOTHING, Ingest
from gateway.ingest.outcome import STATUS_DUPLICATE, Outcome, StoreResult
from gateway.retrieve.opened import Changed
from gateway.retrieve.retrieval import Retrieval
from gateway.storage.store import StoredObject

_PIECE: Final = 1 << 20


class Anonymizing:
    def __init__(self, database: Database, retrieval: Retrieval, ingest: Ingest) -> None:
        self._database = database
        self._retrieval = retrieval
        self._ingest = ingest

    async def file(self, public_id: str, changes: ChangeSet) -> AsyncGenerator[bytes, None]:
        """The file of one instance in chunks. Raises, before the first chunk: EditError, DataSetError, NotFound."""
        async for located in located_by_public_id(self._database, "instance", public_id):
            async with aclosing(self._pieces(located, changes)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        raise NotFound(f"there is no instance {public_id}")

    def check_space(self) -> None:
        """Raise OutOfSpace where nothing can be stored now."""
        self._ingest.check_space()

    async def store(
        self,
        located: Located,
        changes: ChangeSet,
        origin: Origin,
        *,
        overwrites: bool = False,
        repeats: bool = False,
        is_stored: bool = False,
    ) -> StoreResult:
        """Store the changed instance; if it is the same one, and `overwrites`, in the place of the original.

        Its UIDs are the caller's own where it `repeats`: what is stored under them is of an attempt before, and is
        replaced. Where it `is_stored`, an attempt before has stored it, and what is under its UIDs stays. It belongs to
        whom the original does, whoever asks for it.

        Raises: EditError, DataSetError; InstanceRefused where it is stored already and stays as it is; errors of
        `Ingest.begin` and `InstanceWriter.commit`.
        """
        origin = replace(origin, tenant=located.tenant)
        changed = await self._retrieval.edit(located, changes, Received(origin.calling_aet, origin.received_at))
        with closing(changed):
            replaced = ITSELF if repeats else changed.located.key if overwrites else ""
            if is_stored:
                replaced = NOTHING
            done = await self._ingested(changed, origin, replaced)
        if done.outcome is Outcome.DUPLICATE_KEPT and not is_stored:
            raise InstanceRefused("the instance is stored already, with other bytes, which are kept", STATUS_DUPLICATE)
        return done

    async def _ingested(self, changed: Changed, origin: Origin, overwrites: str) -> StoreResult:
        edited = changed.edited
        with closing(await self._retrieval.changed(changed, lambda uid: uid)) as content:
            writer = self._ingest.begin(
                transfer_syntax_uid=edited.transfer_syntax_uid,
                sop_class_uid=edited.sop_class_uid,
                sop_instance_uid=edited.sop_instance_uid,
                origin=origin,
                overwrites=overwrites,
            )
            try:
                async with aclosing(content.chunks()) as chunks:
                    async for chunk in chunks:
                        writer.write(chunk, None)
                        await writer.drained()
            except BaseException:
                writer.abandon()
                raise
        return await writer.commit()

    async def note(
        self,
        made_by: MadeBy,
        pairs: Sequence[tuple[StoreResult, Identity]],
        *,
        labels: bool,
        changed: Level = "instance",
    ) -> None:
        """Write down what resources were made of, in metadata of the name `made_by`; their `labels` go with them.

        What they belong to and their source did gets their attributes, from the level `changed` down.
        """
        found = [(identity_of(done.record), source) for done, source in pairs]
        corrected = {}
        for (done, source), (made, _source) in zip(pairs, found, strict=True):
            levels = [
                level
                for level, ours, theirs in zip(LEVELS, made, source, strict=True)
                if level != "instance" and LEVELS.index(level) >= LEVELS.index(changed) and ours == theirs
            ]
            if levels:
                corrected[made.series] = done.record, levels

        def script() -> Script[None]:
            yield from note_origins(made_by, found, labels=labels)
            for record, levels in corrected.values():
                yield from correct_parents(record, levels)

        with seeing(None):  # Whoever asked for the changes may not see what came of them.
            await self._database.write(script)

    async def members(self, resources: Iterable[tuple[str, Level]], last: int) -> UidSet:
        """The UIDs of resources and of what is in them, up to the row `last` of an instance."""
        found = UidSet()
        for public_id, level in resources:
            async for page in identified(self._database, level, public_id):
                found.add([located for _identity, located in page if located.id <= last])
        found.sort()
        return found

    def _pieces(self, located: Located, changes: ChangeSet) -> AsyncGenerator[bytes, None]:
        def work(stored: StoredObject, located: Located) -> Generator[bytes, None, None]:
            edited = changes.apply(
                stored.read,
                located.data_set_offset,
                located.size,
                located.transfer_syntax_uid,
                workspace=self._retrieval.workspace,
            )
            try:
                yield part10.file_header(
                    sop_class_uid=edited.sop_class_uid,
                    sop_instance_uid=edited.sop_instance_uid,
                    transfer_syntax_uid=edited.transfer_syntax_uid,
                )
                for at in range(0, edited.length, _PIECE):
                    yield edited.read(at, _PIECE)
            finally:
                edited.close()

        return self._retrieval.pieces(located, work, len, decodes=True)


class UidSet:
    """UIDs of many instances, in 8 bytes each: their hashes, sorted."""

    def __init__(self) -> None:
        self._above: dict[Level, set[str]] = {"study": set(), "series": set()}
        self._hashes = array("Q")

    def add(self, page: Iterable[Located]) -> None:
        """Add instances and what they belong to; `sort` before anything is looked up."""
        for each in page:
            self._above["study"].add(each.study_uid)
            self._above["series"].add(each.series_uid)
            self._hashes.append(_hash(each.sop_uid))

    def sort(self) -> None:
        self._hashes = array("Q", sorted(self._hashes))

    def has(self, level: Level, uid: str) -> bool:
        """Whether a study, series or instance with this UID is one of them."""
        if level != "instance":
            return uid in self._above.get(level, ())
        wanted = _hash(uid)
        at = bisect_left(self._hashes, wanted)
        return at < len(self._hashes) and self._hashes[at] == wanted


def _hash(uid: str) -> int:
    return int.from_bytes(hashlib.blake2b(uid.encode(), digest_size=8).digest(), "little")


def identity_of(record: InstanceRecord) -> Identity:
    """The public ids of an instance that was stored, and of what it belongs to."""
    parents = record.parents
    return Identity(parents.patient_public_id, parents.study_public_id, parents.series_public_id, record.public_id)
