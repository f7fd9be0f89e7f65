"""C-MOVE as an SCU (PS3.4 C.4.2): a node sends instances to a third one and reports its progress."""

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
"""Response timeouts for which a peer may be silent: it need not report the progress of its sub-operations."""
_FAILED_UIDS = 0x00080058


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a C-MOVE or C-GET (PS3.4 C.4.2.1.6 ff.). Numbers that the peer does not report are 0."""

    status: int
    remaining: int
    completed: int
    failed: int
    warning: int
    comment: str = ""
    failed_uids: tuple[str, ...] = ()
    """SOP Instance UIDs that failed, in the final response, where the peer names them."""

    @property
    def is_final(self) -> bool:
        return status.category(self.status) is not Category.PENDING

    @property
    def is_success(self) -> bool:
        """Whether the retrieval is over and nothing failed."""
        return status.category(self.status) in (Category.SUCCESS, Category.WARNING) and not self.failed

    @property
    def total(self) -> int:
        return self.remaining + self.completed + self.failed + self.warning


async def move(
    node: Node, wanted: DataSet, destination: str, *, model: str = STUDY_ROOT
) -> AsyncGenerator[Progress, None]:
    """Have a node send instances, over an association of its own; like `move_on`."""
    async with (
        associate(node, [(model, PLAIN_SYNTAXES)]) as association,
        aclosing(move_on(association, wanted, destination, model=model)) as responses,
    ):
        async for progress in responses:
            yield progress


async def move_on(
    association: Requestor, wanted: DataSet, destination: str, *, model: str = STUDY_ROOT
) -> AsyncGenerator[Progress, None]:
    """Have what `wanted` identifies sent to the AE title `destination`; yields progress, the final one last.

    A failure is reported in the final progress, never raised. Closing early sends a C-CANCEL. Raises: AssociationLost;
    AssociationRefused for a model that the peer did not accept.
    """
    context = association.context_for(model)
    request = messages.c_move_request(association.next_message_id(), model, destination)
    async with aclosing(retrieve_on(association, context, request, wanted)) as responses:
        async for progress in responses:
            yield progress


async def retrieve_on(
    association: Requestor, context: PresentationContext, request: Command, wanted: DataSet
) -> AsyncGenerator[Progress, None]:
    """The request and responses that C-MOVE and C-GET have in common."""
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
        return ()  # The numbers of sub-operations suffice.
    return tuple(map(str, attribute.values)) if attribute is not None else ()
