"""The base of requests with a small data set whose answer takes time: collect the identifier, then perform as a task.

C-FIND, C-MOVE, C-GET, N-ACTION, N-CREATE and N-SET derive from it, each in its own file.
"""

from __future__ import annotations

import asyncio
import logging
import time

from gateway import tracing
from gateway.audit.entry import AuditSubject
from gateway.database.view import VIEW, seeing
from gateway.dimse import messages, status
from gateway.dimse.command import Command
from gateway.errors import GatewayError
from gateway.net.buffers import Block
from gateway.net.receiver import Receiver
from gateway.net.session import Session
from gateway.scp.auditing import answered
from gateway.scp.context import Context
from gateway.telemetry import DIMSE_SECONDS, observe
from gateway.ul.negotiation import PresentationContext

log = logging.getLogger(__name__)

MAX_IDENTIFIER = 1 << 20
"""Bytes of an identifier or other small data set, at most."""


class Operation(Receiver):
    """One request. `perform` answers it, finally with `respond`; a C-CANCEL sets `cancelled`.

    If the association ends first, the task of `perform` is cancelled.
    """

    max_identifier = MAX_IDENTIFIER
    """Bytes of the data set, at most."""
    action = ""
    """The name of what it does in the audit log."""
    _span = tracing.NO_SPAN

    def __init__(self, context: Context, session: Session, presentation: PresentationContext, command: Command) -> None:
        self.context = context
        self.session = session
        self.presentation = presentation
        self.command = command
        self.cancelled = asyncio.Event()
        self._identifier = bytearray()
        self._too_long = False
        self._task: asyncio.Task[None] | None = None
        self.audit_subjects: list[AuditSubject] = []
        """What the request is about, for the audit log."""
        self.audit_detail = ""
        self._began = time.perf_counter()
        self._view = VIEW.get()
        """What the caller may see, with which the request was taken."""

    async def perform(self, identifier: bytes) -> None:
        """Perform the request, given its data set as received (in the transfer syntax of `presentation`)."""
        raise NotImplementedError

    def respond(self, response: Command, data_set: bytes = b"") -> None:
        """Send the final response."""
        code, audit = response.status or 0, self.context.use_cases.audit
        self._span.set("dicom.status", f"{code:04X}")
        if (category := status.category(code)) is status.Category.FAILURE:
            self._span.fail(f"{code:04X}")
        seconds = DIMSE_SECONDS.labels(self.command.name, category.name.lower())
        observe(seconds, time.perf_counter() - self._began, self._span)
        answered(audit, self.session, self.action, code, self.audit_subjects, self.audit_detail)
        self.session.end_operation(self.command.message_id or 0)
        self.session.respond(self.presentation.id, response.encode(), [data_set] if data_set else ())

    def send_pending(self, response: Command, data_set: bytes = b"") -> None:
        """Send a pending response; `await self.session.drain()` between them."""
        self.session.send(self.presentation.id, response.encode(), [data_set] if data_set else ())

    # The methods of `net.session.Receiver`.

    def write(self, data: memoryview, block: Block) -> None:
        if len(self._identifier) + len(data) > self.max_identifier:
            self._too_long = True
        else:
            self._identifier += data

    def end(self) -> None:
        if self._too_long:
            comment = f"the identifier is longer than {self.max_identifier} bytes"
            self.respond(messages.response(self.command, status.OUT_OF_RESOURCES, comment))
            return
        self.session.begin_operation(self.command.message_id or 0, self)
        self._task = self.context.own(self._run())

    def cancel(self) -> None:
        self.cancelled.set()

    def lost(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            with (
                seeing(self._view),
                tracing.span(self.command.name, "server", parent=self.session.span.context) as self._span,
            ):
                await self.perform(bytes(self._identifier))
        except GatewayError as error:
            log.warning("%s: %s failed: %s", self.session, self.command.name, error)
            self.respond(messages.response(self.command, status.PROCESSING_FAILURE, str(error)))
        except Exception:
            log.exception("%s: %s failed", self.session, self.command.name)
            self.respond(messages.response(self.command, status.PROCESSING_FAILURE, "internal error"))
