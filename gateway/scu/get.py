"""C-GET as a client (PS3.4 C.4.3): instances come back over the association on which they are asked for.

Where they go is a `Sink`'s: a folder (`folder.py`), the archive, or whatever takes bytes. Which status a sink's error
is answered with is decided here.
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
from gateway.dimse import messages, status
from gateway.dimse.command import C_STORE_RQ, Command
from gateway.errors import AssociationRefused, DatabaseError, DataSetError, InstanceRefused, RequestFailed, StorageError
from gateway.net.buffers import Block, BlockPool
from gateway.net.receiver import Receiver, Unserved
from gateway.net.requestor import Requestor
from gateway.scu import find
from gateway.scu.move import Progress, retrieve_on
from gateway.scu.node import PLAIN_SYNTAXES, Node, associate
from gateway.ul.items import MAX_CONTEXTS, RoleSelection
from gateway.ul.negotiation import PresentationContext

PATIENT_ROOT = "1.2.840.10008.5.1.4.1.2.1.3"
STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.3"
_SOP_CLASS = 0x00080016
_HIERARCHY = {"patient": 0x00100020, "study": 0x0020000D, "series": 0x0020000E, "instance": 0x00080018}
"""Levels from above, and their unique keys."""
_NONE = Attribute("UI")
_BLOCKS = 8
_RARE = re.compile(
    "Trial|Retired|Non-Patient|Template|DICOS|Eddy|Standalone|Legacy|Radiation (?!Dose)|Instruction|Protocol|"
    "Preparation|Intent|Annotation|Structured Display|Refract|Kerato|Lenso|Acuity|Cornea|Lens|Tracto|Stereo|"
    "Coherence|Perimetry|Thickness"
)
COMMON_CLASSES = tuple(sorted(uids.STORAGE_CLASSES, key=lambda uid: bool(_RARE.search(uids.STORAGE_CLASSES[uid]))))
"""Storage SOP classes to propose where it is not known which ones will come; the first 127 of them fit."""
COMPRESSED = tuple(s.uid for s in uids.TRANSFER_SYNTAXES.values() if s.encapsulated and not s.retired)


class Incoming(Protocol):
    """One instance that comes. Nothing here blocks or awaits."""

    def write(self, data: memoryview, block: Block) -> None:
        """Bytes of the data set. They are valid during the call, and for as long as `block` is held."""

    def flush(self) -> None:
        """Let go of what is held as soon as may be."""

    def end(self) -> Awaitable[object]:
        """It is whole. Done when it is safe where it goes, or raises a GatewayError, or OSError."""

    def abandon(self) -> None:
        """The rest of it will not come."""


class Sink(Protocol):
    """Takes instances."""

    def begin(self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> Incoming:
        """An instance comes, claimed to be this one; the UIDs are whatever the peer sent. Raises as `Incoming.end`."""


def storage_contexts(classes: Iterable[str], compressed: Sequence[str] = COMPRESSED) -> list[tuple[str, Sequence[str]]]:
    """What to propose in order to receive instances of these classes, at most 127 contexts.

    A context for the uncompressed syntaxes of each class, and as far as there is room one for each compressed one: the
    peer chooses one syntax in a context, and shall be able to send what it holds as it holds it.
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
    """Fetch what `wanted` identifies: its progress, the final one last. Everything that a peer was told to be stored
    is safe in the sink.

    `classes` are the storage SOP classes that may come (127 at most); a peer leaves out others, and counts them as
    failed. Errors as of `move_on`. Closed early, the peer is asked to cancel.
    """
    offered = list(dict.fromkeys(classes))[: MAX_CONTEXTS - 1]
    contexts = [(model, PLAIN_SYNTAXES), *storage_contexts(offered)]
    roles = [RoleSelection(uid, scu=False, scp=True) for uid in offered]

    def handle(on: Requestor, context: PresentationContext, command: Command) -> Receiver:
        if command.command_field != C_STORE_RQ or context.abstract_syntax == model:
            return Unserved(on, context, command)
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


async def fetch(node: Node, level: str, keys: DataSet, sink: Sink) -> AsyncGenerator[Progress, None]:
    """`get` at one of `find.LEVELS`, knowing what comes: the node is asked for the SOP classes first.

    `keys` hold the unique keys down to `level` (PS3.4 C.4.3.1.3). Where the node does not say which classes, the
    common ones are proposed.
    """
    wanted = find.identifier(level, keys)
    try:
        classes = await classes_of(node, "instance" if level == "image" else level, keys)
    except (RequestFailed, AssociationRefused, DataSetError):
        classes = []  # It may give although it does not find; what is really wrong will be heard below.
    model = PATIENT_ROOT if level == "patient" else STUDY_ROOT
    async with aclosing(get(node, wanted, sink, model=model, classes=classes or COMMON_CLASSES)) as responses:
        async for progress in responses:
            yield progress


async def classes_of(node: Node, level: str, keys: DataSet) -> list[str]:
    """The SOP classes of what `keys` identify, the most frequent first, asked by C-FIND down the hierarchy.

    One level after the other, because few nodes answer relational queries (PS3.4 C.4.1.1.3.2). Errors as of `find`.
    """
    model = find.PATIENT_ROOT if level == "patient" else find.STUDY_ROOT
    unique = {tag: attribute for tag, attribute in keys.items() if tag in _HIERARCHY.values() and attribute.values}
    below = list(_HIERARCHY)[list(_HIERARCHY).index(level) + 1 :] or [level]
    counts: Counter[str] = Counter()
    async with associate(node, [(model, PLAIN_SYNTAXES)]) as association:
        above = _each(unique)
        for each in below:
            tag, found = _HIERARCHY[each], list[DataSet]()
            wanted = {tag: Attribute("UI")} | ({_SOP_CLASS: Attribute("UI")} if each == "instance" else {})
            for parent in above:
                asked = find.identifier(each, {**wanted, **parent})
                async with aclosing(find.find_on(association, asked, model=model)) as matches:
                    async for match in matches:
                        attributes = match.attributes()
                        if each == "instance":
                            counts.update(map(str, attributes.get(_SOP_CLASS, _NONE).values))
                        elif (uid := attributes.get(tag, _NONE)).values:
                            found.append({**parent, tag: uid})
            above = found
    return [uid for uid, _ in counts.most_common()]


def _each(keys: DataSet) -> list[DataSet]:
    """Lists of UIDs taken apart: what may be listed for a retrieval may not be so for every query."""
    each: list[DataSet] = [{}]
    for tag, attribute in keys.items():
        each = [{**one, tag: Attribute(attribute.vr, [value])} for one in each for value in attribute.values]
    return each


class _Store:
    """Receives one C-STORE-RQ of the peer. One that is refused is read to its end all the same, then answered."""

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
            task = asyncio.ensure_future(self._incoming.end())
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
