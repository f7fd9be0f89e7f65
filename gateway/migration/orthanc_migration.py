"""Instances, metadata, labels and protection of an Orthanc, brought into a data folder and proved to be there.

Whatever is brought goes the one way in, `ingest/`, whether or not a gateway uses the data folder. A migration may be
killed at any moment and started again: the ledger says what is there, and what it has lost is recognized by its bytes.
Orthanc may run meanwhile, and receive: its index is copied again until a copy has nothing new.
"""

from __future__ import annotations

import asyncio
import functools
import re
import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from gateway import config
from gateway.errors import DataSetError, InstanceRefused, SourceError, UnknownResource
from gateway.index.annotations import Metadata, bring_annotations, protect
from gateway.index.store import stored_as
from gateway.ingest.data_folder import DataFolder, open_folder, open_ingest
from gateway.ingest.file_import import ingest_file
from gateway.ingest.ingest import Ingest
from gateway.ingest.outcome import Outcome, StoreResult
from gateway.migration import queries
from gateway.migration.index_copy import IndexState, copy_index, index_state
from gateway.migration.ledger import MigrationLedger, digest_of
from gateway.migration.orthanc_attachments import UserFiles
from gateway.migration.orthanc_index import MADE_OF, Annotated, Contents, OrthancIndex, SourceInstance
from gateway.migration.orthanc_postgres import copy_postgres
from gateway.migration.orthanc_proof import OrthancProof, ProofReport
from gateway.migration.storage_area import StorageArea
from gateway.remote.rate_limit import Bandwidth

_MAX_CONCURRENT: Final = 8
"""Files in progress at a time."""
_MAX_PASSES: Final = 20
"""Copies of the index of an Orthanc that goes on receiving."""
_MAX_PROOFS: Final = 3
"""Proofs beside an Orthanc that goes on deleting and replacing."""
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", re.ASCII)

Show = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class OrthancSource:
    """Where an Orthanc has its index and its files."""

    storage: StorageArea
    index: Path
    """The SQLite file of the index, unless it is in PostgreSQL."""
    postgres: Mapping[str, Any] | None = None
    """The section `PostgreSQL` of its configuration, if the index is there."""
    metadata_names: Mapping[int, str] = field(default_factory=dict)
    attachment_names: Mapping[int, str] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """A text that is the same for the same Orthanc."""
        at = self.postgres or {}
        options = [str(at.get(name, "")) for name in ("ConnectionUri", "Host", "Port", "Database")]
        where = options if self.postgres is not None else [str(self.index)]
        return f"orthanc-{digest_of([str(self.storage.folder), *where]).hex()[:16]}"

    async def copy(self, target: Path) -> IndexState | None:
        """Copy the index to a file; the state that was copied, where it can be told. Raises: SourceError."""
        if self.postgres is not None:
            await copy_postgres(self.postgres, target)
            return None
        return await asyncio.to_thread(copy_index, self.index, target)

    def has_changed(self, since: IndexState | None) -> bool:
        """Whether the index may have changed since it was copied. Blocks."""
        return since is None or index_state(self.index) != since


@dataclass(slots=True)
class MigrationReport:
    """The results of a migration. `outcomes` counts instances as `Outcome` does, those of this run."""

    contents: Contents | None = None
    outcomes: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    """Instances and attachments that could not be brought in the last pass; the proof says which, and why."""
    annotated: int = 0
    """Resources whose metadata, labels or protection were brought in this run."""
    attached: int = 0
    """The user's attachments that were brought in this run."""
    refused_metadata: list[str] = field(default_factory=list)
    """Metadata and labels for which a resource had no room."""
    passes: int = 0
    proof: ProofReport | None = None


@dataclass(slots=True)
class _Policy:
    """The storage settings, whose treatment of duplicates changes for what the source has replaced."""

    now: config.Storage


class _Brought(NamedTuple):
    """The note in the ledger on an instance that was brought."""

    version: bytes
    outcome: str
    public_id: str
    key: str
    """The key of the object here that has its bytes; '' where other bytes were kept."""


