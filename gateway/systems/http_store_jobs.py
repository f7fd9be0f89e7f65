"""Jobs that send what is stored to a peer or DICOMweb server, as `/peers/{id}/store` and `…/stow` ask for them.

What goes over HTTP is `remote/`'s, by the same code as deliveries; here an instance that fails is not tried again.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from gateway.errors import GatewayError, PermanentFailure
from gateway.jobs.runner import CompletionScript, JobType
from gateway.jobs.table import Job
from gateway.remote.destination import Answer, Destination
from gateway.remote.http_fields import Section
from gateway.remote.kinds import open_destination
from gateway.retrieve.outgoing import StoredInstance
from gateway.retrieve.retrieval import Retrieval
from gateway.systems.directory import Directory
from gateway.systems.failed_instances import FailedInstance, forget_failures, list_failures
from gateway.systems.job_desk import DESCRIPTION, JobDesk, Reporter, once
from gateway.systems.resources import Resources, pages, resolved

System = Literal["peer", "server"]
KINDS: Final[dict[System, str]] = {"peer": "OrthancPeerStore", "server": "DicomWebStowClient"}
_PAGE: Final = 32
"""Instances that are on their way together."""


class HttpStoreOrder(msgspec.Struct, frozen=True):
    """An order to send resources to a peer or server; the payload of its job."""

    kind: System
    name: str
    resources: Resources
    instances: int
    """How many there were when it was asked for."""
    permissive: bool = False
    """Go on where one fails."""
    user_data: Any = None


class HttpStoreJobs:
    """Adds such jobs and does them."""

    def __init__(self, desk: JobDesk, directory: Directory, retrieval: Retrieval) -> None:
        self._desk = desk
        self._directory = directory
        self._retrieval = retrieval

    @property
    def kinds(self) -> dict[str, JobType]:
        return {name: once(self.work) for name in KINDS.values()}

    async def add(
        self,
        kind: System,
        name: str,
        public_ids: Sequence[str],
        *,
        permissive: bool = False,
        priority: int = 0,
        user_data: Any = None,
    ) -> int:
        """Add a job; its number. Raises NotFound for a system or resource that is not known."""
        section = await self._directory.section(kind, name)
        resources, count = await resolved(self._desk.database, public_ids)
        order = HttpStoreOrder(kind, name, resources, count, permissive, user_data)
        content = (
            _peer_content(order, section) if kind == "peer" else {"InstancesCount": str(count), "NetworkSizeMB": "0"}
        )
        return await self._desk.add(KINDS[kind], name, msgspec.to_builtins(order), content, priority)

    async def work(self, job: Job) -> CompletionScript:
        """The job. Raises PermanentFailure at the first instance that fails, unless it is permissive."""
        order = msgspec.convert(job.payload, HttpStoreOrder)
        reporter = await self._desk.reporter(job)
        try:
            section = await self._directory.section(order.kind, order.name)
            destination = open_destination(order.name, section, self._directory.settings)
        except GatewayError as error:
            raise await reporter.failed(str(error)) from None
        try:
            failed = await self._send_all(order, destination, reporter)
        except PermanentFailure:
            raise
        except GatewayError as error:
            raise await reporter.failed(str(error)) from None
        finally:
            await destination.close()
        return functools.partial(reporter.sent, order.name, order.resources if failed < order.instances else ())

    async def _send_all(self, order: HttpStoreOrder, destination: Destination, reporter: Reporter) -> int:
        """The number of instances that failed."""
        content = reporter.content
        if not reporter.position:
            forget_failures(content)
        failed = int(content.get("FailedInstancesCount", 0)) if reporter.position else 0
        size = int(content.get("Size", 0)) if reporter.position else 0
        done = order.instances * reporter.percent // 100
        async for page, position in pages(self._desk.database, order.resources, _PAGE, reporter.position):
            answers = await asyncio.gather(
                *(destination.send(StoredInstance(located, self._retrieval)) for located in page),
                return_exceptions=True,
            )
            wrong = [
                FailedInstance(located.sop_uid, why)
                for located, each in zip(page, answers, strict=True)
                if (why := _wrong(each))
            ]
            await list_failures(self._desk.database, content, wrong)
            size += sum(each.sent for each in answers if isinstance(each, Answer))
            failed, done = failed + len(wrong), done + len(page)
            if order.kind == "peer":
                content |= {"FailedInstancesCount": failed, "Size": str(size), "SizeMB": size >> 20}
            else:
                content["NetworkSizeMB"] = str(size >> 20)
            if wrong and not order.permissive:
                raise await reporter.failed(wrong[0].details)
            await reporter.note(100 * done / max(1, order.instances), position)
        return failed


def _peer_content(order: HttpStoreOrder, section: Section) -> dict[str, Any]:
    parents = {"ParentResources": sorted(public_id for public_id, _ in order.resources)} if order.resources else {}
    return {
        "Compress": False,
        "Description": DESCRIPTION,
        "FailedInstancesCount": 0,
        "InstancesCount": order.instances,
        **parents,
        "Peer": [section.url.rstrip("/") + "/", *([section.user] if section.auth == "basic" else [])],
        "Size": "0",
        "SizeMB": 0,
    }


def _wrong(answer: Answer | BaseException) -> str:
    """Why an instance was not taken; '' where it was. Raises what is no error of the destination's."""
    if isinstance(answer, Answer):
        return "" if answer.outcome == "delivered" else answer.detail
    if isinstance(answer, GatewayError):
        return str(answer)
    raise answer
