"""C-MOVE and C-GET (PS3.4 C.4.2, C.4.3): find what is asked for, have it sent, tell the peer how it goes.

Which instances an identifier means is `retrieve_keys.py`'s, the sending `suboperations.py`'s. Here are the move
destination and the association to it, the pending responses, cancelling, and the end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Sequence

from gateway.config import Settings
from gateway.dicom.decode import decode_data_set
from gateway.dimse import messages, status
from gateway.errors import (
    AssociationLost,
    AssociationRefused,
    ConfigurationError,
    DatabaseError,
    DataSetError,
)
from gateway.index.locate import Located
from gateway.index.selection import Group, Selection, outline, selected
from gateway.net.buffers import BlockPool
from gateway.scp.operation import Operation
from gateway.scp.retrieve_keys import MODELS, IdentifierRefused, read_selection
from gateway.scp.suboperations import Suboperations, Tally, fail_all
from gateway.scu.node import Node, associate, node_of
from gateway.scu.sending import Origin, Proposal, plan

log = logging.getLogger(__name__)

_KEEP_ALIVE = 10
"""Pending responses are also sent after so many intervals in which nothing has happened."""
_CANCEL_GRACE = 5.0
"""Seconds after a C-CANCEL in which a move destination may still answer what is on its way."""
_BLOCKS = 4
"""Receive blocks for an association to a move destination: what comes back is only responses."""


class Retrieve(Operation):
    """What both have in common. `_send` is where they differ."""

    async def perform(self, identifier: bytes) -> None:
        """Answers 0000, B000, FE00, A701, A702, A801, A900; C-MOVE and C-GET have the same."""
        sop_class = self.presentation.abstract_syntax
        relational = self.session.extensions.get(sop_class, b"")[:1] == b"\1"
        try:
            keys = decode_data_set(identifier, self.presentation.transfer_syntax)
            selection = read_selection(MODELS[sop_class], keys, relational=relational)
        except IdentifierRefused as error:
            self._refuse(error.status, str(error), error.offending)
            return
        except DataSetError as error:
            self._refuse(status.CANNOT_UNDERSTAND, f"the identifier cannot be read: {error}")
            return
        if not await self._ready():
            return
        try:
            groups = await outline(self.context.database, selection)
        except DatabaseError as error:
            log.error("%s: %s cannot be counted: %s", self.session, self.command.name, error)
            self._refuse(status.OUT_OF_RESOURCES_MATCHES, "the index cannot be read now")
            return
        await self._transfer(selection, groups)

    async def _ready(self) -> bool:
        """Whether the rest may begin; False once it is answered."""
        return True

    async def _send(self, selection: Selection, groups: Sequence[Group], tally: Tally) -> None:
        """All sub-operations, until `cancelled`: each is counted in `tally`."""
        raise NotImplementedError

    async def _transfer(self, selection: Selection, groups: Sequence[Group]) -> None:
        tally = Tally(sum(group.count for group in groups))
        log.info("%s: %s of %d instances begins", self.session, self.command.name, tally.total)
        progress = asyncio.ensure_future(self._tell(tally))
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

    async def _tell(self, tally: Tally) -> None:
        """Pending responses (FF00) while it goes on: at intervals, and only where there is news."""
        interval, told, silent = self.context.settings().retrieve.progress_interval, tally.remaining, 0
        while True:
            await asyncio.sleep(interval)
            silent += 1
            if tally.remaining and (tally.remaining != told or silent >= _KEEP_ALIVE):
                told, silent = tally.remaining, 0
                self.send_pending(tally.pending(self.command))
                await self.session.drain()

    def _instances(self, selection: Selection, classes: Collection[str]) -> AsyncIterator[Located]:
        found = selected(self.context.database, selection)
        return (located async for located in found if located.sop_class_uid in classes)

    def _refuse(self, code: int, comment: str, offending: int | None = None) -> None:
        log.warning("%s: %s is answered %04X: %s", self.session, self.command.name, code, comment)
        answer = messages.response(self.command, code, comment[:64])
        if offending is not None:
            answer.offending_element = [offending]
        self.respond(answer)


class Get(Retrieve):
    """One C-GET-RQ: over the association on which it came."""

    async def _send(self, selection: Selection, groups: Sequence[Group], tally: Tally) -> None:
        session, settings = self.session, self.context.settings()
        requested = session.association.requested
        assert requested is not None
        # DCMTK and Orthanc propose the roles, others take it as understood that who gets is the SCP of storage.
        silent = {context.abstract_syntax for context in session.contexts.values()} - {
            role.sop_class_uid for role in requested.user_information.roles
        }
        usable = (c for c in session.contexts.values() if c.as_scu or c.abstract_syntax in silent)
        accepted = session.association.accepted
        operations = accepted.user_information.operations if accepted is not None else None
        granted = operations.performed if operations is not None else 1
        suboperations = Suboperations(
            session,
            usable,
            self.context.retrieval,
            tally,
            Origin(self.command.priority or 0),
            window=min(granted or settings.retrieve.window, settings.retrieve.window),
            timeout=session.response_timeout,
        )
        classes = {group.sop_class_uid for group in groups}
        await suboperations.run(self._instances(selection, classes), self.cancelled.is_set)


class Move(Retrieve):
    """One C-MOVE-RQ: over an association of our own to its destination."""

    _node: Node

    async def _ready(self) -> bool:
        destination = (self.command.move_destination or "").strip()
        try:
            self._node = await asyncio.to_thread(_destination, self.context.settings(), destination)
        except ConfigurationError as error:
            self._refuse(status.MOVE_DESTINATION_UNKNOWN, str(error))
            return False
        return True

    async def _send(self, selection: Selection, groups: Sequence[Group], tally: Tally) -> None:
        stored: dict[str, list[str]] = {}
        for group in groups:
            stored.setdefault(group.sop_class_uid, []).append(group.transfer_syntax_uid)
        for proposals in plan(stored):
            classes = {uid for uid, _ in proposals}
            if self.cancelled.is_set():
                return
            sending = asyncio.ensure_future(self._send_over_one(selection, proposals, classes, tally))
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

    async def _send_over_one(
        self, selection: Selection, proposals: Sequence[Proposal], classes: Collection[str], tally: Tally
    ) -> None:
        window = self.context.settings().retrieve.window
        instances = self._instances(selection, classes)
        try:
            async with associate(
                self._node, proposals, max_operations=window, blocks=BlockPool(_BLOCKS)
            ) as association:
                suboperations = Suboperations(
                    association,
                    (context for context in association.contexts.values() if context.as_scu),
                    self.context.retrieval,
                    tally,
                    Origin(self.command.priority or 0, self.session.calling_aet, self.command.message_id),
                    window=min(association.max_operations or window, window),
                    timeout=self._node.response_timeout,
                )
                await suboperations.run(instances, self.cancelled.is_set)
        except (AssociationLost, AssociationRefused) as error:
            log.warning("%s: %s to %s: %s", self.session, self.command.name, self._node, error)
            if not self.cancelled.is_set():
                await fail_all(instances, tally, str(error))


def _destination(settings: Settings, aet: str) -> Node:
    """The modality of that AE title. ConfigurationError where there is none, or it cannot be called. May block."""
    found = [(name, modality) for name, modality in settings.modalities.items() if modality.aet == aet]
    if not found:
        raise ConfigurationError(f"{aet!r} is no modality here")
    name, modality = next(((name, each) for name, each in found if each.port), found[0])
    return node_of(settings, name, modality)
