"""The proof that everything of an Orthanc is here: every resource, every byte, everything that people added.

An object's bytes are proved by the MD5 that Orthanc recorded when it received it: of the first bytes of Orthanc's file,
group 0002, which is ours here, followed by the data set as it is stored here.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from typing import Final

from gateway.dicom.levels import LEVELS, Level
from gateway.errors import DataSetError, SourceError, StorageError, TruncatedDataSet, UnknownResource
from gateway.index.annotations import Metadata, added_metadata, check_exists, is_protected, labels
from gateway.index.store import Duplicate, stored_as
from gateway.ingest.data_folder import DataFolder
from gateway.ingest.files import FIRST_READ_BYTES, MAX_HEAD_BYTES, read_meta
from gateway.migration import queries
from gateway.migration.ledger import MigrationLedger
from gateway.migration.orthanc_attachments import UserFiles
from gateway.migration.orthanc_index import Annotated, OrthancIndex, SourceAttachment, SourceInstance
from gateway.migration.storage_area import StorageArea

MAX_LISTED: Final = 1000
"""Problems that are listed; more are counted."""
_OVERWRITING: Final = 'storage.duplicates = "overwrite"'
_PIECE_BYTES: Final = 1 << 20
_MAX_CONCURRENT: Final = 4


@dataclass(slots=True)
class ProofReport:
    """The result of a proof: numbers by level at the source and here, and everything that is not as it should be."""

    there: dict[Level, int] = field(default_factory=dict)
    here: dict[Level, int] = field(default_factory=dict)
    proved: int = 0
    """Instances whose bytes here are those that Orthanc received."""
    annotated: int = 0
    """Resources whose metadata, labels and protection are here."""
    attached: int = 0
    """The user's attachments that are here."""
    problems: list[str] = field(default_factory=list)
    """The first MAX_LISTED problems."""
    problem_count: int = 0
    renamed: int = 0
    """Instances that have another public id here."""
    merged: Counter[Level] = field(default_factory=Counter)
    """Resources that are here as one with another of Orthanc's: their identifiers differ by spaces, say."""

    @property
    def is_clean(self) -> bool:
        return not self.problem_count and self.there == self.here

    def add(self, problem: str) -> None:
        """Add a problem."""
        self.problem_count += 1
        if len(self.problems) < MAX_LISTED:
            self.problems.append(problem)


