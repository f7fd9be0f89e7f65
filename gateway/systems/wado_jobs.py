"""Jobs that retrieve from a DICOMweb server (WADO-RS, PS3.18 §10.4), as `POST /dicom-web/servers/{id}/retrieve` asks
for it.

What comes goes the one way in, `ingest/`, part by part as it arrives. An interrupted job goes on with the resource that
it was at, whose instances are then the same again.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from email.message import Message
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from gateway.errors import DataSetError, GatewayError, InstanceRefused, PermanentFailure
from gateway.http.multipart import Head, Parser, Tail
from gateway.index.store import Origin
from gateway.ingest.ingest import Ingest
from gateway.ingest.part10_receiver import Part10Receiver
from gateway.jobs.runner import CompletionScript, JobType
from gateway.jobs.table import Job
from gateway.remote.http import HttpClient
from gateway.systems.directory import Directory
from gateway.systems.job_desk import JobDesk, Reporter, once

KIND: Final = "DicomWebWadoRetrieveClient"
_DICOM: Final = "application/dicom"
_ACCEPT: Final = {"Accept": f'multipart/related; type="{_DICOM}"; transfer-syntax=*'}
_LEVELS: Final = ("studies", "series", "instances")


class WadoOrder(msgspec.Struct, frozen=True):
    """An order to retrieve resources from a server; the payload of its job."""

    server: str
    resources: tuple[tuple[str, ...], ...]
    """UIDs of each, from the study down."""
    user_data: Any = None


class WadoJobs:
    """Adds such jobs and does them."""

    def __init__(self, desk: JobDesk, directory: Directory, ingest: Ingest) -> None:
        self._desk = desk
        self._directory = directory
        self._ingest = ingest

    @property
    def kind(self) -> JobType:
        return once(self.work)

    async def add(
        self, server: str, resources: Sequence[tuple[str, ...]], *, priority: int = 0, user_data: Any = None
    ) -> int:
        """Add a job; its number. Raises NotFound for a server that is not known."""
        await self._directory.section("server", server)
        order = WadoOrder(server, tuple(resources), user_data)
        content = {"NetworkUsageMB": "0", "ReceivedInstancesCount": "0"}
        return await self._desk.add(KIND, server, msgspec.to_builtins(order), content, priority)

    async def work(self, job: Job) -> CompletionScript:
        """The job. Raises PermanentFailure at the first resource that does not come, or not whole."""
        order = msgspec.convert(job.payload, WadoOrder)
        reporter = await self._desk.reporter(job)
        client: HttpClient | None = None
        try:
            section = await self._directory.section("server", order.server)
            client = HttpClient(order.server, section)
            host = urlsplit(section.url).hostname or ""
            for number in range(reporter.position, len(order.resources)):
                transfer = _Transfer(self._ingest, host, self._directory.settings().dicom.aet, reporter)
                await transfer.retrieve(client, order.resources[number])
                await reporter.note(100 * (number + 1) / len(order.resources), number + 1)
        except GatewayError as error:
            raise await reporter.failed(str(error)) from None
        finally:
            if client is not None:
                await client.close()
        return reporter.done


class _Transfer:
    """One resource on its way in."""

    def __init__(self, ingest: Ingest, host: str, our_aet: str, reporter: Reporter) -> None:
        self._ingest = ingest
        self._host = host
        self._our_aet = our_aet
        self._reporter = reporter
        self._before = int(reporter.content["NetworkUsageMB"]) << 20
        self._bytes = 0
        self._receiver: Part10Receiver | None = None
        """The receiver of the part that is arriving; None between parts, and once the part is refused."""
        self._refused = 0
        self._reason = ""
        """Why the first instance was refused."""

    async def retrieve(self, client: HttpClient, uids: Sequence[str]) -> None:
        """Ask for a resource, and store what comes. Raises PermanentFailure where something of it is not stored."""
        path = "".join(f"/{level}/{uid}" for level, uid in zip(_LEVELS, uids, strict=False))
        try:
            reply = await client.request("GET", path, headers=_ACCEPT, missing=True, take=self._take)
        finally:
            self._abandon()
        if reply.status != 200:
            raise PermanentFailure(f"{client.name}{path}: {reply.words}")
        if self._refused:
            raise PermanentFailure(
                f"{client.name}{path}: {self._refused} instances were not stored; the first: {self._reason}"
            )

    async def _take(self, media_type: str, chunks: AsyncGenerator[bytes, None]) -> None:
        parser = Parser(_boundary(media_type))
        async for chunk in chunks:
            self._bytes += len(chunk)
            for event in parser.feed(chunk):
                await self._part(event)
        for event in parser.close():
            await self._part(event)

    async def _part(self, event: Head | Tail | memoryview) -> None:
        try:
            match event:
                case Head():
                    origin = Origin("", self._our_aet, self._host, time.time(), "rest")
                    self._receiver = Part10Receiver(self._ingest, origin)
                case Tail():
                    if self._receiver is not None:
                        await self._receiver.end()
                        await self._stored()
                case _:
                    if self._receiver is not None:
                        await self._receiver.write(event)
        except (InstanceRefused, DataSetError) as error:
            self._abandon()
            self._refused += 1
            self._reason = self._reason or str(error)

    async def _stored(self) -> None:
        content = self._reporter.content
        content["ReceivedInstancesCount"] = str(int(content["ReceivedInstancesCount"]) + 1)
        content["NetworkUsageMB"] = str((self._before + self._bytes) >> 20)
        await self._reporter.note(self._reporter.percent, self._reporter.position)

    def _abandon(self) -> None:
        if self._receiver is not None:
            self._receiver.abandon()
            self._receiver = None


def _boundary(media_type: str) -> str:
    """The boundary of a multipart body. Raises DataSetError for any other, such as the page of a login."""
    message = Message()
    message["Content-Type"] = media_type
    boundary = message.get_boundary()
    if message.get_content_maintype() != "multipart" or not boundary:
        raise DataSetError(f"it answers {media_type[:80] or 'nothing that has a type'}, not multipart/related")
    return boundary
