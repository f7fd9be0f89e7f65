"""C-MOVE and C-GET (PS3.4 C.4.2, C.4.3): find the requested instances, send them, and report progress to the peer.

`retrieve_keys.py` selects the instances of an identifier, `scu/` sends them, `suboperations.py` counts them. This
module has the move destination, the pending responses, cancellation, and the final response.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import Final

from gateway.audit.entry import AuditSubject
from gateway.audit.searches import detail_text
from gateway.config import Settings
from gateway.dicom.decode import decode_data_set
from gateway.dicom.levels import Level
from gateway.dimse import messages, status
from gateway.dimse.command import C_GET_RQ, C_MOVE_RQ
from gateway.errors import (
    AssociationLost,
    ConfigurationError,
    DatabaseError,
    DataSetError,
)
from gateway.index.attributes import PATIENT_ID, STUDY_INSTANCE_UID
from gateway.index.selection import InstanceGroup, Selection, ambiguous_uid, outline, selected
from gateway.net.buffers import BlockPool
from gateway.scp import retrieve_keys, suboperations
from gateway.scp.auditing import ACTIONS
from gateway.scp.operation import Operation
from gateway.scp.retrieve_keys import EXTENSIONS, GET_MODELS, MOVE_MODELS, IdentifierRefused, read_selection
from gateway.scp.service_class import UNCOMPRESSED_OR_DEFLATED, ServiceClass
from gateway.scp.suboperations import Tally, outgoing
from gateway.scu.node import Node, node_of
from gateway.scu.succession import Remaining, send_in_turn
from gateway.scu.transfer import Instance, Origin, Proposal, Transfer, plan

log = logging.getLogger(__name__)

_KEEP_ALIVE = 10
"""Intervals without progress after which a pending response is sent all the same."""
_CANCEL_GRACE = 5.0
"""Seconds after a C-CANCEL for which a move destination may still answer the instances on their way."""
_MAX_AUDITED: Final = 100
"""Studies of one request that the audit log names."""
_BLOCKS = 4
"""Receive blocks for an association to a move destination, which returns only responses."""


class Retrieve(Operation):
    """The common base of C-MOVE and C-GET, which differ in `_send`."""

    models: Mapping[str, Sequence[Level]]
    """The levels of each SOP class."""

    async def perform(self, identifier: bytes) -> None:
        """Perform the request. The statuses of both are 0000, B000, FE00, A701, A702, A801 and A900."""
        sop_class = self.presentation.abstract_syntax
        relational = self.session.extensions.get(sop_class, b"")[:1] == b"\1"
        try:
            keys = decode_data_set(identifier, self.presentation.transfer_syntax)
            lenient = self.context.settings().dicom.lenient_identifiers
            selection = read_selection(self.models[sop_class], keys, relational=relational, lenient=lenient)
        except IdentifierRefused as error:
            self._refuse(error.status, str(error), error.offending)
            return
        except DataSetError as error:
            self._refuse(status.CANNOT_UNDERSTAND, f"the identifier cannot be read: {error}")
            return
        self.audit_subjects = [AuditSubject("study", "", uid) for uid in selection.studies[:_MAX_AUDITED]] or [
            AuditSubject("patient", "", "", selection.patient_id)
        ]
        self.audit_detail = detail_text(self._described(selection))
        if not await self._ready():
            return
        try:
            groups = await outline(self.context.use_cases.database, selection)
            elsewhere = any(group.elsewhere for group in groups)
            ambiguous = await ambiguous_uid(self.context.use_cases.database, selection) if elsewhere else ""
        except DatabaseError as error:
            log.error("%s: %s cannot be counted: %s", self.session, self.command.name, error)
            self._refuse(status.OUT_OF_RESOURCES_MATCHES, "the index cannot be read now")
            return
        if ambiguous:
            missing = PATIENT_ID if selection.studies else STUDY_INSTANCE_UID
            comment = f"a UID is in several parents: add ({missing >> 16:04X},{missing & 0xFFFF:04X}) to choose one"
            self._refuse(status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS, comment, missing)
            return
        await self._transfer(selection, groups)

    def _described(self, selection: Selection) -> dict[str, str]:
        """What the audit log says beside the study: the first series or instance, and where it goes."""
        found = {"destination": self.command.move_destination.strip()} if self.command.move_destination else {}
        for name, values in (("series", selection.series), ("instance", selection.instances)):
            if values:
                found[name] = values[0] if len(values) == 1 else f"{values[0]} and {len(values) - 1} more"
        return found

    async def _ready(self) -> bool:
        """Whether the sub-operations may begin; False if the request has been answered."""
        return True

    async def _send(self, selection: Selection, groups: Sequence[InstanceGroup], tally: Tally) -> None:
        """Perform all sub-operations, until `cancelled`; each is counted in `tally`."""
        raise NotImplementedError

    async def _transfer(self, selection: Selection, groups: Sequence[InstanceGroup]) -> None:
        tally = Tally(sum(group.count for group in groups))
        log.info("%s: %s of %d instances begins", self.session, self.command.name, tally.total)
        progress = asyncio.ensure_future(self._report_progress(tally))
        try:
            if tally.total:
                await self._send(selection, groups, tally)
        finally:
            progress.cancel()
            await asyncio.gather(progress, return_exceptions=True)
        if not self.cancelled.is_set():
            tally.fail_rest("it has been removed meanwhile")
        self._finish(tally)

    def _finish(self, tally: Tally) -> None:
        cancelled = self.cancelled.is_set()
        answer, data_set = tally.final(self.command, self.presentation.transfer_syntax, cancelled=cancelled)
        log.info(
            "%s: %s ends with %s: %d completed, %d failed, %d with warnings, %d not begun",
            *(self.session, self.command.name, status.describe(answer.status or 0)),
            *(tally.completed, tally.failed, tally.warning, tally.remaining),
        )
        self.respond(answer, data_set)

    async def _report_progress(self, tally: Tally) -> None:
        """Send pending responses (FF00) at intervals, if the counts have changed."""
        interval, reported, silent = self.context.settings().retrieve.progress_interval, tally.remaining, 0
        while True:
            await asyncio.sleep(interval)
            silent += 1
            if tally.remaining and (tally.remaining != reported or silent >= _KEEP_ALIVE):
                reported, silent = tally.remaining, 0
                self.send_pending(tally.pending(self.command))
                await self.session.drain()

    def _outgoing(self, selection: Selection, classes: Collection[str], tally: Tally) -> AsyncGenerator[Instance, None]:
        found = selected(self.context.use_cases.database, selection)
        wanted = (located async for located in found if located.sop_class_uid in classes)
        return outgoing(wanted, self.context.use_cases.retrieval, tally)

    def _refuse(self, code: int, comment: str, offending: int | None = None) -> None:
        log.warning("%s: %s is answered %04X: %s", self.session, self.command.name, code, comment)
        answer = messages.response(self.command, code, comment)
        if offending is not None:
            answer.offending_element = [offending]
        self.respond(answer)


class Get(Retrieve):
    """One C-GET-RQ: instances are sent on the association of the request."""

    models = GET_MODELS
    action = ACTIONS["get"]

    async def _send(self, selection: Selection, groups: Sequence[InstanceGroup], tally: Tally) -> None:
        session, settings = self.session, self.context.settings()
        requested = session.association.requested
        assert requested is not None
        # DCMTK and Orthanc propose the roles; others assume that the requestor of a C-GET is the SCP of storage.
        silent = {context.abstract_syntax for context in session.contexts.values()} - {
            role.sop_class_uid for role in requested.user_information.roles
        }
        usable = (c for c in session.contexts.values() if c.as_scu or c.abstract_syntax in silent)
        accepted = session.association.accepted
        operations = accepted.user_information.operations if accepted is not None else None
        granted = operations.performed if operations is not None else 1
        transfer = Transfer(
            session,
            usable,
            tally.record,
            window=min(granted or settings.retrieve.window, settings.retrieve.window),
            timeout=session.response_timeout,
            origin=Origin(self.command.priority or 0),
        )
        async with aclosing(self._outgoing(selection, {group.sop_class_uid for group in groups}, tally)) as instances:
            try:
                await transfer.run(instances, self.cancelled.is_set)
            except AssociationLost as error:
                log.warning("%s: sub-operations end early: %s", session, error)
                for unsent in transfer.unsent:
                    tally.fail(unsent.sop_instance_uid, str(error))
                await tally.fail_all(instances, str(error))


class Move(Retrieve):
    """One C-MOVE-RQ: instances are sent on an association that the gateway opens to the destination."""

    models = MOVE_MODELS
    action = ACTIONS["move"]
    _node: Node

    async def _ready(self) -> bool:
        destination = (self.command.move_destination or "").strip()
        try:
            self._node = await asyncio.to_thread(_destination, self.context.settings(), destination)
        except ConfigurationError as error:
            self._refuse(status.MOVE_DESTINATION_UNKNOWN, str(error))
            return False
        return True

    async def _send(self, selection: Selection, groups: Sequence[InstanceGroup], tally: Tally) -> None:
        stored: dict[str, list[str]] = {}
        for group in groups:
            stored.setdefault(group.sop_class_uid, []).append(group.transfer_syntax_uid)
        for proposals in plan(stored):
            classes = {uid for uid, _ in proposals}
            if self.cancelled.is_set():
                return
            sending = asyncio.ensure_future(self._send_in_turn(selection, proposals, classes, tally))
            cancelled = asyncio.ensure_future(self.cancelled.wait())
            try:
                await asyncio.wait((sending, cancelled), return_when=asyncio.FIRST_COMPLETED)
                if not sending.done():
                    await asyncio.wait((sending,), timeout=_CANCEL_GRACE)
                if sending.done():
                    await sending
            finally:
                cancelled.cancel()
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)

    async def _send_in_turn(
        self, selection: Selection, proposals: Sequence[Proposal], classes: Collection[str], tally: Tally
    ) -> None:
        async with aclosing(self._outgoing(selection, classes, tally)) as instances:
            remaining = Remaining(instances)
            trouble = await send_in_turn(
                self._node,
                proposals,
                remaining,
                tally.record,
                window=self.context.settings().retrieve.window,
                blocks=BlockPool(_BLOCKS),
                origin=Origin(self.command.priority or 0, self.session.calling_aet, self.command.message_id),
                stopped=self.cancelled.is_set,
            )
            if trouble and not self.cancelled.is_set():
                log.warning("%s: %s to %s: %s", self.session, self.command.name, self._node, trouble)
                await tally.fail_all(remaining, trouble)


def _destination(settings: Settings, aet: str) -> Node:
    """The modality with this AE title. May block. Raises ConfigurationError when there is none, or no address."""
    found = [(name, modality) for name, modality in settings.modalities.items() if modality.aet == aet]
    if not found:
        raise ConfigurationError(f"{aet!r} is not the AE title of a modality")
    name, modality = next(((name, each) for name, each in found if each.port), found[0])
    return node_of(settings, name, modality)


MOVE: Final = ServiceClass(
    "move",
    "Retrieve",
    tuple(MOVE_MODELS),
    {C_MOVE_RQ: Move},
    transfer_syntaxes=UNCOMPRESSED_OR_DEFLATED,
    extended=EXTENSIONS,
    more_statuses=(retrieve_keys, suboperations),
)
GET: Final = ServiceClass(
    "get",
    "Retrieve",
    tuple(GET_MODELS),
    {C_GET_RQ: Get},
    transfer_syntaxes=UNCOMPRESSED_OR_DEFLATED,
    extended=EXTENSIONS,
    more_statuses=(retrieve_keys, suboperations),
)
