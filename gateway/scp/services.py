"""The services of the gateway for its callers: admission, negotiation, and the dispatch of messages to service classes.

Each service class has a declaration in its own file (`service_class.py`); a new one is added to the list here. The
settings decide which declared contexts are accepted. `ul/negotiation.py` negotiates.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Final

from gateway.config import Dicom, Settings
from gateway.database.view import seeing
from gateway.dicom import uids
from gateway.dimse import status
from gateway.dimse.command import C_CANCEL_RQ, Command
from gateway.errors import ConfigurationError, ProtocolError
from gateway.net.message_trace import MessageTrace
from gateway.net.receiver import Receiver
from gateway.net.refused_request import RefusedRequest
from gateway.net.session import Refusal, Session
from gateway.scp import admission, auditing, commitment, mpps, query, retrieve, storage, verification, worklist
from gateway.scp.context import Context
from gateway.scp.service_class import Registry
from gateway.telemetry import ASSOCIATIONS_TOTAL
from gateway.ul import negotiation
from gateway.ul.items import UserInformation
from gateway.ul.negotiation import PresentationContext
from gateway.ul.pdu import AssociateAC, AssociateRQ

log = logging.getLogger(__name__)


REGISTRY: Final = Registry(
    (
        verification.SERVICE,
        storage.SERVICE,
        query.SERVICE,
        retrieve.MOVE,
        retrieve.GET,
        worklist.SERVICE,
        mpps.SERVICE,
        commitment.SERVICE,
    )
)
"""All service classes of the gateway."""


class Offer:
    """The contexts that one snapshot of the settings accepts. Raises ConfigurationError for an unknown syntax."""

    def __init__(self, settings: Dicom, registry: Registry = REGISTRY) -> None:
        known = uids.TRANSFER_SYNTAXES
        refused = set(_syntaxes("refused", settings.refused_transfer_syntaxes))
        self.preferred = _syntaxes("preferred", settings.preferred_transfer_syntaxes)
        if uids.IMPLICIT_VR_LITTLE_ENDIAN.uid in refused:
            raise ConfigurationError(
                "dicom.refused_transfer_syntaxes: Implicit VR Little Endian is the default transfer syntax, "
                "which every system must accept (PS3.5 §10.1)"
            )
        taken = frozenset(set(known) - refused)
        self.contexts = {
            uid: taken if service.transfer_syntaxes is None else service.transfer_syntaxes for uid, service in registry
        }
        """Accepted transfer syntaxes, by abstract syntax."""
        self._of_unknown = taken if settings.accept_unknown_sop_classes else None

    def prefer(self, abstract_syntax: str, common: list[str]) -> str:
        """Choose among the transfer syntaxes that a context proposes and we accept (`common`, in the proposed order).

        DCMTK and Orthanc prefer Explicit VR Little Endian to Implicit in any order. pynetdicom proposes Implicit first,
        and a sender with images in Explicit would convert them: private attributes would lose their VR. A compressed
        syntax that is proposed first is chosen all the same: the sender has its images in it.
        """
        if common[0] not in self.preferred:
            return common[0]
        return next(syntax for syntax in self.preferred if syntax in common)

    def unknown(self, abstract_syntax: str) -> frozenset[str] | None:
        """The transfer syntaxes accepted for an abstract syntax that is not in `contexts`; None for none."""
        return None if uids.is_registered(abstract_syntax) else self._of_unknown


def _syntaxes(which: str, names: tuple[str, ...]) -> list[str]:
    """The UIDs of transfer syntaxes that the settings name. Raises ConfigurationError."""
    known = uids.TRANSFER_SYNTAXES
    by_keyword = {syntax.keyword: uid for uid, syntax in known.items()}
    found = [by_keyword.get(name, name) for name in names]
    if unknown := set(found) - set(known):
        raise ConfigurationError(
            f"dicom.{which}_transfer_syntaxes: {', '.join(sorted(unknown))} is not a known transfer syntax; "
            "write its UID or its keyword, such as JPEG2000Lossless"
        )
    return found


class GatewayServices:
    """The `Services` of the gateway's acceptor."""

    def __init__(
        self, settings: Settings, context: Context, seats: admission.Seats, registry: Registry = REGISTRY
    ) -> None:
        """`seats` counts the open associations by calling AE title."""
        self._registry = registry
        self._extensions, self._as_scu = registry.extensions, registry.as_scu
        self._context = context
        self._seats = seats
        self.draining = False
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """Use new settings for future associations. Raises ConfigurationError; nothing is changed then."""
        self._offer, self._settings = Offer(settings.dicom, self._registry), settings

    async def admit(self, session: Session, request: AssociateRQ) -> AssociateAC | Refusal:
        """Answer an A-ASSOCIATE-RQ (PS3.8 §7.1)."""
        settings, offer = self._context.use_cases.directory.extend(self._settings), self._offer
        if settings.dicom.trace_failed:
            session.trace = MessageTrace()
            session.trace.add(f"A-ASSOCIATE-RQ, {len(request.contexts)} contexts", by_peer=True)
        rejection = await admission.admit(
            settings,
            session,
            request,
            draining=self.draining,
            seats=self._seats,
            authenticator=self._context.use_cases.authenticator,
            tokens=self._context.use_cases.tokens,
        )
        ASSOCIATIONS_TOTAL.labels("rejected" if rejection else "accepted").inc()
        if rejection is not None:
            auditing.turned_away(self._context.use_cases.audit, session, rejection.detail)
            return rejection
        proposed = request.user_information
        results = negotiation.negotiate(
            request, offer.contexts, on_unknown=offer.unknown, prefer=offer.prefer, as_scu=self._as_scu
        )
        offered = results
        results = admission.permitted(session, request, results, self._registry.permission_of)
        self._audit(session, request, [new.id for old, new in zip(offered, results, strict=True) if new != old])
        identity = proposed.identity if session.user else None
        extended = negotiation.answer_extended(request, results, self._extensions)
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
                roles=negotiation.answer_roles(request, results, as_scu=self._as_scu),
                extended=extended,
                # "a zero-length server response" says that it was accepted (PS3.7 D.3.3.7.2).
                identity_response=b"" if identity is not None and identity.response_requested else None,
            ),
        )

    def _audit(self, session: Session, request: AssociateRQ, rejected: Collection[int]) -> None:
        """Write down the user of an accepted association, and the services in contexts that he may not use."""
        audit = self._context.use_cases.audit
        auditing.signed_in(audit, session)
        denied = [
            self._registry.permission_of(each.abstract_syntax) for each in request.contexts if each.id in rejected
        ]
        for service in dict.fromkeys(denied):
            if service is not None:
                auditing.denied(audit, session, service)

    def receive(self, session: Session, context: PresentationContext, command: Command) -> Receiver:
        """Choose the receiver of a message by its command and its context. Raises ProtocolError for a response."""
        field = command.command_field
        if field & 0x8000:
            raise ProtocolError(f"a response ({field:04X}H) without a request")
        if field == C_CANCEL_RQ:
            return Cancel(session, command)
        session.renew(self._context.use_cases.directory.extend(self._settings))
        service = self._registry.of(context.abstract_syntax)
        if service is not None and not admission.may_ask(session, service.permission, command):
            admission.log_denied(session, service.permission)
            auditing.denied(self._context.use_cases.audit, session, service.permission)
            return RefusedRequest(session, context, command, status.NOT_AUTHORIZED)
        if service is not None and (receive := service.commands.get(field)) is not None:
            if not session.roles:
                return receive(self._context, session, context, command)
            with seeing(admission.view_of(session, service.permission)):
                return receive(self._context, session, context, command)
        log.warning("%s: unrecognized operation %04XH", session, field)
        return RefusedRequest(session, context, command)


class Cancel(Receiver):
    """The receiver of a C-CANCEL-RQ, which has no response (PS3.7 §9.3.2.3)."""

    def __init__(self, session: Session, command: Command) -> None:
        self._session = session
        self._command = command

    def end(self) -> None:
        self._session.cancel(self._command.message_id_being_responded_to or 0)
        self._session.done()
