"""C-GET as an SCU (PS3.4 C.4.3): instances arrive over the association that requests them.

A `Sink` stores them: a folder (`folder.py`), the archive, or anything that accepts bytes. The C-STORE status for a
sink's error is chosen here.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Iterable, Sequence
from contextlib import aclosing
from typing import Protocol

from gateway.dicom import uids
from gateway.dicom.encode import Attribute, DataSet
from gateway.dicom.levels import LEVELS, UNIQUE_KEYS, Level
from gateway.dimse import messages, status
from gateway.dimse.command import C_STORE_RQ, Command
from gateway.errors import AssociationRefused, DatabaseError, DataSetError, InstanceRefused, RequestFailed, StorageError
from gateway.net.buffers import Block, BlockPool
from gateway.net.receiver import Receiver
from gateway.net.refused_request import RefusedRequest
from gateway.net.requestor import Requestor
from gateway.scu import find
from gateway.scu.move import Progress, retrieve_on
from gateway.scu.node import PLAIN_SYNTAXES, Node, associate
from gateway.ul.items import MAX_CONTEXTS, RoleSelection
from gateway.ul.negotiation import PresentationContext

PATIENT_ROOT = "1.2.840.10008.5.1.4.1.2.1.3"
STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.3"
_SOP_CLASS = 0x00080016
_NONE = Attribute("UI")
_BLOCKS = 8
_RARE = re.compile(
    "Trial|Retired|Non-Patient|Template|DICOS|Eddy|Standalone|Legacy|Radiation (?!Dose)|Instruction|Protocol|"
    "Preparation|Intent|Annotation|Structured Display|Refract|Kerato|Lenso|Acuity|Cornea|Lens|Tracto|Stereo|"
    "Coherence|Perimetry|Thickness"
)
COMMON_CLASSES = tuple(sorted(uids.STORAGE_CLASSES, key=lambda uid: bool(_RARE.search(uids.STORAGE_CLASSES[uid]))))
"""Storage SOP classes, the common ones first, to propose when the classes are unknown; the first 127 fit."""
COMPRESSED = tuple(s.uid for s in uids.TRANSFER_SYNTAXES.values() if s.encapsulated and not s.retired)


class Incoming(Protocol):
    """One instance being received. No method blocks or awaits."""

    def write(self, data: memoryview, block: Block, /) -> None:
        """Append bytes of the data set. They are valid during the call, and for as long as `block` is retained."""

    def flush(self) -> None:
        """Write what is retained as soon as possible, to release its blocks."""

    def commit(self) -> Awaitable[object]:
        """Commit the complete instance. The result is ready once it is safe. Raises GatewayError, OSError."""

    def abandon(self) -> None:
        """Discard the instance: the rest of it will not arrive."""


class Sink(Protocol):
    """Stores received instances."""

    def begin(self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> Incoming:
        """Open an instance under the UIDs that the peer claims, unchecked. Raises like `Incoming.commit`."""


def storage_contexts(classes: Iterable[str], compressed: Sequence[str] = COMPRESSED) -> list[tuple[str, Sequence[str]]]:
    """The presentation contexts to propose for receiving instances of these classes, at most 127.

    Each class has one context for the uncompressed syntaxes and, while contexts remain, one for each compressed syntax:
    the peer accepts one syntax of a context, and should be able to send each instance in the syntax that it is stored
    in.
    """
    wanted = list(dict.fromkeys(classes))[: MAX_CONTEXTS - 1]
    contexts: list[tuple[str, Sequence[str]]] = [(uid, PLAIN_SYNTAXES) for uid in wanted]
    room = MAX_CONTEXTS - 1 - len(contexts)
    if wanted and room >= len(wanted) * len(compressed):
        return contexts + [(uid, [syntax]) for uid in wanted for syntax in compressed]
    if room >= len(wanted):
        return contexts + [(uid, compressed) for uid in wanted]
    return contexts


async def get(
    node: Node,
    wanted: DataSet,
    sink: Sink,
    *,
    model: str = STUDY_ROOT,
    classes: Iterable[str] = COMMON_CLASSES,
    blocks: BlockPool | None = None,
) -> AsyncGenerator[Progress, None]:
    """Fetch what `wanted` identifies; yields progress, the final one last. An instance that the peer counts as stored
    is safe in the sink.

    `classes` are the storage SOP classes to propose (127 at most); a peer omits others and counts them as failed.
    Closing early sends a C-CANCEL. Raises like `move_on`.
    """
    offered = list(dict.fromkeys(classes))[: MAX_CONTEXTS - 1]
    contexts = [(model, PLAIN_SYNTAXES), *storage_contexts(offered)]
    roles = [RoleSelection(uid, scu=False, scp=True) for uid in offered]

    def handle(on: Requestor, context: PresentationContext, command: Command) -> Receiver:
        if command.command_field != C_STORE_RQ or context.abstract_syntax == model:
            return RefusedRequest(on, context, command)
        return _Store(on, context, command, sink, ending)

    ending: set[asyncio.Future[object]] = set()
    pool = blocks or BlockPool(_BLOCKS)
    try:
        async with associate(node, contexts, roles=roles, blocks=pool, handler=handle) as association:
            request = messages.c_get_request(association.next_message_id(), model)
            context = association.context_for(model)
            async with aclosing(retrieve_on(association, context, request, wanted)) as responses:
                async for progress in responses:
                    yield progress
    finally:
        await asyncio.gather(*ending, return_exceptions=True)


async def fetch(node: Node, level: Level, keys: DataSet, sink: Sink) -> AsyncGenerator[Progress, None]:
    """Fetch at a level like `get`, after a C-FIND for the SOP classes to propose.

    `keys` hold the unique keys down to `level` (PS3.4 C.4.3.1.3). The common classes are proposed if the node names
    none.
    """
    wanted = find.identifier(level, keys)
    try:
        classes = await classes_of(node, level, keys)
    except (RequestFailed, AssociationRefused, DataSetError):
        classes = []  # A node may retrieve although it does not query; a real failure shows up below.
    model = PATIENT_ROOT if level == "patient" else STUDY_ROOT
    async with aclosing(get(node, wanted, sink, model=model, classes=classes or COMMON_CLASSES)) as responses:
        async for progress in responses:
            yield progress


async def classes_of(node: Node, level: Level, keys: DataSet) -> list[str]:
    """The SOP classes of what `keys` identify, most frequent first, found by C-FIND down the hierarchy.

    One level after another, because few nodes support relational queries (PS3.4 C.4.1.1.3.2). Raises like `find`.
    """
    model = find.PATIENT_ROOT if level == "patient" else find.STUDY_ROOT
    unique = {tag: attribute for tag, attribute in keys.items() if tag in UNIQUE_KEYS.values() and attribute.values}
    below = LEVELS[LEVELS.index(level) + 1 :] or (level,)
    counts: Counter[str] = Counter()
    async with associate(node, [(model, PLAIN_SYNTAXES)]) as association:
        above = _each(unique)
        for each in below:
            tag, found = UNIQUE_KEYS[each], list[DataSet]()
            wanted = {tag: Attribute("UI")} | ({_SOP_CLASS: Attribute("UI")} if each == "instance" else {})
            for parent in above:
                identifier = find.identifier(each, {**wanted, **parent})
                async with aclosing(find.find_on(association, identifier, model=model)) as matches:
                    async for match in matches:
                        attributes = match.attributes()
                        if each == "instance":
                            counts.update(map(str, attributes.get(_SOP_CLASS, _NONE).values))
                        elif (uid := attributes.get(tag, _NONE)).values:
                            found.append({**parent, tag: uid})
            above = found
    return [uid for uid, _ in counts.most_common()]


def _each(keys: DataSet) -> list[DataSet]:
    """Split lists of UIDs into single ones: a list that is legal in a retrieval may not be so in a query."""
    each: list[DataSet] = [{}]
    for tag, attribute in keys.items():
        each = [{**one, tag: Attribute(attribute.vr, [value])} for one in each for value in attribute.values]
    return each


class _Store(Receiver):
    """Receives one C-STORE-RQ of the peer. A refused one is read to its end as well, then answered."""

    def __init__(
        self,
        on: Requestor,
        context: PresentationContext,
        command: Command,
        sink: Sink,
        ending: set[asyncio.Future[object]],
    ) -> None:
        self._on = on
        self._context = context
        self._command = command
        self._ending = ending
        self._incoming: Incoming | None = None
        self._error: BaseException | None = None
        try:
            self._incoming = sink.begin(
                context.abstract_syntax, command.affected_sop_instance_uid or "", context.transfer_syntax
            )
        except Exception as error:
            self._error = error

    def write(self, data: memoryview, block: Block) -> None:
        if self._incoming is not None:
            self._incoming.write(data, block)

    def flush(self) -> None:
        if self._incoming is not None:
            self._incoming.flush()

    def end(self) -> None:
        if self._incoming is None:
            self._respond(self._error)
        else:
            task = asyncio.ensure_future(self._incoming.commit())
            self._ending.add(task)
            task.add_done_callback(self._ended)

    def lost(self) -> None:
        if self._incoming is not None:
            self._incoming.abandon()

    def _ended(self, task: asyncio.Future[object]) -> None:
        self._ending.discard(task)
        self._respond(asyncio.CancelledError() if task.cancelled() else task.exception())

    def _respond(self, error: BaseException | None) -> None:
        code = status_of(error) if error is not None else status.SUCCESS
        comment = str(error)[:64] if error is not None else ""
        response = messages.c_store_response(self._command, code, comment or None)
        self._on.respond(self._context.id, response.encode())


def status_of(error: BaseException) -> int:
    """The C-STORE status (PS3.4 Table B.2-1) for what went wrong in a sink."""
    match error:
        case InstanceRefused():
            return error.status
        case StorageError() | DatabaseError() | OSError():
            return status.OUT_OF_RESOURCES
        case _:
            return status.PROCESSING_FAILURE
