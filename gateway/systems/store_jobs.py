"""Jobs that send what is stored to a modality by C-STORE, as `POST /modalities/{id}/store` asks for them.

Instances go in pages, each over an association of its own, in the order of their rows.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gateway.dimse.commitment import Reference
from gateway.errors import GatewayError, PermanentFailure
from gateway.index.locate import Located
from gateway.jobs.runner import CompletionScript, JobType
from gateway.jobs.table import Job
from gateway.retrieve.outgoing import StoredInstance
from gateway.retrieve.retrieval import Retrieval
from gateway.scu.node import Node
from gateway.scu.store import send
from gateway.scu.transfer import UNASKED, Origin, Sent
from gateway.systems.calls import CallOptions, node_of
from gateway.systems.directory import Directory
from gateway.systems.failed_instances import FailedInstance, forget_failures, list_failures
from gateway.systems.job_desk import DESCRIPTION, JobDesk, Reporter, once
from gateway.systems.resources import Resources, pages, resolved
from gateway.workflow.commitment import Commitments, new_transaction_uid

KIND: Final = "DicomModalityStore"
_PAGE: Final = 500
"""Instances that are sent over one association, at most."""


class StoreOrder(msgspec.Struct, frozen=True):
    """An order to send resources to a modality; the payload of its job."""

    modality: str
    resources: Resources
    instances: int
    """How many there were when it was asked for."""
    permissive: bool = False
    """Go on where one fails."""
    commitment: bool = False
    """Ask for storage commitment in the end."""
    transaction_uid: str = ""
    local_aet: str = ""
    timeout_s: float = 0.0
    called_aet: str = ""
    host: str = ""
    port: int = 0
    move_originator_aet: str = ""
    move_originator_id: int = 0
    user_data: Any = None


@dataclass(slots=True)
class _Tally:
    """What has become of the instances so far."""

    sent: int
    failed: int
    first: Sent | None = None
    """The first that failed, of those since the job was begun or went on."""


class StoreJobs:
    """Adds such jobs and does them."""

    def __init__(self, desk: JobDesk, directory: Directory, retrieval: Retrieval, commitments: Commitments) -> None:
        self._desk = desk
        self._directory = directory
        self._retrieval = retrieval
        self._commitments = commitments

    @property
    def kind(self) -> JobType:
        return once(self.work)

    async def add(
        self,
        modality: str,
        public_ids: Sequence[str],
        options: CallOptions,
        *,
        permissive: bool = False,
        commitment: bool = False,
        move_originator: tuple[str, int] = ("", 0),
        priority: int = 0,
        user_data: Any = None,
    ) -> int:
        """Add a job; its number. Raises NotFound for a modality or resource that is not known."""
        node = await node_of(self._directory, modality, options)
        resources, count = await resolved(self._desk.database, public_ids)
        order = StoreOrder(
            modality,
            resources,
            count,
            permissive,
            commitment,
            new_transaction_uid() if commitment else "",
            options.local_aet,
            options.timeout_s,
            options.called_aet,
            options.host,
            options.port,
            *move_originator,
            user_data,
        )
        payload = msgspec.to_builtins(order)
        return await self._desk.add(KIND, modality, payload, _content(order, node), priority)

    async def work(self, job: Job) -> CompletionScript:
        """The job. Raises PermanentFailure at the first instance that fails, unless it is permissive."""
        order = msgspec.convert(job.payload, StoreOrder)
        reporter = await self._desk.reporter(job)
        failed = int(reporter.content["FailedInstancesCount"]) if reporter.position else 0
        tally = _Tally(order.instances * reporter.percent // 100, failed)
        if not reporter.position:
            forget_failures(reporter.content)
        try:
            node = await node_of(self._directory, order.modality, _options(order))
            async for page, position in pages(self._desk.database, order.resources, _PAGE, reporter.position):
                failures: list[FailedInstance] = []
                await self._send(order, node, page, tally, failures)
                reporter.content["FailedInstancesCount"] = tally.failed
                await list_failures(self._desk.database, reporter.content, failures)
                if tally.first is not None and not order.permissive:
                    raise await self._failed(reporter, node, tally.first)
                await reporter.note(100 * tally.sent / max(1, order.instances), position)
            if order.commitment:
                await self._commitments.ask(
                    order.modality, await self._references(order), transaction_uid=order.transaction_uid
                )
        except PermanentFailure:
            raise
        except GatewayError as error:
            raise await reporter.failed(str(error)) from None
        sent = order.resources if tally.failed < order.instances else ()
        return functools.partial(reporter.sent, order.modality, sent)

    async def _send(
        self, order: StoreOrder, node: Node, page: Sequence[Located], tally: _Tally, failures: list[FailedInstance]
    ) -> None:
        def report(sent: Sent) -> None:
            tally.sent += 1
            if not sent.ok and not stopped():  # What is stopped for the first of them has not failed.
                tally.failed += 1
                tally.first = tally.first or sent
                failures.append(FailedInstance(sent.item.sop_instance_uid, sent.detail, sent.status))

        def stopped() -> bool:
            return tally.first is not None and not order.permissive

        await send(
            node,
            [StoredInstance(located, self._retrieval) for located in page],
            associations=1,
            origin=_origin(order),
            report=report,
            stopped=stopped,
        )

    async def _failed(self, reporter: Reporter, node: Node, sent: Sent) -> PermanentFailure:
        payload = {"Content": {"DimseErrorStatus": sent.status}, "Type": "Dimse"} if sent.status is not None else None
        return await reporter.failed(f"C-STORE SCU to AET {node.aet!r}: {sent.item.name}: {sent.detail}", payload)

    async def _references(self, order: StoreOrder) -> list[Reference]:
        found: dict[str, Reference] = {}
        async for page, _ in pages(self._desk.database, order.resources, _PAGE):
            found |= {each.sop_uid: Reference(each.sop_class_uid, each.sop_uid) for each in page}
        return list(found.values())


def _content(order: StoreOrder, node: Node) -> dict[str, Any]:
    parents = {"ParentResources": sorted(public_id for public_id, _ in order.resources)} if order.resources else {}
    commitment = {"StorageCommitmentTransactionUID": order.transaction_uid} if order.commitment else {}
    return {
        "Description": DESCRIPTION,
        "FailedInstancesCount": 0,
        "InstancesCount": order.instances,
        "LocalAet": node.calling_aet,
        **parents,
        "RemoteAet": node.aet,
        "Resources": [{"ID": public_id, "Type": level.capitalize()} for public_id, level in order.resources],
        **commitment,
    }


def _options(order: StoreOrder) -> CallOptions:
    return CallOptions(
        local_aet=order.local_aet,
        timeout_s=order.timeout_s,
        called_aet=order.called_aet,
        host=order.host,
        port=order.port,
    )


def _origin(order: StoreOrder) -> Origin:
    if not order.move_originator_aet:
        return UNASKED
    return Origin(move_originator_aet=order.move_originator_aet, move_originator_message_id=order.move_originator_id)
