"""Who is let in, and to which service a SOP class belongs.

Who is known is `access/`'s to say, which contexts there are `services.py`'s. Here that becomes A-ASSOCIATE-RJ
(PS3.8 Table 9-21) with a reason for the log, and rejected contexts.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

from gateway.access.callers import Caller, NotRecognized, Origin, how_to_allow, recognize
from gateway.access.identity import NotIdentified, identify
from gateway.access.tokens import TokenVerifier
from gateway.access.users import Authenticator
from gateway.config import Service, Settings
from gateway.dicom import uids
from gateway.dimse.command import N_EVENT_REPORT_RQ, Command
from gateway.net.session import Refusal, Session
from gateway.ul import negotiation
from gateway.ul.items import ContextResult
from gateway.ul.negotiation import PresentationContext
from gateway.ul.pdu import AssociateRQ

log = logging.getLogger(__name__)

_SERVICES: dict[str, Service] = {
    uids.VERIFICATION: "echo",
    "1.2.840.10008.1.20.1": "commit",
    "1.2.840.10008.5.1.4.31": "worklist",
    "1.2.840.10008.3.1.2.3.3": "mpps",
    "1.2.840.10008.3.1.2.3.4": "mpps",
    "1.2.840.10008.3.1.2.3.5": "mpps",
}
_QUERY_RETRIEVE = re.compile(r" - (FIND|MOVE|GET)$")
_OF_MODEL: dict[str, Service] = {"FIND": "find", "MOVE": "move", "GET": "get"}


def service_of(sop_class_uid: str) -> Service:
    """The permission that a SOP class needs; what is none of the others is stored."""
    service = _SERVICES.get(sop_class_uid)
    if service is not None:
        return service
    model = _QUERY_RETRIEVE.search(uids.name_of(sop_class_uid))
    return _OF_MODEL[model[1]] if model is not None else "store"


Seats = Callable[[], AbstractContextManager[Counter[str]]]
"""While inside, the open associations by calling AE title, those of other processes too, and nobody else counts.
Whoever takes one more adds it."""


async def admit(
    settings: Settings,
    session: Session,
    request: AssociateRQ,
    *,
    draining: bool,
    seats: Seats,
    authenticator: Authenticator,
    tokens: TokenVerifier,
) -> Refusal | None:
    """Why it is not let in, or None: then the session says what it may. Nothing is awaited after the last check."""
    dicom = settings.dicom
    if (refused := negotiation.refusal(request)) is not None:
        return Refusal(refused, f"its application context is {request.application_context!r}")
    if draining:
        return Refusal(negotiation.TEMPORARY_CONGESTION, "the gateway stops")
    names = session.tls.names if session.tls is not None else None
    try:
        caller = await recognize(settings, Origin(request.calling_aet, session.host, names))
    except NotRecognized as error:
        return Refusal(negotiation.CALLING_AE_TITLE_NOT_RECOGNIZED, str(error))
    if dicom.check_called_aet and request.called_aet not in (ours := (dicom.aet, *dicom.aets)):
        return Refusal(
            negotiation.CALLED_AE_TITLE_NOT_RECOGNIZED,
            f"it calls {request.called_aet!r}, we are {', '.join(ours)}; to answer to that name, add it to dicom.aets",
        )
    try:
        session.user = await _user(settings, caller, session, request, authenticator, tokens)
    except NotIdentified as error:
        return Refusal(negotiation.REJECTED_WITHOUT_REASON, str(error))
    with seats() as open_now:
        if open_now.total() >= dicom.max_associations:
            return Refusal(negotiation.LOCAL_LIMIT_EXCEEDED, f"{dicom.max_associations} associations are open")
        if open_now[request.calling_aet] >= dicom.max_associations_per_aet:
            return Refusal(
                negotiation.LOCAL_LIMIT_EXCEEDED, f"it has {dicom.max_associations_per_aet} associations open already"
            )
        open_now[request.calling_aet] += 1
    session.modality, session.allowed = caller.name, caller.may
    modality = caller.modality
    session.response_timeout = dicom.response_timeout
    if modality is not None and modality.response_timeout is not None:
        session.response_timeout = modality.response_timeout
    if modality is not None and modality.idle_timeout is not None:
        session.use_idle_timeout(modality.idle_timeout)
    return None


async def _user(
    settings: Settings,
    caller: Caller,
    session: Session,
    request: AssociateRQ,
    authenticator: Authenticator,
    tokens: TokenVerifier,
) -> str:
    """The user that the identity proves; empty where none is asked for."""
    dicom, identity = settings.dicom, request.user_information.identity
    asked = (caller.modality.user_identity if caller.modality is not None else "") or dicom.user_identity
    if asked == "ignored" or (identity is None and asked == "optional"):
        return ""
    return await identify(identity, settings, authenticator, tokens, session.host)


def permitted(session: Session, request: AssociateRQ, results: list[ContextResult]) -> list[ContextResult]:
    """The answers to the proposed contexts, those rejected (user-rejection) whose service this caller may not ask for.

    A context in which it offers to be the SCP stays: there it is we who ask. So do those for storage where it may and
    can ask for C-GET: not all that do propose the role.
    """
    gets = "get" in session.allowed and any(service_of(each.abstract_syntax) == "get" for each in request.contexts)
    serves = {role.sop_class_uid for role in request.user_information.roles if role.scp}
    proposed = {context.id: context.abstract_syntax for context in request.contexts}
    denied: dict[Service, None] = {}
    answers = []
    for result in results:
        sop_class = proposed[result.id]
        service = service_of(sop_class)
        ours = sop_class in serves or (gets and service == "store")
        if result.result == negotiation.ACCEPTANCE and service not in session.allowed and not ours:
            denied[service] = None
            result = replace(result, result=negotiation.USER_REJECTION)
        answers.append(result)
    for service in denied:
        log.warning("%s may not %s: %s", session, service, how_to_allow(session.modality, service))
    return answers


def not_allowed(session: Session, context: PresentationContext, command: Command) -> Service | None:
    """The service that this request needs and its caller may not ask for."""
    service = service_of(context.abstract_syntax)
    if service in session.allowed or command.command_field == N_EVENT_REPORT_RQ:
        return None  # An event report is the answer to something that we asked for.
    return service