class OrthancProof:
    """Compares a copy of an Orthanc's index, and its files, with a data folder."""

    def __init__(
        self,
        index: OrthancIndex,
        storage: StorageArea,
        folder: DataFolder,
        ledger: MigrationLedger,
        named: Callable[[Sequence[tuple[int, str, int]]], Mapping[str, Metadata]],
        files: UserFiles,
        show: Callable[[str, int, int], None],
    ) -> None:
        """`named` gives the user's metadata their names."""
        self._files = files
        self._index = index
        self._storage = storage
        self._folder = folder
        self._ledger = ledger
        self._named = named
        self._show = show
        self._report = ProofReport()

    async def run(self) -> ProofReport:
        """Compare all. What was proved before, and noted in the ledger, is not read again. Raises: SourceError,
        DatabaseError."""
        report = self._report
        report.there = dict((await asyncio.to_thread(self._index.contents)).levels)
        report.here = dict.fromkeys(LEVELS, 0)
        for level in LEVELS[:-1]:
            await self._level(level)
        await self._instances()
        await self._annotations()
        async with aclosing(self._files.prove(self._index)) as attached:
            async for name, difference in attached:
                if difference:
                    report.add(f"{name}: {difference}")
                else:
                    report.attached += 1
        return report

    async def _level(self, level: Level) -> None:
        """Count the patients, studies or series that are here."""
        after, others = 0, set[bytes]()
        while page := await asyncio.to_thread(self._index.resources, level, after):
            after = page[-1][0]
            for _row, public_id in page:
                other = await self._renamed(public_id)
                if await self._exists(level, public_id) or await self._exists(level, other):
                    self._report.here[level] += 1
                else:
                    self._report.add(f"{level} {public_id}: it is not here")
                    continue
                if other:
                    known = other.encode()
                    self._report.merged[level] += known in others or await asyncio.to_thread(self._index.has, other)
                    others.add(known)

    async def _exists(self, level: Level, public_id: str) -> bool:
        try:
            await check_exists(self._folder.database, level, public_id)
        except UnknownResource:
            return False
        return True

    async def _renamed(self, public_id: str) -> str:
        """The public id that a resource has here, if it is another one; '' otherwise."""
        return str(await asyncio.to_thread(self._ledger.value, queries.RENAMED, public_id) or "")

    async def _instances(self) -> None:
        after, done, total = 0, 0, self._report.there["instance"]
        while page := await asyncio.to_thread(self._index.instances, after):
            after = page[-1].row
            proved = dict(await self._ledger.of(queries.PROVED, page[0].row, after))
            for at in range(0, len(page), _MAX_CONCURRENT):
                some = page[at : at + _MAX_CONCURRENT]
                await asyncio.gather(*(self._instance(each, proved.get(each.row, "")) for each in some))
            done += len(page)
            self._show("proving", done, total)
            await asyncio.to_thread(self._ledger.commit)

    async def _instance(self, instance: SourceInstance, proved: str) -> None:
        """Prove one instance, unless that was done for the object with this key before the proof was broken off."""
        report, database = self._report, self._folder.database
        here = instance.public_id
        name = f"instance {instance.public_id}"
        found = await stored_as(database, instance.public_id)
        if found is None and (other := await self._renamed(instance.public_id)):
            found = await stored_as(database, other)
            report.renamed += found is not None
            here = other
        if found is None:
            reason = await asyncio.to_thread(self._ledger.value, queries.REASON, instance.public_id)
            report.add(f"{name}: it is not here: {reason or instance.trouble or 'it has been deleted here'}")
            return
        report.here["instance"] += 1
        if instance.file is None:
            report.add(f"{name}: it cannot be compared: {instance.trouble}")
            return
        if found.key != proved:
            try:
                difference = await asyncio.to_thread(self._difference, instance.file, found, here)
            except (SourceError, DataSetError, StorageError) as error:
                difference = f"it cannot be compared: {error}"
            if difference:
                report.add(f"{name}: {difference}")
                return
            await asyncio.to_thread(self._ledger.write, (queries.ADD_PROVED, instance.row, found.key))
        report.proved += 1

    def _difference(self, file: SourceAttachment, found: Duplicate, here: str) -> str:
        """What is different in the instance with the public id `here`; '' for nothing. Blocks."""
        with self._storage.open(file) as reader:
            head, wanted = b"", FIRST_READ_BYTES
            while True:
                while len(head) < wanted and (piece := reader.read(wanted - len(head))):
                    head += piece
                try:
                    meta = read_meta(head)
                    break
                except TruncatedDataSet:
                    if len(head) < wanted or wanted >= MAX_HEAD_BYTES:
                        raise
                    wanted = MAX_HEAD_BYTES
            if meta is None:
                return "Orthanc's file is no DICOM file"
            recorded = file.md5
            if not recorded:  # Orthanc computes none where it is told not to.
                whole = hashlib.md5(head, usedforsecurity=False)
                while piece := reader.read(_PIECE_BYTES):
                    whole.update(piece)
                recorded = whole.hexdigest()
        digest = hashlib.md5(head[: meta.data_set_offset], usedforsecurity=False)
        with closing(self._folder.store.open(found.key)) as stored:
            for at in range(found.data_set_offset, found.size, _PIECE_BYTES):
                digest.update(stored.read(at, min(_PIECE_BYTES, found.size - at)))
        if digest.hexdigest() == recorded:
            return ""
        return (
            f"it is here with other bytes: SOP Instance UID {meta.sop_instance_uid or 'unknown'}, "
            f"here /instances/{here}; to have Orthanc's, send it from there while {_OVERWRITING}"
        )

    async def _annotations(self) -> None:
        after = 0
        while page := await asyncio.to_thread(self._index.annotated, after):
            after = page[-1].row
            for each in page:
                await self._annotated(each)
            self._show("proving metadata", self._report.annotated, 0)

    async def _annotated(self, each: Annotated) -> None:
        database, level = self._folder.database, each.level
        public_id = await self._renamed(each.public_id) or each.public_id
        here = await added_metadata(database, level, public_id)
        lacking = [f"metadata {name}" for name, value in self._named(each.metadata).items() if here.get(name) != value]
        lacking += [f"label {label}" for label in set(each.labels).difference(await labels(database, level, public_id))]
        if each.protected and not await is_protected(database, public_id):
            lacking.append("protection")
        if lacking:
            self._report.add(f"{level} {public_id}: it lacks, or has otherwise: {', '.join(lacking)}")
        else:
            self._report.annotated += 1
