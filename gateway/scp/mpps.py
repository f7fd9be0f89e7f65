"""N-CREATE and N-SET of modality performed procedure steps (PS3.4 F.7); `workflow/performed_steps.py` stores them."""

from __future__ import annotations

import logging
import uuid
from typing import Final

from gateway.audit.searches import detail_text
from gateway.dicom import uids
from gateway.dicom.decode import decode_data_set
from gateway.dicom.encode import DataSet
from gateway.dimse import messages, status
from gateway.dimse.command import N_CREATE_RQ, N_SET_RQ
from gateway.errors import DataSetError
from gateway.scp.auditing import ACTIONS
from gateway.scp.operation import Operation
from gateway.scp.service_class import ServiceClass
from gateway.scu import mpps
from gateway.workflow.performed_steps import StepRefused

log = logging.getLogger(__name__)

SOP_CLASS: Final = mpps.SOP_CLASS


class PerformedStep(Operation):
    """One N-CREATE-RQ or N-SET-RQ. It is answered once the step is durable."""

    action = ACTIONS["mpps"]

    async def perform(self, identifier: bytes) -> None:
        command = self.command
        creates = command.command_field == N_CREATE_RQ
        self.audit_detail = detail_text({"step": command.name})
        uid = (command.affected_sop_instance_uid if creates else command.requested_sop_instance_uid) or ""
        sop_class = command.affected_sop_class_uid if creates else command.requested_sop_class_uid
        try:
            if sop_class != SOP_CLASS:
                raise StepRefused("the SOP class is not that of the context", status.NO_SUCH_SOP_CLASS)
            await self._perform(creates, uid, identifier)
        except StepRefused as error:
            log.warning("%s: %s of step %s refused: %s", self.session, command.name, uid, error)
            answer = messages.n_response(command, error.status, error_comment=str(error))
            answer.error_id = error.error_id
            self.respond(answer)

    async def _perform(self, creates: bool, uid: str, identifier: bytes) -> None:
        if not identifier:
            raise StepRefused("there is no data set", status.MISSING_ATTRIBUTE)
        if creates and not uid:
            uid = f"2.25.{uuid.uuid4().int}"  # "the SCP shall assign" (PS3.7 §10.1.5.1.4)
        if not uids.is_uid(uid):
            raise StepRefused("the SOP Instance UID is not a UID", status.INVALID_SOP_INSTANCE)
        try:
            data_set: DataSet = decode_data_set(identifier, self.presentation.transfer_syntax)
        except DataSetError as error:
            raise StepRefused(str(error), status.PROCESSING_FAILURE) from None
        steps, session = self.context.use_cases.steps, self.session
        if creates:
            await steps.create(uid, data_set, session.calling_aet, session.called_aet)
        else:
            await steps.update(uid, data_set)
        log.info("%s: %s of step %s", session, self.command.name, uid)
        answer = messages.n_response(self.command)
        answer.affected_sop_instance_uid = uid
        self.respond(answer)


SERVICE: Final = ServiceClass(
    "mpps",
    "Modality Performed Procedure Step",
    (SOP_CLASS,),
    {N_CREATE_RQ: PerformedStep, N_SET_RQ: PerformedStep},
)
