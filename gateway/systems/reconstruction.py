"""Jobs that read the files of stored instances again and make their index entries anew, as `POST …/reconstruct` asks.

Nothing is written but index entries, so that the job may run while instances come and go. A file that cannot be read
leaves its entry as it is, and is counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from gateway.database.database import Script
from gateway.dicom.levels import Level
from gateway.errors import DataSetError, NotFound, StorageError
from gateway.index import reconstruct as index
from gateway.index.record import InstanceRecord
from gateway.index.summary import statistics
from gateway.ingest.stored_header import read_stored_header
from gateway.jobs.runner import CompletionScript, JobType
from gateway.jobs.table import Job
from gateway.storage.store import ObjectSource
from gateway.systems.job_desk import DESCRIPTION, JobDesk, once

log = logging.getLogger(__name__)

KIND: Final = "Reconstruct"
_PAGE: Final = 50
"""Instances that are read, then entered in one transaction."""
_MAX_SEEN: Final = 10_000
"""Series remembered as seen; one that is forgotten is merely looked at again."""
_FAILED: Final = "FailedInstancesCount"


class _Order(msgspec.Struct, frozen=True):
    """The payload of a job: a resource, or all where it has no level."""

    instances: int
    """How many there were when it was asked for."""
    level: Level | None = None
    public_id: str = ""
    user_data: Any = None


class Reconstruction:
    """Adds such jobs and does them."""

    def __init__(self, desk: JobDesk, store: ObjectSource, max_header: Callable[[], int]) -> None:
        """`max_header`: bytes of a data set within which its index attributes must be."""
        self._desk = desk
        self._store = store
        self._max_header = max_header

    @property
    def kind(self) -> JobType:
        return once(self.work)

    async def add(self, resource: tuple[Level, str] | None, *, priority: int = 0, user_data: Any = None) -> int:
        """Add a job for a resource (level and public id), or for all; its number. Raises NotFound."""
        database = self._desk.database
        count = (await statistics(database)).instances if resource is None else 0
        content: dict[str, Any] = {"Description": DESCRIPTION, _FAILED: 0, "InstancesCount": 0}
        order = _Order(count, user_data=user_data)
        if resource is not None:
            level, public_id = resource
            if await index.row_of(database, level, public_id) is None:
                raise NotFound(f"there is no {level} {public_id[:80]}")
            order = _Order(count, level, public_id, user_data)
            content["Resources"] = [{"ID": public_id, "Type": level.capitalize()}]
        return await self._desk.add(KIND, order.level or "all", msgspec.to_builtins(order), content, priority)

    async def work(self, job: Job) -> CompletionScript:
        """The job. Raises PermanentFailure in the end where some files could not be read."""
        order = msgspec.convert(job.payload, _Order)
        reporter = await self._desk.reporter(job)
        content, seen = reporter.content, set[int]()
        resource: tuple[Level, int] | None = None
        why = ""
        if order.level is not None:
            row = await index.row_of(self._desk.database, order.level, order.public_id)
            if row is None:
                raise await reporter.failed(f"there is no {order.level} {order.public_id} any more")
            resource = order.level, row
        while page := await index.entries(self._desk.database, resource, reporter.position, _PAGE):
            read, failures = await asyncio.to_thread(self._read, page)
            failures += await self._enter(read, seen)
            for entry, text in failures:
                log.warning("instance %s is not read again: %s", entry.public_id, text)
                why = why or f"instance {entry.public_id}: {text}"
            content["InstancesCount"] += len(page)
            content[_FAILED] += len(failures)
            done = content["InstancesCount"]
            await reporter.note(100 * done / max(done, order.instances) if order.instances else 0, page[-1].row)
        if content[_FAILED]:
            text = f"{content[_FAILED]} of {content['InstancesCount']} files cannot be read again"
            raise await reporter.failed(f"{text}; {why or 'the log has the reasons'}")
        return reporter.done

    def _read(
        self, page: Sequence[index.IndexedFile]
    ) -> tuple[list[tuple[index.IndexedFile, InstanceRecord]], list[tuple[index.IndexedFile, str]]]:
        """The records of instances, and why others have none. Blocks."""
        read, failures = [], []
        for entry in page:
            try:
                stored = self._store.open(entry.key)
                try:
                    read.append((entry, read_stored_header(stored, entry.key, self._max_header()).record))
                finally:
                    stored.close()
            except (DataSetError, StorageError) as error:
                failures.append((entry, str(error)))
        return read, failures

    async def _enter(
        self, read: Sequence[tuple[index.IndexedFile, InstanceRecord]], seen: set[int]
    ) -> list[tuple[index.IndexedFile, str]]:
        """Enter the records of a page; those of which the file is one of another instance, with that reason."""
        if len(seen) > _MAX_SEEN:
            seen.clear()
        before = frozenset(seen)
        seen.update(entry.series for entry, _record in read)

        def script() -> Script[None]:
            looked_at = set(before)
            for entry, record in read:
                if record.public_id == entry.public_id:
                    yield from index.reconstruct(entry, record, first_seen=entry.series not in looked_at)
                    looked_at.add(entry.series)

        await self._desk.database.write(script)
        other = "its file has the identifiers of another instance"
        return [(entry, other) for entry, record in read if record.public_id != entry.public_id]
