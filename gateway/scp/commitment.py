"""Storage commitment on associations that peers open (PS3.4 Annex J): their requests, and reports about ours.

Whether we commit is decided in `archive/commitment.py`; here that becomes statuses and N-EVENT-REPORT.
"""

from __future__ import annotations

import asyncio
import logging

from gateway.dicom.decode import decode_data_set
from gateway.dimse import commitment, messages, status
from gateway.dimse.command import Command
from gateway.errors import DataSetError, GatewayError
from gateway.net.session import Session
from gateway.scp.context import Context
from gateway.scp.operation import Operation
from gateway.scu.commitment import MAX_REPORT, Report, send_report
from gateway.ul.negotiation import PresentationContext

log = logging.getLogger(__name__)

SOP_CLASS = commitment.SOP_CLASS


class Commit(Operation):
    """One N-ACTION-RQ: answered once the request is durable, reported on at once if the association stays."""

    max_identifier = MAX_REPORT

    async def perform(self, identifier: bytes) -> None:
        refused = self._objection()
        if refused is not None:
            self.respond(messages.n_response(self.command, refused))
            return
        try:
            transaction_uid, references = commitment.read_request(
                decode_data_set(identifier, self.presentation.transfer_syntax)
            )
        except DataSetError as error:
            log.warning("%s: a request of storage commitment cannot be read: %s", self.session, error)
            answer = messages.n_response(self.command, status.INVALID_ARGUMENT_VALUE, error_comment=str(error)[:64])
            self.respond(answer)
            return
        commitments, session = self.context.commitments, self.session
        number = await commitments.open(transaction_uid, references, session.calling_aet, session.called_aet)
        log.info("%s asks to commit %d instances, transaction %s", session, len(references), transaction_uid)
        self.respond(messages.n_response(self.command))
        # What follows belongs to no request any more, so the end of the association does not cancel it.
        self.context.own(_report(self.context, session, self.presentation, number))

    def _objection(self) -> int | None:
        if self.command.requested_sop_class_uid != commitment.SOP_CLASS:
            return status.NO_SUCH_SOP_CLASS
        if self.command.requested_sop_instance_uid != commitment.SOP_INSTANCE:
            return status.NO_SUCH_SOP_INSTANCE
        if self.command.action_type_id != commitment.REQUEST:
            return status.NO_SUCH_ACTION_TYPE
        return None


async def _report(context: Context, session: Session, presentation: PresentationContext, number: int) -> None:
    """Tell the outcome on the association of the request. What does not succeed is left to the job."""
    commitments, settings = context.commitments, context.settings()
    try:
        outcome = await commitments.outcome(number)
        if outcome is None:
            return  # A destination is still to answer.
        if settings.commitment.report == "same" and session.established:
            timeout = session.response_timeout
            await send_report(session, presentation, outcome, session.called_aet, timeout=timeout)
            log.info("%s: told the outcome of transaction %s", session, outcome.transaction_uid)
            await commitments.reported(number)
            return
    except GatewayError as error:
        log.info("%s: not told on this association: %s", session, error)
    except Exception:
        log.exception("%s: commitment %d", session, number)
    await commitments.not_reported(number)


def receive_report(context: Context, session: Session, presentation: PresentationContext, command: Command) -> Report:
    """Receives N-EVENT-REPORT-RQ about a request of ours."""
    tasks: set[asyncio.Task[None]] = context.tasks

    async def take(outcome: commitment.Outcome) -> int:
        return await context.commitments.take(outcome, session.calling_aet)

    return Report(session, presentation, command, take, tasks)
