"""Storage commitment over associations that the gateway opens (PS3.4 Annex J): requests, and reports of their outcome.

The caller chooses the node and the instances; `dimse/commitment.py` has the data sets.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from gateway.dicom.decode import decode_data_set
from gateway.dicom.encode import encode_data_set
from gateway.dimse import commitment, messages, status
from gateway.dimse.command import N_EVENT_REPORT_RQ, Command
from gateway.dimse.commitment import Outcome, Reference
from gateway.errors import AssociationRefused, DataSetError, GatewayError
from gateway.net.buffers import Block
from gateway.net.exchange import Exchange
from gateway.net.receiver import Receiver
from gateway.net.refused_request import RefusedRequest
from gateway.net.requestor import Requestor
from gateway.scu.node import PLAIN_SYNTAXES, Node, associate
from gateway.ul.items import RoleSelection
from gateway.ul.negotiation import PresentationContext

log = logging.getLogger(__name__)

_CONTEXT = (commitment.SOP_CLASS, PLAIN_SYNTAXES)
MAX_REPORT = 4 << 20
"""Bytes of one request or report; some 30 000 instances fit."""

Take = Callable[[Outcome], Awaitable[int]]
"""Stores a received report; returns the status to answer, once the report is committed."""


class CommitmentFailed(GatewayError):
    """The peer answered a request or a report with the failure `status`."""

    def __init__(self, detail: str, code: int) -> None:
        super().__init__(detail)
        self.status = code


async def request_commitment(
    node: Node, transaction_uid: str, references: Sequence[Reference], *, wait: float = 0.0, take: Take | None = None
) -> Outcome | None:
    """Request the commitment of instances, and wait `wait` seconds for the report on the same association.

    Returns None without a report: the peer will open an association for it. `take` stores a report before it is
    answered. Raises CommitmentFailed, AssociationRefused, AssociationLost.
    """
    arrived: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    tasks: set[asyncio.Task[None]] = set()

    async def receive(outcome: Outcome) -> int:
        answer = status.SUCCESS if take is None else await take(outcome)
        if outcome.transaction_uid == transaction_uid and not arrived.done():
            arrived.set_result(outcome)
        return answer

    def handler(requestor: Requestor, context: PresentationContext, command: Command) -> Receiver:
        if command.command_field == N_EVENT_REPORT_RQ and context.abstract_syntax == commitment.SOP_CLASS:
            return Report(requestor, context, command, receive, tasks)
        return RefusedRequest(requestor, context, command)

    async with associate(node, [_CONTEXT], handler=handler) as association:
        context = association.context_for(commitment.SOP_CLASS)
        command = messages.n_action_request(
            association.next_message_id(), commitment.SOP_CLASS, commitment.SOP_INSTANCE, commitment.REQUEST
        )
        data = encode_data_set(commitment.request_data_set(transaction_uid, references), context.transfer_syntax)
        response = await association.request(context, command, [data], timeout=node.response_timeout)
        if status.category(response.status) is status.Category.FAILURE:
            raise _failure(str(node), "the request", response.status, response.error_comment)
        await asyncio.wait([arrived], timeout=wait)
        if tasks:
            await asyncio.wait(tasks)  # A report is answered before we release.
    return arrived.result() if arrived.done() else None


async def report_commitment(node: Node, outcome: Outcome, retrieve_aet: str = "") -> None:
    """Report an outcome to its requester on an association in which the gateway is the SCP (J.3.3, PS3.7 D.3.3.4).

    Raises CommitmentFailed, AssociationRefused, AssociationLost.
    """
    role = RoleSelection(commitment.SOP_CLASS, scu=False, scp=True)
    async with associate(node, [_CONTEXT], roles=[role]) as association:
        # Peers that do not know role selection accept the report all the same.
        for context in association.contexts.values():
            await send_report(association, context, outcome, retrieve_aet, timeout=node.response_timeout)
            return
        raise AssociationRefused(f"{node} accepts no reports of storage commitment", 1, 1, 1)


async def send_report(
    association: Exchange,
    context: PresentationContext,
    outcome: Outcome,
    retrieve_aet: str = "",
    *,
    timeout: float = 60.0,
) -> None:
    """Send an N-EVENT-REPORT on an association of either side. Raises CommitmentFailed, AssociationLost."""
    command = messages.n_event_report_request(
        association.next_message_id(), commitment.SOP_CLASS, commitment.SOP_INSTANCE, outcome.event_type_id
    )
    data = encode_data_set(commitment.outcome_data_set(outcome, retrieve_aet), context.transfer_syntax)
    response = await association.request(context, command, [data], timeout=timeout)
    if status.category(response.status) is status.Category.FAILURE:
        raise _failure("the peer", "the report", response.status, response.error_comment)


class Report(Receiver):
    """Receives one N-EVENT-REPORT, on an association of either side, and answers once `take` has stored the report."""

    def __init__(
        self,
        exchange: Exchange,
        context: PresentationContext,
        command: Command,
        take: Take,
        tasks: set[asyncio.Task[None]],
    ) -> None:
        """`tasks` collects the running work; its owner awaits the tasks."""
        self._exchange = exchange
        self._context = context
        self._command = command
        self._take = take
        self._tasks = tasks
        self._data = bytearray()
        self._too_long = False

    def write(self, data: memoryview, block: Block) -> None:
        if len(self._data) + len(data) > MAX_REPORT:
            self._too_long = True
        else:
            self._data += data

    def end(self) -> None:
        task = asyncio.get_running_loop().create_task(self._work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self) -> None:
        code, comment = await self._answer()
        answer = messages.n_response(self._command, code, error_comment=comment)
        self._exchange.respond(self._context.id, answer.encode())

    async def _answer(self) -> tuple[int, str | None]:
        if self._too_long:
            return status.RESOURCE_LIMITATION, f"more than {MAX_REPORT} bytes"
        if self._command.event_type_id not in (commitment.COMPLETE, commitment.FAILURES_EXIST):
            return status.NO_SUCH_EVENT_TYPE, None
        try:
            outcome = commitment.read_outcome(decode_data_set(bytes(self._data), self._context.transfer_syntax))
            return await self._take(outcome), None
        except DataSetError as error:
            return status.INVALID_ARGUMENT_VALUE, str(error)[:64]
        except GatewayError as error:
            log.warning("a report of storage commitment was not accepted: %s", error)
            return status.PROCESSING_FAILURE, str(error)[:64]
        except Exception:
            log.exception("a report of storage commitment was not accepted")
            return status.PROCESSING_FAILURE, "internal error"


def _failure(who: str, what: str, code: int, comment: str) -> CommitmentFailed:
    return CommitmentFailed(
        f"{who} answered {what} with {status.describe(code)}{f': {comment}' if comment else ''}", code
    )
