"""Jobs that have a modality send something: to a third system by C-MOVE, or to us over the same association by C-GET.

Each of the resources asked for is a request of its own; what came of it stands in `Details`, as Orthanc from 1.12.10 on
has it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, Literal

import msgspec

from gateway.dicom.encode import Attribute, DataSet
from gateway.dicom.levels import CODES, LEVELS, UNIQUE_KEYS, Level
from gateway.dimse import status
from gateway.dimse.status import Category
from gateway.errors import BadRequest, GatewayError, PermanentFailure
from gateway.ingest.ingest import Ingest
from gateway.ingest.instance_writer import InstanceWriter
from gateway.ingest.sink import IngestSink
from gateway.jobs.runner import CompletionScript, JobType
from gateway.jobs.table import Job
from gateway.net.buffers import Block
from gateway.scu import find, get, move
from gateway.scu.get import Incoming
from gateway.scu.move import Progress
from gateway.scu.node import Node
from gateway.systems.calls import CallOptions, node_of
from gateway.systems.directory import Directory
from gateway.systems.job_desk import DESCRIPTION, JobDesk, Reporter, once

Method = Literal["C-MOVE", "C-GET"]
KINDS: Final[dict[Method, str]] = {"C-MOVE": "DicomMoveScu", "C-GET": "DicomGetScu"}
MAX_RECEIVED: Final = 10_000
"""Public ids of received instances that a job names, over all of its resources."""
_PAYLOAD: Final = "RetrieveJob"
_LEVEL: Final = "0008,0052"


class RetrieveOrder(msgspec.Struct, frozen=True):
    """An order to retrieve resources from a modality; the payload of its job."""

    modality: str
    method: Method
    level: Level
    keys: tuple[dict[str, str], ...]
    """Of each resource, its unique keys by tag (`0020,000d`)."""
    target_aet: str = ""
    """Where C-MOVE sends it."""
    permissive: bool = False
    """Go on where one fails."""
    local_aet: str = ""
    timeout_s: float = 0.0
    user_data: Any = None


class RetrieveJobs:
    """Adds such jobs and does them."""

    def __init__(self, desk: JobDesk, directory: Directory, ingest: Ingest) -> None:
        self._desk = desk
        self._directory = directory
        self._ingest = ingest

    @property
    def kinds(self) -> dict[str, JobType]:
        return {name: once(self.work) for name in KINDS.values()}

    async def add(
        self,
        modality: str,
        level: Level,
        resources: Sequence[Mapping[str, str]],
        options: CallOptions,
        *,
        method: Method = "C-MOVE",
        target_aet: str = "",
        shown: Sequence[Any] | None = None,
        permissive: bool = False,
        priority: int = 0,
        user_data: Any = None,
    ) -> int:
        """Add a job; its number. `resources` hold values by tag (`0020,000d`); `shown` is what the job says of them.

        Raises NotFound for a modality that is not known, BadRequest for a resource without the keys of its level.
        """
        node = await node_of(self._directory, modality, options)
        wanted = tuple(unique_keys(level, each) for each in resources)
        target = target_aet or self._directory.settings().dicom.aet
        order = RetrieveOrder(
            modality, method, level, wanted, target, permissive, options.local_aet, options.timeout_s, user_data
        )
        queries = [{**keys, _LEVEL: CODES[level]} for keys in wanted]
        content = {
            "Description": DESCRIPTION,
            "Details": [{"DimseErrorStatus": 0, "Query": each, "ReceivedInstancesIds": []} for each in queries],
            "LocalAet": node.calling_aet,
            "Query": list(shown) if shown is not None else queries,
            "RemoteAet": node.aet,
            **({"TargetAet": target} if method == "C-MOVE" else {}),
        }
        return await self._desk.add(KINDS[method], modality, msgspec.to_builtins(order), content, priority)

    async def work(self, job: Job) -> CompletionScript:
        """The job. Raises PermanentFailure at the first resource that fails, unless it is permissive."""
        order = msgspec.convert(job.payload, RetrieveOrder)
        reporter = await self._desk.reporter(job)
        node: Node | None = None
        for number in range(reporter.position, len(order.keys)):
            try:
                node = node or await node_of(
                    self._directory, order.modality, CallOptions(local_aet=order.local_aet, timeout_s=order.timeout_s)
                )
                await self._retrieve(order, node, number, reporter)
            except GatewayError as error:
                if not order.permissive:
                    payload = {"Content": reporter.content["Details"], "Type": _PAYLOAD}
                    raise await reporter.failed(str(error), payload) from None
            await reporter.note(100 * (number + 1) / len(order.keys), number + 1)
        return reporter.done

    async def _retrieve(self, order: RetrieveOrder, node: Node, number: int, reporter: Reporter) -> None:
        """One resource. Raises PermanentFailure where the node answers with a failure, AssociationLost and so on."""
        details = reporter.content["Details"]
        details[number]["ReceivedInstancesIds"] = []
        room = MAX_RECEIVED - sum(len(each["ReceivedInstancesIds"]) for each in details)
        sink = _RecordingSink(
            IngestSink(self._ingest, aet=node.aet, host=node.host, our_aet=node.calling_aet),
            details[number]["ReceivedInstancesIds"],
            room,
        )
        last: Progress | None = None
        async with aclosing(_requested(order, node, order.keys[number], sink)) as responses:
            async for progress in responses:
                last = progress
                part = 1 - progress.remaining / progress.total if progress.total else 0
                await reporter.note(100 * (number + part) / len(order.keys), number)
        code = last.status if last is not None else status.PROCESSING_FAILURE
        details[number]["DimseErrorStatus"] = code
        # That some of it failed (B000) is said in Details, as Orthanc does.
        if status.category(code) not in (Category.SUCCESS, Category.WARNING):
            comment = f": {last.comment}" if last is not None and last.comment else ""
            raise PermanentFailure(
                f"{order.method} SCU to AET {node.aet!r} has failed with DIMSE status {status.describe(code)}{comment}"
            )


def unique_keys(level: Level, values: Mapping[str, str]) -> dict[str, str]:
    """Pick the unique keys out of values by tag: from the study, or the patient, down to a level (PS3.4 C.4.2.2.1).

    Raises BadRequest where one is missing that says which resource is meant.
    """
    levels: Sequence[Level] = LEVELS[:1] if level == "patient" else LEVELS[1 : LEVELS.index(level) + 1]
    found = {}
    for each in levels:
        name = _tag(UNIQUE_KEYS[each])
        if value := values.get(name, "").strip():
            found[name] = value
    if _tag(UNIQUE_KEYS[level]) not in found:
        raise BadRequest(f"a resource of level {level.capitalize()} is named by its {_tag(UNIQUE_KEYS[level])}")
    return found


def _requested(
    order: RetrieveOrder, node: Node, keys: Mapping[str, str], sink: _RecordingSink
) -> AsyncGenerator[Progress, None]:
    wanted: DataSet = {}
    for name, value in keys.items():
        tag = int(name.replace(",", ""), 16)
        wanted[tag] = Attribute("LO" if tag == UNIQUE_KEYS["patient"] else "UI", value.split("\\"))
    if order.method == "C-GET":
        return get.fetch(node, order.level, wanted, sink)
    model = move.PATIENT_ROOT if order.level == "patient" else move.STUDY_ROOT
    return move.move(node, find.identifier(order.level, wanted), order.target_aet, model=model)


def _tag(tag: int) -> str:
    return f"{tag >> 16:04x},{tag & 0xFFFF:04x}"


class _RecordingSink:
    """Takes in what comes, and notes the public ids of the first of it."""

    def __init__(self, sink: IngestSink, received: list[str], room: int) -> None:
        self._sink = sink
        self._received = received
        self._room = room

    def begin(self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> Incoming:
        return _Recorded(self._sink.begin(sop_class_uid, sop_instance_uid, transfer_syntax_uid), self._note)

    def _note(self, public_id: str) -> None:
        if len(self._received) < self._room:
            self._received.append(public_id)


class _Recorded:
    def __init__(self, incoming: InstanceWriter, note: Callable[[str], None]) -> None:
        self._incoming = incoming
        self._note = note

    def write(self, data: memoryview, block: Block) -> None:
        self._incoming.write(data, block)

    def flush(self) -> None:
        self._incoming.flush()

    async def commit(self) -> None:
        self._note((await self._incoming.commit()).record.public_id)

    def abandon(self) -> None:
        self._incoming.abandon()
