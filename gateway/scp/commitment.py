"""Storage commitment on associations that peers open (PS3.4 Annex J): their requests, and reports about ours.

`workflow/commitment.py` decides whether the gateway commits; this module turns the decision into statuses and
N-EVENT-REPORT.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from gateway.audit.searches import detail_text
from gateway.database.view import seeing
from gateway.dicom.decode import decode_data_set
from gateway.dimse import commitment, messages, status
from gateway.dimse.command import N_ACTION_RQ, N_EVENT_REPORT_RQ, Command
from gateway.errors import DataSetError, GatewayError
from gateway.net.session import Session
from gateway.scp.auditing import ACTIONS
from gateway.scp.context import Context
from gateway.scp.operation import Operation
from gateway.scp.service_class import ServiceClass
from gateway.scu.commitment import MAX_REPORT, Report, send_report
from gateway.ul.negotiation import PresentationContext

log = logging.getLogger(__name__)

SOP_CLASS = commitment.SOP_CLASS


class Commit(Operation):
    """One N-ACTION-RQ: it is answered once the request is durable; the report follows if the association stays open."""

    max_identifier = MAX_REPORT
    action = ACTIONS["commit"]

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
            log.warning("%s: a request for storage commitment cannot be read: %s", self.session, error)
            answer = messages.n_response(self.command, status.INVALID_ARGUMENT_VALUE, error_comment=str(error))
            self.respond(answer)
            return
        commitments, session = self.context.use_cases.commitments, self.session
        self.audit_detail = detail_text({"instances": len(references)})
        number = await commitments.open(transaction_uid, references, session.calling_aet, session.called_aet)
        log.info("%s requests commitment of %d instances, transaction %s", session, len(references), transaction_uid)
        self.respond(messages.n_response(self.command))
        # The report is no part of the request: the end of the association must not cancel it.
        with seeing(None):
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
    """Report the outcome on the association of the request. If that fails, the job reports it later."""
    commitments, settings = context.use_cases.commitments, context.settings()
    try:
        outcome = await commitments.outcome(number)
        if outcome is None:
            return  # A destination has not answered yet.
        if settings.commitment.report == "same" and session.established:
            timeout = session.response_timeout
            await send_report(session, presentation, outcome, session.called_aet, timeout=timeout)
            log.info("%s: reported the outcome of transaction %s", session, outcome.transaction_uid)
            await commitments.reported(number)
            return
    except GatewayError as error:
        log.info("%s: the outcome cannot be reported on this association: %s", session, error)
    except Exception:
        log.exception("%s: the report of commitment %d failed", session, number)
    await commitments.not_reported(number)


def receive_report(context: Context, session: Session, presentation: PresentationContext, command: Command) -> Report:
    """Make the receiver of an N-EVENT-REPORT-RQ about a request of ours."""
    tasks: set[asyncio.Task[None]] = context.tasks

    async def record(outcome: commitment.Outcome) -> int:
        return await context.use_cases.commitments.record(outcome, session.calling_aet)

    return Report(session, presentation, command, record, tasks)


SERVICE: Final = ServiceClass(
    "commit",
    "Storage Commitment, push model",
    (SOP_CLASS,),
    {N_ACTION_RQ: Commit, N_EVENT_REPORT_RQ: receive_report},
    requestor_may_be_scp=True,  # to report the outcome of a request of ours
)