class OrthancMigration:
    """One run of a migration into an open data folder."""

    def __init__(
        self, source: OrthancSource, folder: DataFolder, ledger: MigrationLedger, rate: int, show: Show
    ) -> None:
        """`rate` is the number of instances a second at most; 0: no limit."""
        self._source = source
        self._folder = folder
        self._ledger = ledger
        self._pace = Bandwidth(rate)
        self._show = show
        self._files = UserFiles(source.storage, folder, ledger, source.attachment_names)
        self._report = MigrationReport()
        self._policy = _Policy(folder.settings)
        self._room = asyncio.Semaphore(_MAX_CONCURRENT)

    async def run(self) -> MigrationReport:
        """Bring everything, and prove it. Raises: SourceError; OutOfSpace, StorageFailed, DatabaseError."""
        copy, report = self._ledger.path.with_suffix(".index"), self._report
        async with open_ingest(self._folder, lambda: self._policy.now) as ingest:
            for _ in range(_MAX_PROOFS):
                state = await self._bring_all(copy, ingest)
                report.proof = await self._prove(copy)
                # What Orthanc has replaced or deleted since the copy cannot be compared: another copy tells.
                if report.proof.is_clean or not await asyncio.to_thread(self._source.has_changed, state):
                    break
        await asyncio.to_thread(self._ledger.write, (queries.FORGET_PROVED,))
        await asyncio.to_thread(copy.unlink, missing_ok=True)
        return report

    async def _bring_all(self, copy: Path, ingest: Ingest) -> IndexState | None:
        """Bring what copies of the index have, until one has nothing new; returns the state of the last."""
        report = self._report
        for number in range(_MAX_PASSES):
            self._show("reading the index", 0, 0)
            state = await self._source.copy(copy)
            index = await asyncio.to_thread(OrthancIndex, copy)
            try:
                report.passes += 1
                report.failed = 0
                report.contents = await asyncio.to_thread(index.contents)
                new = await self._pass(index, ingest)
            finally:
                index.close()
            if (number and not new) or not await asyncio.to_thread(self._source.has_changed, state):
                break
        return state

    async def _prove(self, copy: Path) -> ProofReport:
        """Compare with the last copy of the index."""
        index = await asyncio.to_thread(OrthancIndex, copy)
        try:
            storage, folder, ledger = self._source.storage, self._folder, self._ledger
            return await OrthancProof(index, storage, folder, ledger, self._metadata, self._files, self._show).run()
        finally:
            index.close()

    async def _pass(self, index: OrthancIndex, ingest: Ingest) -> int:
        """Bring what the ledger lacks; returns how much that was."""
        assert self._report.contents is not None
        total, done, after = self._report.contents.levels["instance"], 0, 0
        before = self._report.outcomes.total()
        while page := await asyncio.to_thread(index.instances, after):
            after = page[-1].row
            noted = await self._ledger.of(queries.BROUGHT, page[0].row, after)
            known = {row: _Brought(*values) for row, *values in noted}
            wanted = [each for each in page if not _is_there(each, known.get(each.row))]
            replaced = [each for each in wanted if await self._is_replaced(each, known.get(each.row))]
            rows = {each.row for each in replaced}
            fresh = [each for each in wanted if each.row not in rows]
            done += len(page) - len(wanted)
            for instances, policy in ((fresh, self._folder.settings), (replaced, self._overwriting())):
                self._policy.now = policy
                try:
                    async with asyncio.TaskGroup() as group:
                        for each in instances:
                            await self._room.acquire()
                            await self._pace.take(1)
                            group.create_task(self._bring(ingest, index, each))
                            done += 1
                            self._show("bringing", done, total)
                except ExceptionGroup as errors:
                    raise errors.exceptions[0] from None
            self._policy.now = self._folder.settings
            self._show("bringing", done, total)
            await asyncio.to_thread(self._ledger.commit)
        attached, failed = await self._files.bring(index, ingest)
        self._report.attached += attached
        self._report.failed += failed
        return self._report.outcomes.total() - before + attached + await self._annotations(index)

    async def _is_replaced(self, instance: SourceInstance, known: _Brought | None) -> bool:
        """Whether it is a later version of what was brought before, and that is still what is here: a new index counts
        its rows from 1 again, and what has changed here is not the source's to overwrite."""
        if known is None or not known.key or known.public_id != instance.public_id:
            return False
        other = await asyncio.to_thread(self._ledger.value, queries.RENAMED, instance.public_id)
        here = await stored_as(self._folder.database, other or instance.public_id)
        return here is not None and here.key == known.key

    def _overwriting(self) -> config.Storage:
        """The settings for a later version of what was brought before: the source's own replaces it."""
        return msgspec.structs.replace(self._folder.settings, duplicates="overwrite")

    async def _bring(self, ingest: Ingest, index: OrthancIndex, instance: SourceInstance) -> None:
        try:
            try:
                if instance.file is None:
                    raise SourceError(instance.trouble)
                result = await self._ingested(ingest, instance)
            finally:
                self._room.release()
        except (SourceError, InstanceRefused, DataSetError, zlib.error) as error:
            self._report.failed += 1
            await asyncio.to_thread(self._ledger.write, (queries.ADD_FAILED, instance.public_id, str(error)))
            return
        here = None
        if result.outcome is not Outcome.DUPLICATE_KEPT:
            here = await stored_as(self._folder.database, result.record.public_id)
        outcome, key = result.outcome.value, here.key if here is not None else ""
        self._report.outcomes[outcome] += 1
        noted: list[tuple[Any, ...]] = [
            (queries.ADD_BROUGHT, instance.row, _version(instance), outcome, instance.public_id, key),
            (queries.FORGET_FAILED, instance.public_id),
        ]
        if result.record.public_id != instance.public_id:
            theirs = [instance.public_id, *await asyncio.to_thread(index.above, instance.row)]
            above = result.record.parents
            ours = (result.record.public_id, above.series_public_id, above.study_public_id, above.patient_public_id)
            noted += [(queries.RENAME, *pair) for pair in zip(theirs, ours, strict=False) if pair[0] != pair[1]]
        await asyncio.to_thread(self._ledger.write, *noted)

    async def _ingested(self, ingest: Ingest, instance: SourceInstance) -> StoreResult:
        assert instance.file is not None
        reader = await asyncio.to_thread(self._source.storage.open, instance.file)
        try:
            return await ingest_file(ingest, reader, instance.origin)
        finally:
            await asyncio.to_thread(reader.close)

    async def _annotations(self, index: OrthancIndex) -> int:
        """Bring metadata, labels and protection that have changed since they were brought; returns of how many."""
        after, brought = 0, 0
        while page := await asyncio.to_thread(index.annotated, after):
            after = page[-1].row
            for each in page:
                digest = digest_of([each.level, each.public_id, each.metadata, each.labels, each.protected])
                if await asyncio.to_thread(self._ledger.value, queries.DIGEST, each.row) == digest:
                    continue
                if await self._annotate(each):
                    brought += 1
                    await asyncio.to_thread(self._ledger.write, (queries.ADD_DIGEST, each.row, digest))
            self._show("bringing metadata", brought, 0)
            await asyncio.to_thread(self._ledger.commit)
        self._report.annotated += brought
        return brought

    async def _annotate(self, each: Annotated) -> bool:
        """Whether what was added to a resource could be brought: it has not arrived itself otherwise."""
        database = self._folder.database
        public_id = await asyncio.to_thread(self._ledger.value, queries.RENAMED, each.public_id) or each.public_id
        script = functools.partial(
            bring_annotations, each.level, public_id, self._metadata(each.metadata), each.labels, time.time()
        )
        try:
            refused = await database.write(script)
            if each.protected:
                await database.write(lambda: protect(public_id, True))
        except UnknownResource:
            return False
        self._report.refused_metadata += [f"{each.level} {public_id}: {name}" for name in refused]
        return True

    def _metadata(self, found: Sequence[tuple[int, str, int]]) -> dict[str, Metadata]:
        """Metadata under the names that Orthanc's configuration gives them, or their numbers."""
        named: dict[str, Metadata] = {}
        for number, value, revision in found:
            name = MADE_OF.get(number) or self._source.metadata_names.get(number, "")
            named[name if _NAME.fullmatch(name) else str(number)] = Metadata(value, revision)
        return named


def _version(instance: SourceInstance) -> bytes:
    """The UUID of the file, by which a later version of an instance is told; nothing without a file."""
    return bytes.fromhex(instance.file.uuid.replace("-", "")) if instance.file is not None else b""


def _is_there(instance: SourceInstance, known: _Brought | None) -> bool:
    return known is not None and (known.version, known.public_id) == (_version(instance), instance.public_id)


async def migrate_orthanc(
    settings: config.Storage,
    source: OrthancSource,
    *,
    url: str = "",
    rate: int = 0,
    show: Show = lambda what, done, total: None,
) -> MigrationReport:
    """Bring an Orthanc into the data folder of `settings`. Raises as `OrthancMigration.run`, and ConfigurationError
    while another migration from there runs."""
    async with AsyncExitStack() as stack:
        folder = await stack.enter_async_context(open_folder(settings, url))
        path = folder.layout.migrations.joinpath(f"{source.identity}.ledger")
        ledger = stack.enter_context(await asyncio.to_thread(MigrationLedger, path))
        return await OrthancMigration(source, folder, ledger, rate, show).run()
