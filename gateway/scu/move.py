"""C-MOVE as a client (PS3.4 C.4.2): instances go from the node to a third one, and we hear how it goes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from gateway.dicom.decode import decode_data_set
from gateway.dicom.encode import DataSet, encode_data_set
from gateway.dimse import messages, status
from gateway.dimse.command import Command
from gateway.dimse.status import Category
from gateway.errors import DataSetError
from gateway.net.requestor import Requestor
from gateway.net.requests import Response
from gateway.scu.node import PLAIN_SYNTAXES, Node, associate
from gateway.ul.negotiation import PresentationContext

PATIENT_ROOT = "1.2.840.10008.5.1.4.1.2.1.2"
STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.2"
_SILENCE = 10
"""How many times its response timeout a peer may keep silent: it need not tell how its sub-operations go."""
_FAILED_UIDS = 0x00080058


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a C-MOVE or C-GET stands (PS3.4 C.4.2.1.6 ff.). Numbers that the peer does not tell are 0."""

    status: int
    remaining: int
    completed: int
    failed: int
    warning: int
    comment: str = ""
    failed_uids: tuple[str, ...] = ()
    """SOP Instance UIDs that failed, in the final one, where the peer names them."""

    @property
    def is_final(self) -> bool:
        return status.category(self.status) is not Category.PENDING

    @property
    def is_success(self) -> bool:
        """It is over, and nothing was left behind."""
        return status.category(self.status) in (Category.SUCCESS, Category.WARNING) and not self.failed

    @property
    def total(self) -> int:
        return self.remaining + self.completed + self.failed + self.warning


async def move(
    node: Node, wanted: DataSet, destination: str, *, model: str = STUDY_ROOT
) -> AsyncGenerator[Progress, None]:
    """Ask a node over an association of its own; as `move_on`."""
    async with (
        associate(node, [(model, PLAIN_SYNTAXES)]) as association,
        aclosing(move_on(association, wanted, destination, model=model)) as responses,
    ):
        async for progress in responses:
            yield progress


async def move_on(
    association: Requestor, wanted: DataSet, destination: str, *, model: str = STUDY_ROOT
) -> AsyncGenerator[Progress, None]:
    """Have what `wanted` identifies sent to the AE title `destination`: its progress, the final one last.

    A failure is told in the final one, never raised. AssociationLost; AssociationRefused for a model that was not
    accepted. Closed early, the peer is asked to cancel.
    """
    context = association.context_for(model)
    request = messages.c_move_request(association.next_message_id(), model, destination)
    async with aclosing(retrieve_on(association, context, request, wanted)) as responses:
        async for progress in responses:
            yield progress


async def retrieve_on(
    association: Requestor, context: PresentationContext, request: Command, wanted: DataSet
) -> AsyncGenerator[Progress, None]:
    """What C-MOVE and C-GET have in common."""
    data_set = encode_data_set(wanted, context.transfer_syntax)
    timeout = association.call.response_timeout * _SILENCE
    async with aclosing(association.requests(context, request, [data_set], timeout=timeout)) as responses:
        async for response in responses:
            yield _progress(response, context.transfer_syntax)


def _progress(response: Response, transfer_syntax_uid: str) -> Progress:
    command = response.command
    return Progress(
        response.status,
        command.remaining_suboperations or 0,
        command.completed_suboperations or 0,
        command.failed_suboperations or 0,
        command.warning_suboperations or 0,
        response.error_comment,
        _failed_uids(response.data_set, transfer_syntax_uid),
    )


def _failed_uids(data_set: bytes | None, transfer_syntax_uid: str) -> tuple[str, ...]:
    if not data_set:
        return ()
    try:
        attribute = decode_data_set(data_set, transfer_syntax_uid).get(_FAILED_UIDS)
    except DataSetError:
        return ()  # The numbers say it all the same.
    return tuple(map(str, attribute.values)) if attribute is not None else ()
