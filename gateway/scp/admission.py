"""Admission of associations, and the services that each caller may request.

`access/` recognizes callers, `services.py` lists the contexts. This module turns their decisions into A-ASSOCIATE-RJ
(PS3.8 Table 9-21) with a reason for the log, and into rejected contexts.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

from gateway.access.callers import Caller, CallerFacts, NotRecognized, caller_again, how_to_allow, recognize
from gateway.access.identity import NotIdentified, UserProof, identify
from gateway.access.principals import (
    ANYBODY,
    SERVICE_PERMISSIONS,
    granting,
    permitted_services,
    principal,
    user_of,
    user_principal,
    within,
)
from gateway.access.tokens import TokenVerifier
from gateway.access.users import Authenticator
from gateway.config import Service, Settings
from gateway.config.roles import Role
from gateway.database.view import View
from gateway.dimse.command import N_EVENT_REPORT_RQ, Command
from gateway.index.visibility import visible
from gateway.net.session import Refusal, Session
from gateway.ul import negotiation
from gateway.ul.items import ContextResult
from gateway.ul.pdu import AssociateRQ

log = logging.getLogger(__name__)

PermissionOf = Callable[[str], Service | None]
"""A function that returns the permission for a SOP class; None if no service class serves it."""
Seats = Callable[[], AbstractContextManager[Counter[str]]]
"""A function that locks the count of open associations by calling AE title, those of other processes included. A caller
that admits an association adds it to the count."""


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
    """Decide about an association request: the refusal, or None. If admitted, the session has the caller's permissions.

    Nothing is awaited after the last check.
    """
    dicom = settings.dicom
    if (refused := negotiation.refusal(request)) is not None:
        return Refusal(refused, f"its application context is {request.application_context!r}")
    if draining:
        return Refusal(negotiation.TEMPORARY_CONGESTION, "the gateway stops")
    names = session.tls.names if session.tls is not None else None
    try:
        caller = await recognize(settings, CallerFacts(request.calling_aet, session.host, names))
    except NotRecognized as error:
        return Refusal(negotiation.CALLING_AE_TITLE_NOT_RECOGNIZED, str(error))
    tenant = _tenant_of(settings, request.called_aet)
    if not tenant and dicom.check_called_aet and request.called_aet not in (ours := (dicom.aet, *dicom.aets)):
        return Refusal(
            negotiation.CALLED_AE_TITLE_NOT_RECOGNIZED,
            f"it calls {request.called_aet!r}, we are {', '.join(ours)}; to answer to that name, add it to dicom.aets",
        )
    try:
        user = await _user(settings, caller, session, request, authenticator, tokens)
    except NotIdentified as error:
        return Refusal(negotiation.REJECTED_WITHOUT_REASON, str(error))
    if tenant and not all(_roles(settings, caller, user, tenant)):
        return Refusal(
            negotiation.CALLED_AE_TITLE_NOT_RECOGNIZED,
            f"it calls {request.called_aet!r}, which is tenant {tenant}'s, and has roles of others alone",
        )
    with seats() as open_now:
        if open_now.total() >= dicom.max_associations:
            return Refusal(negotiation.LOCAL_LIMIT_EXCEEDED, f"{dicom.max_associations} associations are open")
        if open_now[request.calling_aet] >= dicom.max_associations_per_aet:
            return Refusal(
                negotiation.LOCAL_LIMIT_EXCEEDED, f"it has {dicom.max_associations_per_aet} associations open already"
            )
        open_now[request.calling_aet] += 1
    modality = caller.modality
    session.user, session.modality = user.name, caller.name
    _give_rights(settings, session, caller, user, tenant)
    session.renew = _Renewal(session, settings, caller.name, user, tenant)
    session.response_timeout = dicom.response_timeout
    if modality is not None and modality.response_timeout is not None:
        session.response_timeout = modality.response_timeout
    if modality is not None and modality.idle_timeout is not None:
        session.use_idle_timeout(modality.idle_timeout)
    return None


class _Renewal:
    """Gives the caller of an open association the rights of other settings, from its next request on."""

    def __init__(self, session: Session, settings: Settings, name: str, user: UserProof, tenant: str) -> None:
        """`name` is the modality's; `settings` are those by which the association was admitted."""
        self._session = session
        self._settings = settings
        self._name = name
        self._user = user
        self._is_configured = user_of(user.name, settings) is not None
        self._tenant = tenant

    def __call__(self, settings: Settings) -> None:
        if settings is self._settings:
            return
        self._settings = settings
        session, user = self._session, self._user
        caller = caller_again(settings, self._name, session.calling_aet)
        is_gone = self._is_configured and user_of(user.name, settings) is None
        if is_gone or _tenant_of(settings, session.called_aet) != self._tenant:
            session.allowed = frozenset()
        else:
            _give_rights(settings, session, caller, user, self._tenant)


