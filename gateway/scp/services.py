"""What the gateway offers to those who call it: admission, and each message to its service class.

Negotiation itself is `ul/negotiation.py`'s; which contexts are on offer is decided here, from the settings.
"""

from __future__ import annotations

import ipaddress
import logging
from collections import Counter
from collections.abc import Callable

from gateway.config import Dicom, Settings, as_network
from gateway.dicom import uids
from gateway.dimse import messages, status
from gateway.dimse.command import C_CANCEL_RQ, C_ECHO_RQ, C_STORE_RQ, Command
from gateway.errors import ConfigurationError, ProtocolError
from gateway.net.buffers import Block
from gateway.net.session import Receiver, Refusal, Session
from gateway.scp.context import Context
from gateway.scp.storage import Store
from gateway.scp.verification import Echo
from gateway.telemetry import ASSOCIATIONS_TOTAL
from gateway.ul import negotiation
from gateway.ul.items import UserInformation
from gateway.ul.negotiation import PresentationContext
from gateway.ul.pdu import AssociateAC, AssociateRQ

log = logging.getLogger(__name__)


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
        self._of_unknown = storage if settings.accept_unknown_sop_classes else None

    def unknown(self, abstract_syntax: str) -> frozenset[str] | None:
        """What we accept for an abstract syntax that is not in `contexts`."""
        return None if uids.is_registered(abstract_syntax) else self._of_unknown


class GatewayServices:
    """The `Services` of the gateway's acceptor."""

    def __init__(self, settings: Settings, context: Context, established: Callable[[], Counter[str]]) -> None:
        """`established` counts the open associations by calling AE title."""
        self._context = context
        self._established = established
        self.draining = False
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """A new snapshot, for associations from now on. Raises ConfigurationError and changes nothing."""
        self._offer, self._modalities, self._settings = Offer(settings.dicom), settings.modalities, settings.dicom

    def admit(self, session: Session, request: AssociateRQ) -> AssociateAC | Refusal:
        """Called for every A-ASSOCIATE-RQ (PS3.8 §7.1)."""
        rejection = self._objection(session, request)
        ASSOCIATIONS_TOTAL.labels("rejected" if rejection else "accepted").inc()
        if rejection is not None:
            return rejection
        settings, proposed = self._settings, request.user_information
        results = negotiation.negotiate(request, self._offer.contexts, on_unknown=self._offer.unknown)
        return AssociateAC(
            request.called_aet,
            request.calling_aet,
            results,
            UserInformation(
                implementation_class_uid=uids.IMPLEMENTATION_CLASS_UID,
                implementation_version_name=uids.IMPLEMENTATION_VERSION_NAME,
                operations=negotiation.answer_operations(proposed.operations, settings.max_operations, 1),
                roles=negotiation.answer_roles(request, results),
            ),
        )

    def _objection(self, session: Session, request: AssociateRQ) -> Refusal | None:
        settings = self._settings
        if (refused := negotiation.refusal(request)) is not None:
            return Refusal(refused, f"its application context is {request.application_context!r}")
        if self.draining:
            return Refusal(negotiation.TEMPORARY_CONGESTION, "the gateway stops")
        if self._modalities and not any(
            known.aet == request.calling_aet and _calls_from(session.host, known.host)
            for known in self._modalities.values()
        ):
            return Refusal(
                negotiation.CALLING_AE_TITLE_NOT_RECOGNIZED,
                f"{request.calling_aet!r} at {session.host} is no known caller; add it as [modalities.NAME]",
            )
        if settings.check_called_aet and request.called_aet != settings.aet:
            return Refusal(
                negotiation.CALLED_AE_TITLE_NOT_RECOGNIZED, f"it calls {request.called_aet!r}, we are {settings.aet!r}"
            )
        open_now = self._established()
        if open_now.total() >= settings.max_associations:
            return Refusal(negotiation.LOCAL_LIMIT_EXCEEDED, f"{settings.max_associations} associations are open")
        if open_now[request.calling_aet] >= settings.max_associations_per_aet:
            return Refusal(
                negotiation.LOCAL_LIMIT_EXCEEDED,
                f"it has {settings.max_associations_per_aet} associations open already",
            )
        return None

    def receive(self, session: Session, context: PresentationContext, command: Command) -> Receiver:
        """A message begins: who takes it is decided by its command, on a context that allows it."""
        field = command.command_field
        if field & 0x8000:
            raise ProtocolError(f"a response ({field:04X}H) to nothing that was asked")
        if field == C_CANCEL_RQ:
            return Cancel(session, command)
        is_verification = context.abstract_syntax == uids.VERIFICATION
        if field == C_ECHO_RQ and is_verification:
            return Echo(session, context, command)
        if field == C_STORE_RQ and not is_verification:
            return Store(self._context.ingest, session, context, command)
        return Unsupported(session, context, command)


class Unsupported:
    """Receives a request that this context does not serve, and says so (PS3.7 §C.5.22)."""

    def __init__(self, session: Session, context: PresentationContext, command: Command) -> None:
        self._session = session
        self._context = context
        self._command = command

    def write(self, data: memoryview, block: Block) -> None:
        pass

    def flush(self) -> None:
        pass

    def end(self) -> None:
        log.warning("%s: unrecognized operation %04XH", self._session, self._command.command_field)
        response = messages.response(self._command, status.UNRECOGNIZED_OPERATION)
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


def _calls_from(host: str, network: str) -> bool:
    if not network:
        return True
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    known = as_network(network)
    return known is not None and address in known
