"""C-FIND on the Modality Worklist information model (PS3.4 Annex K); `workflow/worklist.py` finds the items."""

from __future__ import annotations

import logging
from typing import Final

from gateway.dicom.decode import decode_data_set
from gateway.dicom.encode import encode_data_set
from gateway.dimse import messages, status
from gateway.dimse.command import C_FIND_RQ
from gateway.errors import BadRequest, DataSetError
from gateway.scp.auditing import ACTIONS
from gateway.scp.operation import Operation
from gateway.scp.service_class import ServiceClass
from gateway.workflow.worklist_items import text_of

log = logging.getLogger(__name__)

SOP_CLASS: Final = "1.2.840.10008.5.1.4.31"
_CHARACTER_SET: Final = 0x00080005


class FindWorklist(Operation):
    """One C-FIND-RQ on the worklist."""

    action = ACTIONS["worklist"]

    async def perform(self, identifier: bytes) -> None:
        syntax = self.presentation.transfer_syntax
        settings = self.context.settings().worklist
        found = 0
        try:
            keys = decode_data_set(identifier, syntax)
            prefer = text_of(keys.get(_CHARACTER_SET))
            async for match in self.context.use_cases.worklists.find(keys):
                if self.cancelled.is_set():
                    self.respond(messages.c_find_response(self.command, status.CANCEL))
                    return
                if found >= settings.max_results:
                    comment = f"more than {found} matches, see worklist.max_results"
                    self.respond(messages.c_find_response(self.command, status.OUT_OF_RESOURCES, comment))
                    return
                answer = encode_data_set(match, syntax, prefer=prefer)
                self.send_pending(messages.c_find_response(self.command, status.PENDING), answer)
                await self.session.drain()
                found += 1
        except (BadRequest, DataSetError) as error:
            log.warning("%s: a worklist query is refused: %s", self.session, error)
            code = (
                status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS if isinstance(error, BadRequest) else status.UNABLE_TO_PROCESS
            )
            self.respond(messages.c_find_response(self.command, code, str(error)))
            return
        log.info("%s: worklist query, %d items", self.session, found)
        self.respond(messages.c_find_response(self.command))


SERVICE: Final = ServiceClass("worklist", "Modality Worklist", (SOP_CLASS,), {C_FIND_RQ: FindWorklist})