def _give_rights(settings: Settings, session: Session, caller: Caller, user: UserProof, tenant: str) -> None:
    session.roles = _roles(settings, caller, user, tenant)
    session.allowed = frozenset.intersection(
        caller.may, *[permitted_services(roles, caller.may) for roles in session.roles]
    )


def _tenant_of(settings: Settings, aet: str) -> str:
    """The tenant one of whose AE titles is called; empty for none."""
    return next((name for name, each in settings.tenants.items() if aet in each.aets), "")


def _roles(settings: Settings, caller: Caller, user: UserProof, tenant: str) -> tuple[tuple[Role, ...], ...]:
    """The roles of the modality, if it has any, and of the user, if the configuration or tokens give any; at a door of
    a tenant, as far as they count there."""
    modality = caller.modality
    holders = [principal(caller.name, modality.roles, settings)] if modality is not None and modality.roles else []
    if user_of(user.name, settings) is not None or (user.name and settings.tokens.gives_roles):
        holders.append(user_principal(user.name, settings, user.roles))
    roles = tuple([each.roles for each in holders])
    return tuple([within(each, tenant) for each in roles or (ANYBODY.roles,)]) if tenant else roles


async def _user(
    settings: Settings,
    caller: Caller,
    session: Session,
    request: AssociateRQ,
    authenticator: Authenticator,
    tokens: TokenVerifier,
) -> UserProof:
    """The user whose identity is verified; without a name if no identity is required. Raises NotIdentified."""
    dicom, identity = settings.dicom, request.user_information.identity
    policy = (caller.modality.user_identity if caller.modality is not None else "") or dicom.user_identity
    if policy == "ignored" or (identity is None and policy == "optional"):
        return UserProof("")
    return await identify(identity, settings, authenticator, tokens, session.host)


def permitted(
    session: Session, request: AssociateRQ, results: list[ContextResult], permission_of: PermissionOf
) -> list[ContextResult]:
    """The answers to the proposed contexts: a context whose service the caller may not request is rejected
    (user-rejection).

    A context in which the caller offers to be the SCP is kept, as the gateway sends the requests there. Contexts for
    storage are kept too if the caller may and can request C-GET: not all such callers propose the role.
    """
    gets = "get" in session.allowed and any(permission_of(each.abstract_syntax) == "get" for each in request.contexts)
    serves = {role.sop_class_uid for role in request.user_information.roles if role.scp}
    proposed = {context.id: context.abstract_syntax for context in request.contexts}
    denied: dict[Service, None] = {}
    answers = []
    for result in results:
        sop_class = proposed[result.id]
        service = permission_of(sop_class)
        ours = sop_class in serves or (gets and service == "store")
        if (
            result.result == negotiation.ACCEPTANCE
            and service is not None
            and service not in session.allowed
            and not ours
        ):
            denied[service] = None
            result = replace(result, result=negotiation.USER_REJECTION)
        answers.append(result)
    for service in denied:
        log_denied(session, service)
    return answers


def log_denied(session: Session, service: Service) -> None:
    """Log that the caller asked for a service that it may not request, and how it could be allowed."""
    how = how_to_allow(session.modality, service)
    if session.roles:
        needed = " or ".join(SERVICE_PERMISSIONS[service])
        how += f", and have each of its modality and its user hold a role with the permission {needed}"
    log.warning("%s may not %s: %s", session, service, how)


def view_of(session: Session, service: Service) -> View | None:
    """The view of the index that a service gives the caller; None shows everything."""
    return visible(*[granting(roles, SERVICE_PERMISSIONS[service]) for roles in session.roles])


def may_ask(session: Session, service: Service, command: Command) -> bool:
    """Whether the caller may send this request to a service."""
    # An event report is the result of a request of ours.
    return service in session.allowed or command.command_field == N_EVENT_REPORT_RQ
