"""What the gateway offers to those who call it: admission, and each message to its service class.

Negotiation itself is `ul/negotiation.py`'s; which contexts are on offer is decided here, from the settings.
"""

from __future__ import annotations

import logging

from gateway.access.callers import how_to_allow
from gateway.config import Dicom, Settings
from gateway.dicom import uids
from gateway.dimse import messages, status
from gateway.dimse.command import (
    C_CANCEL_RQ,
    C_ECHO_RQ,
    C_FIND_RQ,
    C_GET_RQ,
    C_MOVE_RQ,
    C_STORE_RQ,
    N_ACTION_RQ,
    N_CREATE_RQ,
    N_EVENT_REPORT_RQ,
    N_SET_RQ,
    Command,
)
from gateway.errors import ConfigurationError, ProtocolError
from gateway.net.buffers import Block
from gateway.net.session import Receiver, Refusal, Session
from gateway.scp import admission, commitment, mpps, query, retrieve_keys, worklist
from gateway.scp.context import Context
from gateway.scp.retrieve import Get, Move
from gateway.scp.storage import Store
from gateway.scp.verification import Echo
from gateway.telemetry import ASSOCIATIONS_TOTAL
from gateway.ul import negotiation
from gateway.ul.items import UserInformation
from gateway.ul.negotiation import PresentationContext
from gateway.ul.pdu import AssociateAC, AssociateRQ

log = logging.getLogger(__name__)


_WORKFLOW = frozenset({commitment.SOP_CLASS, worklist.SOP_CLASS, mpps.SOP_CLASS})
_NOT_STORED = frozenset({uids.VERIFICATION, *query.MODELS, *retrieve_keys.MODELS, *_WORKFLOW})
AS_SCU = frozenset({commitment.SOP_CLASS, *uids.STORAGE_CLASSES})
"""Where who calls us may be the SCP: to report what became of a request of ours, to take what it asks for by C-GET."""
EXTENSIONS = {
    **dict.fromkeys(query.MODELS, query.EXTENSIONS),
    **dict.fromkeys(retrieve_keys.MODELS, retrieve_keys.EXTENSIONS),
}
"""What we take of SOP Class Extended Negotiation, by SOP class (PS3.4 §C.5)."""


class Offer:
    """The contexts that one snapshot of the settings accepts. Raises ConfigurationError for an unknown syntax."""

    def __init__(self, settings: Dicom) -> None:
        known = uids.TRANSFER_SYNTAXES
        by_name = {syntax.keyword: uid for uid, syntax in known.items()}
        refused = {by_name.get(name, name) for name in settings.refused_transfer_syntaxes}
        if unknown := refused - set(known):
            raise ConfigurationError(
                f"dicom.refused_transfer_syntaxes: {', '.join(sorted(unknown))} is no transfer syntax known here; "
                "write its UID or its keyword, such as JPEG2000Lossless"
            )
        if uids.IMPLICIT_VR_LITTLE_ENDIAN.uid in refused:
            raise ConfigurationError(
                "dicom.refused_transfer_syntaxes: Implicit VR Little Endian is the default transfer syntax, "
                "which everybody must accept (PS3.5 §10.1)"
            )
        storage = frozenset(set(known) - refused)
        plain = (uids.IMPLICIT_VR_LITTLE_ENDIAN, uids.EXPLICIT_VR_LITTLE_ENDIAN, uids.EXPLICIT_VR_BIG_ENDIAN)
        self.contexts = dict.fromkeys(uids.STORAGE_CLASSES, storage)
        """Abstract syntax to transfer syntaxes."""
        self.contexts[uids.VERIFICATION] = frozenset(syntax.uid for syntax in plain)
        with_deflated = self.contexts[uids.VERIFICATION] | {uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN.uid}
        self.contexts.update(dict.fromkeys((*query.MODELS, *retrieve_keys.MODELS), with_deflated))
        self.contexts.update(dict.fromkeys(_WORKFLOW, self.contexts[uids.VERIFICATION]))
        self._of_unknown = storage if settings.accept_unknown_sop_classes else None

    def unknown(self, abstract_syntax: str) -> frozenset[str] | None:
        """What we accept for an abstract syntax that is not in `contexts`."""
        return None if uids.is_registered(abstract_syntax) else self._of_unknown


