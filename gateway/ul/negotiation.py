"""Negotiation of presentation contexts, roles and asynchronous operations between two AEs. Pure functions.

Here: PS3.8 §7.1.1 and PS3.7 D.3.3, given a proposal and what we accept. Not here: which AEs and SOP classes we
accept (the caller's settings), nor the wire format (`items`, `pdu`).

Transfer syntax: the acceptor is free to choose any that was proposed. The proposer's order decides unless the
caller passes `prefer`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.ul.items import (
    APPLICATION_CONTEXT_NAME,
    IMPLICIT_VR_LITTLE_ENDIAN,
    AsynchronousOperations,
    ContextResult,
    ExtendedNegotiation,
    ProposedContext,
    RoleSelection,
)
from gateway.ul.pdu import AssociateAC, AssociateRQ

ACCEPTANCE: Final = 0
USER_REJECTION: Final = 1
NO_REASON: Final = 2
ABSTRACT_SYNTAX_NOT_SUPPORTED: Final = 3
TRANSFER_SYNTAXES_NOT_SUPPORTED: Final = 4
"""Results of a presentation context (PS3.8 Table 9-18)."""

Rejection = tuple[int, int, int]
"""Result, source and reason of A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""

APPLICATION_CONTEXT_NOT_SUPPORTED: Final[Rejection] = (1, 1, 2)
CALLING_AE_TITLE_NOT_RECOGNIZED: Final[Rejection] = (1, 1, 3)
CALLED_AE_TITLE_NOT_RECOGNIZED: Final[Rejection] = (1, 1, 7)
REJECTED_WITHOUT_REASON: Final[Rejection] = (1, 1, 1)
PROTOCOL_VERSION_NOT_SUPPORTED: Final[Rejection] = (1, 2, 2)
TEMPORARY_CONGESTION: Final[Rejection] = (2, 3, 1)
LOCAL_LIMIT_EXCEEDED: Final[Rejection] = (2, 3, 2)

_REASONS: Final[dict[tuple[int, int], str]] = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognized",
    (1, 7): "called AE title not recognized",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}

Prefer = Callable[[str, list[str]], str]
"""Chooses a transfer syntax, given an abstract syntax and the proposed transfer syntaxes that we accept (at least one,
in the proposer's order)."""


@dataclass(frozen=True, slots=True)
class PresentationContext:
    """An accepted presentation context. `as_scu` and `as_scp` are the roles that *we* may take in it."""

    id: int
    abstract_syntax: str
    transfer_syntax: str
    as_scu: bool
    as_scp: bool


def negotiate(
    request: AssociateRQ,
    acceptable: Mapping[str, Collection[str]],
    *,
    on_unknown: Callable[[str], Collection[str] | None] | None = None,
    prefer: Prefer | None = None,
    as_scu: Collection[str] = frozenset(),
    not_as_scp: Collection[str] = frozenset(),
) -> list[ContextResult]:
    """Answer every proposed context, in the order proposed.

    `acceptable` gives the accepted transfer syntaxes for each abstract syntax; `on_unknown` is called for any other
    abstract syntax, and returns None to refuse. `as_scu` and `not_as_scp` are the abstract syntaxes that we would be
    SCU of, and would not be SCP of. A context whose proposed roles leave none for us is a user-rejection, as in
    pynetdicom.
    """
    roles = _granted(request.user_information.roles, as_scu, not_as_scp)
    return [_answer(proposed, acceptable, on_unknown, prefer, roles, not_as_scp) for proposed in request.contexts]


def answer_roles(
    request: AssociateRQ,
    results: Sequence[ContextResult],
    *,
    as_scu: Collection[str] = frozenset(),
    not_as_scp: Collection[str] = frozenset(),
) -> list[RoleSelection]:
    """The role selection sub-items of an accept (PS3.7 D.3.3.4): one for each proposal whose context was accepted.

    "Shall not return the value 1 if the Association-requestor has not proposed the role."
    """
    accepted_ids = {result.id for result in results if result.result == ACCEPTANCE}
    accepted = {context.abstract_syntax for context in request.contexts if context.id in accepted_ids}
    roles = _granted(request.user_information.roles, as_scu, not_as_scp)
    return [role for uid, role in roles.items() if uid in accepted]


def answer_operations(
    proposed: AsynchronousOperations | None, invoked: int, performed: int
) -> AsynchronousOperations | None:
    """The window to answer with (PS3.7 D.3.3.3): the smaller of the proposal and our limits; 0 is no limit.

    `invoked` bounds the operations that the requestor may have outstanding with us, `performed` ours with it. None
    if nothing was proposed: then one of each applies, and no sub-item is sent.
    """
    if proposed is None:
        return None
    return AsynchronousOperations(_smaller(proposed.invoked, invoked), _smaller(proposed.performed, performed))


