"""Archives that a request asks for: made at once, while they are sent, or by a job that writes them to the disk.

What a job has made can be fetched until it is deleted, is too old (`jobs.keep_outputs_hours`), or has to give way to a
newer one (`jobs.max_output_bytes`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import aclosing
from typing import Any, Final

import msgspec

from gateway.config import Settings
from gateway.errors import BadRequest, GatewayError, NoSuchObject, UnknownResource
from gateway.index.locate import counted_resources
from gateway.ingest.ingest import Ingest
from gateway.jobs import table
from gateway.jobs.runner import CompletionScript, JobType
from gateway.jobs.table import Job
from gateway.retrieve.archive import MAX_FILES, ArchiveContent, Archives
from gateway.storage.outputs import Output, OutputFolder, OutputWriter
from gateway.systems.job_desk import DESCRIPTION, JobDesk, Reporter, once

log = logging.getLogger(__name__)

KINDS: Final = {False: "Archive", True: "Media"}
"""Kinds of jobs, by whether they make media."""
_CHECK_EVERY_BYTES: Final = 64 << 20
"""Bytes that are written between two looks whether there is room."""
_EXPIRE_EVERY_S: Final = 600.0


class ArchiveOrder(msgspec.Struct, frozen=True):
    """An order for an archive; the payload of its job."""

    content: ArchiveContent
    instances: int
    size: int
    """Bytes of the instances, as they are stored."""
    filename: str = ""
    """What the archive is called when it is saved."""
    user_data: Any = None


class ArchiveJobs:
    """Adds such jobs and does them, and opens what they have made."""

    def __init__(
        self,
        desk: JobDesk,
        archives: Archives,
        ingest: Ingest,
        outputs: OutputFolder,
        settings: Callable[[], Settings],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._desk = desk
        self._archives = archives
        self._ingest = ingest
        self._outputs = outputs
        self._settings = settings
        self._clock = clock

    @property
    def kinds(self) -> dict[str, JobType]:
        return {name: once(self.work) for name in KINDS.values()}

    async def order(self, public_ids: Sequence[str], content: ArchiveContent, filename: str = "") -> ArchiveOrder:
        """An order for an archive of resources, each once, with what else `content` says.

        Raises: UnknownResource for one that is not there; BadRequest for more than MAX_FILES instances.
        """
        found = await counted_resources(self._desk.database, public_ids)
        for public_id in public_ids:
            if public_id not in found:
                raise UnknownResource(f"there is no resource {public_id[:80]}")
        outer = {public_id: each for public_id, each in found.items() if not each.above & found.keys()}
        count = sum(each.instances for each in outer.values())
        if count > MAX_FILES:
            raise BadRequest(f"{count} instances; at most {MAX_FILES} are in one archive: ask for fewer resources")
        resources = tuple((public_id, each.level) for public_id, each in outer.items())
        size = sum(each.size for each in outer.values())
        return ArchiveOrder(msgspec.structs.replace(content, resources=resources), count, size, filename)

    async def add(self, order: ArchiveOrder, *, priority: int = 0) -> int:
        """Add a job; its number."""
        content = {
            "ArchiveSize": "0",
            "ArchiveSizeMB": 0,
            "Description": DESCRIPTION,
            "InstancesCount": order.instances,
            "UncompressedSize": str(order.size),
            "UncompressedSizeMB": order.size >> 20,
        }
        kind = KINDS[order.content.media]
        return await self._desk.add(kind, "", msgspec.to_builtins(order), content, priority)

    async def work(self, job: Job) -> CompletionScript:
        """The job. Raises PermanentFailure where the archive cannot be made, or has no room."""
        order = msgspec.convert(job.payload, ArchiveOrder)
        reporter = await self._desk.reporter(job)
        writer: OutputWriter | None = None
        try:
            writer = await asyncio.to_thread(self._outputs.create, job.id)
            await self._write(order, writer, reporter)
            await asyncio.to_thread(writer.finish)
        except GatewayError as error:
            raise await reporter.failed(str(error)) from None
        finally:
            if writer is not None:
                await asyncio.to_thread(writer.abandon)
        reporter.content |= {"ArchiveSize": str(writer.size), "ArchiveSizeMB": writer.size >> 20}
        return reporter.done

    async def _write(self, order: ArchiveOrder, writer: OutputWriter, reporter: Reporter) -> None:
        files = checked = 0

        def file_done(_size: int) -> None:
            nonlocal files
            files += 1

        async with aclosing(self._archives.chunks(order.content, file_done)) as chunks:
            async for chunk in chunks:
                if writer.size >= checked:
                    await self._make_room()
                    checked = writer.size + _CHECK_EVERY_BYTES
                self._ingest.check_space()
                await asyncio.to_thread(writer.append, chunk)
                await reporter.note(100 * files / max(1, order.instances), 0)

    async def _make_room(self) -> None:
        await asyncio.to_thread(self._outputs.make_room, self._settings().jobs.max_output_bytes)

    async def output(self, number: int) -> tuple[Job, Output] | None:
        """A job and what it has made; None where it has made nothing, or that is no more there."""
        job = await table.get_job(self._desk.database, number)
        if job is None or job.state != "done":
            return None
        try:
            return job, await asyncio.to_thread(self._outputs.find, number, self._oldest())
        except NoSuchObject:
            return None

    def read(self, output: Output, start: int, stop: int) -> Generator[bytes, None, None]:
        """Yield the bytes of an output from `start` up to `stop`. Blocks. Raises StorageError."""
        return self._outputs.read(output, start, stop)

    async def remove_output(self, number: int) -> bool:
        """Delete what a job has made. False where there is nothing."""
        return await asyncio.to_thread(self._outputs.remove, number)

    def _oldest(self) -> float:
        return self._clock() - self._settings().jobs.keep_outputs_hours * 3600

    async def expire(self) -> None:
        """Delete what is too old, and what was made by jobs that are no more there."""
        await asyncio.to_thread(self._outputs.expire, self._oldest())
        for number in await asyncio.to_thread(self._outputs.jobs):
            if await table.get_job(self._desk.database, number) is None:
                await asyncio.to_thread(self._outputs.remove, number)

    async def expire_forever(self) -> None:
        """`expire` now and then, until it is cancelled."""
        while True:
            try:
                await self.expire()
            except (GatewayError, OSError) as error:
                log.warning("archives that are too old cannot be deleted: %s", error)
            await asyncio.sleep(_EXPIRE_EVERY_S)