class GatewayServices:
    """The `Services` of the gateway's acceptor."""

    def __init__(self, settings: Settings, context: Context, seats: admission.Seats) -> None:
        """`seats` counts the open associations by calling AE title."""
        self._context = context
        self._seats = seats
        self.draining = False
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """A new snapshot, for associations from now on. Raises ConfigurationError and changes nothing."""
        self._offer, self._settings = Offer(settings.dicom), settings

    async def admit(self, session: Session, request: AssociateRQ) -> AssociateAC | Refusal:
        """Called for every A-ASSOCIATE-RQ (PS3.8 §7.1)."""
        settings, offer = self._settings, self._offer
        rejection = await admission.admit(
            settings,
            session,
            request,
            draining=self.draining,
            seats=self._seats,
            authenticator=self._context.authenticator,
            tokens=self._context.tokens,
        )
        ASSOCIATIONS_TOTAL.labels("rejected" if rejection else "accepted").inc()
        if rejection is not None:
            return rejection
        proposed = request.user_information
        results = negotiation.negotiate(request, offer.contexts, on_unknown=offer.unknown, as_scu=AS_SCU)
        results = admission.permitted(session, request, results)
        identity = proposed.identity if session.user else None
        extended = negotiation.answer_extended(request, results, EXTENSIONS)
        session.extensions = {each.sop_class_uid: each.information for each in extended}
        return AssociateAC(
            request.called_aet,
            request.calling_aet,
            results,
            UserInformation(
                implementation_class_uid=uids.IMPLEMENTATION_CLASS_UID,
                implementation_version_name=uids.IMPLEMENTATION_VERSION_NAME,
                operations=negotiation.answer_operations(
                    proposed.operations, settings.dicom.max_operations, settings.retrieve.window
                ),
                roles=negotiation.answer_roles(request, results, as_scu=AS_SCU),
                extended=extended,
                # "a zero-length server response" says that it was accepted (PS3.7 D.3.3.7.2).
                identity_response=b"" if identity is not None and identity.response_requested else None,
            ),
        )

    def receive(self, session: Session, context: PresentationContext, command: Command) -> Receiver:
        """A message begins: who takes it is decided by its command, on a context that allows it."""
        field = command.command_field
        if field & 0x8000:
            raise ProtocolError(f"a response ({field:04X}H) to nothing that was asked")
        if field == C_CANCEL_RQ:
            return Cancel(session, command)
        if (service := admission.not_allowed(session, context, command)) is not None:
            how = how_to_allow(session.modality, service)
            return Refused(session, context, command, status.NOT_AUTHORIZED, f"it may not {service}: {how}")
        is_verification = context.abstract_syntax == uids.VERIFICATION
        if field == C_ECHO_RQ and is_verification:
            return Echo(session, context, command)
        if field == C_FIND_RQ and context.abstract_syntax in query.MODELS:
            return query.Find(self._context, session, context, command)
        if (model := retrieve_keys.MODELS.get(context.abstract_syntax)) is not None:
            if field == C_MOVE_RQ and model.moves:
                return Move(self._context, session, context, command)
            if field == C_GET_RQ and not model.moves:
                return Get(self._context, session, context, command)
        if context.abstract_syntax in _WORKFLOW:
            if field == C_FIND_RQ and context.abstract_syntax == worklist.SOP_CLASS:
                return worklist.FindWorklist(self._context, session, context, command)
            if field in (N_CREATE_RQ, N_SET_RQ) and context.abstract_syntax == mpps.SOP_CLASS:
                return mpps.PerformedStep(self._context, session, context, command)
            if field == N_ACTION_RQ and context.abstract_syntax == commitment.SOP_CLASS:
                return commitment.Commit(self._context, session, context, command)
            if field == N_EVENT_REPORT_RQ and context.abstract_syntax == commitment.SOP_CLASS:
                return commitment.receive_report(self._context, session, context, command)
        if field == C_STORE_RQ and context.abstract_syntax not in _NOT_STORED:
            return Store(self._context.ingest, session, context, command)
        what = f"unrecognized operation {field:04X}H"
        return Refused(session, context, command, status.UNRECOGNIZED_OPERATION, what)


class Refused:
    """Receives a request that is not served on this context, or not to this caller, and says so (PS3.7 Annex C)."""

    def __init__(
        self, session: Session, context: PresentationContext, command: Command, code: int, detail: str
    ) -> None:
        self._session = session
        self._context = context
        self._command = command
        self._code = code
        self._detail = detail

    def write(self, data: memoryview, block: Block) -> None:
        pass

    def flush(self) -> None:
        pass

    def end(self) -> None:
        log.warning("%s: %s", self._session, self._detail)
        response = messages.response(self._command, self._code)
        self._session.respond(self._context.id, response.encode())

    def lost(self) -> None:
        pass


class Cancel:
    """Receives a C-CANCEL-RQ, which has no response (PS3.7 §9.3.2.3)."""

    def __init__(self, session: Session, command: Command) -> None:
        self._session = session
        self._command = command

    def write(self, data: memoryview, block: Block) -> None:
        pass

    def flush(self) -> None:
        pass

    def end(self) -> None:
        self._session.cancel(self._command.message_id_being_responded_to or 0)
        self._session.done()

    def lost(self) -> None:
        pass