def answer_extended(
    request: AssociateRQ, results: Sequence[ContextResult], supported: Mapping[str, bytes]
) -> list[ExtendedNegotiation]:
    """The SOP class extended negotiation of an accept, for service classes whose every byte is a flag (PS3.4 §C.5).

    The answer has as many bytes as were offered, or as `supported` has: 1 where both have 1. A class that is not in
    `supported`, or none of whose contexts was accepted, gets no answer.
    """
    accepted_ids = {result.id for result in results if result.result == ACCEPTANCE}
    accepted = {context.abstract_syntax for context in request.contexts if context.id in accepted_ids}
    answers = {}
    for offer in request.user_information.extended:
        ours = supported.get(offer.sop_class_uid)
        if ours is not None and offer.sop_class_uid in accepted and offer.information:
            flags = bytes([int(flag == 1 and able == 1) for flag, able in zip(offer.information, ours, strict=False)])
            answers[offer.sop_class_uid] = ExtendedNegotiation(offer.sop_class_uid, flags)
    return list(answers.values())


def refusal(request: AssociateRQ) -> Rejection | None:
    """The rejection that any acceptor owes this request, or None. The state machine checks the protocol version."""
    return None if request.application_context == APPLICATION_CONTEXT_NAME else APPLICATION_CONTEXT_NOT_SUPPORTED


def describe_rejection(result: int, source: int, reason: int) -> str:
    """A rejection in words, for people."""
    lasting = {1: "rejected permanently", 2: "rejected for now"}.get(result, f"rejected (result {result})")
    return f"{lasting}: {_REASONS.get((source, reason), f'source {source}, reason {reason}')}"


def accepted_contexts(request: AssociateRQ, answer: AssociateAC, *, requestor: bool) -> dict[int, PresentationContext]:
    """The contexts that both sides may use, by identifier, with the roles of our side.

    Answers with an identifier or a transfer syntax that was not proposed are left out.
    """
    proposed = {context.id: context for context in request.contexts}
    proposed_roles = {role.sop_class_uid: role for role in request.user_information.roles}
    granted_roles = {role.sop_class_uid: role for role in answer.user_information.roles}
    contexts = {}
    for result in answer.contexts:
        context = proposed.get(result.id)
        if context is None or result.result != ACCEPTANCE or result.transfer_syntax not in context.transfer_syntaxes:
            continue
        scu, scp = True, False
        wanted, granted = proposed_roles.get(context.abstract_syntax), granted_roles.get(context.abstract_syntax)
        if wanted is not None and granted is not None:
            scu, scp = wanted.scu and granted.scu, wanted.scp and granted.scp
        if not requestor:
            scu, scp = scp, scu
        contexts[context.id] = PresentationContext(
            context.id, context.abstract_syntax, result.transfer_syntax, as_scu=scu, as_scp=scp
        )
    return contexts


def _answer(
    proposed: ProposedContext,
    acceptable: Mapping[str, Collection[str]],
    on_unknown: Callable[[str], Collection[str] | None] | None,
    prefer: Prefer | None,
    roles: dict[str, RoleSelection],
    not_as_scp: Collection[str],
) -> ContextResult:
    uid = proposed.abstract_syntax
    # The transfer syntax of a refusal is "not significant"; some peers expect one all the same.
    answer = ContextResult(
        proposed.id,
        ABSTRACT_SYNTAX_NOT_SUPPORTED,
        proposed.transfer_syntaxes[0] if proposed.transfer_syntaxes else IMPLICIT_VR_LITTLE_ENDIAN,
    )
    ours = acceptable.get(uid)
    if ours is None and on_unknown is not None:
        ours = on_unknown(uid)
    if ours is None:
        return answer
    common = [syntax for syntax in proposed.transfer_syntaxes if syntax in ours]
    if not common:
        answer.result = TRANSFER_SYNTAXES_NOT_SUPPORTED
        return answer
    role = roles.get(uid)
    if (uid in not_as_scp) if role is None else not (role.scu or role.scp):
        answer.result = USER_REJECTION
        return answer
    answer.result = ACCEPTANCE
    answer.transfer_syntax = common[0] if prefer is None else prefer(uid, common)
    return answer


def _granted(
    proposed: Sequence[RoleSelection], as_scu: Collection[str], not_as_scp: Collection[str]
) -> dict[str, RoleSelection]:
    return {
        role.sop_class_uid: RoleSelection(
            role.sop_class_uid,
            scu=role.scu and role.sop_class_uid not in not_as_scp,
            scp=role.scp and role.sop_class_uid in as_scu,
        )
        for role in proposed
    }


def _smaller(proposed: int, ours: int) -> int:
    return min(proposed, ours) if proposed and ours else proposed or ours
