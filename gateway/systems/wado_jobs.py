"""Jobs that retrieve from a DICOMweb server (WADO-RS, PS3.18 §10.4), as `POST /dicom-web/servers/{id}/retrieve` asks
for it.

What comes goes the one way in, `ingest/`, part by part as it arrives. An interrupted job goes on with the resource that
it was at, whose instances are then the same again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from gateway.errors import GatewayError
from gateway.ingest.ingest import Ingest
from gateway.ingest.wado_transfer import WadoTransfer
from gateway.jobs.runner import CompletionScript, JobType
from gateway.jobs.table import Job
from gateway.remote.http import HttpClient
from gateway.systems.directory import Directory
from gateway.systems.job_desk import JobDesk, Reporter, once

KIND: Final = "DicomWebWadoRetrieveClient"


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
                progress = _Progress(self._ingest, host, self._directory.settings().dicom.aet, reporter)
                await progress.transfer.retrieve(client, order.resources[number])
                await reporter.note(100 * (number + 1) / len(order.resources), number + 1)
        except GatewayError as error:
            raise await reporter.failed(str(error)) from None
        finally:
            if client is not None:
                await client.close()
        return reporter.done


class _Progress:
    """What a job says of the resource that it is at."""

    def __init__(self, ingest: Ingest, host: str, our_aet: str, reporter: Reporter) -> None:
        self._reporter = reporter
        self._before = int(reporter.content["NetworkUsageMB"]) << 20
        self.transfer = WadoTransfer(ingest, host, our_aet, self._stored)

    async def _stored(self) -> None:
        content = self._reporter.content
        content["ReceivedInstancesCount"] = str(int(content["ReceivedInstancesCount"]) + 1)
        content["NetworkUsageMB"] = str((self._before + self.transfer.received_bytes) >> 20)
        await self._reporter.note(self._reporter.percent, self._reporter.position)
