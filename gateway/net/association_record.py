"""Records of associations for people: who asked for what, what was granted, and how it ended.

A record holds no patient data: titles, addresses, SOP classes, transfer syntaxes and counts.
"""

from __future__ import annotations

import time
from typing import Any, Final

import msgspec

from gateway.net.message_trace import TraceLine
from gateway.net.session import Refusal, Session
from gateway.ul.items import ContextResult
from gateway.ul.pdu import AssociateAC, AssociateRQ

MAX_SYNTAXES: Final = 12
"""Transfer syntaxes of one proposed context in a record; some peers propose all that there are."""


class ContextRecord(msgspec.Struct, frozen=True, array_like=True):
    """A presentation context: the proposal and its answer (PS3.8 Table 9-18)."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    """The proposed ones, at most MAX_SYNTAXES."""
    proposed: int
    """Number of proposed transfer syntaxes."""
    result: int
    """0 accepted, 1 user rejection, 2 no reason, 3 abstract syntax, 4 transfer syntaxes; -1 without an answer."""
    transfer_syntax: str
    """The accepted one; empty if the context was not accepted."""
    roles: str = ""
    """The roles that the requestor proposed: `scu`, `scp` or both; empty for the default."""


class AssociationRecord(msgspec.Struct, frozen=True, rename="pascal"):
    """An association that a peer asked for, open or ended; also a connection that did not get so far."""

    number: int
    calling_aet: str
    called_aet: str
    host: str
    since: float
    """Seconds since 1970, like `ended_at`, which is 0 for an open association."""
    ended_at: float
    outcome: str
    """`open`, `released`, `aborted`, `closed`, `rejected`, or `failed` for a connection that brought no request."""
    detail: str
    """The reason of the end, in English, as in the log."""
    code: str
    """The reason of a rejection by the gateway: result, source and reason of PS3.8 Table 9-21 as `1.1.7`; or a word
    for a failed connection: `tls`, `plain`."""
    modality: str
    user: str
    tls: str
    """TLS version; empty without TLS."""
    implementation: str
    """Implementation Class UID and Version Name of the peer."""
    max_length: int
    """The longest PDU that the peer takes; 0 is no limit."""
    instances: int
    bytes: int
    refused: int
    """Instances that were refused."""
    refusal: str
    """The reason why the last of them was refused."""
    echoes: int
    contexts: tuple[ContextRecord, ...] = ()
    trace: tuple[TraceLine, ...] = ()
    """The messages of a failed association, with `dicom.trace_failed`."""

    @property
    def is_trouble(self) -> bool:
        """Whether somebody should look at it: refused, broken, or without a context."""
        return (
            self.outcome in ("rejected", "failed", "aborted", "closed")
            or self.refused > 0
            or (bool(self.contexts) and not any(each.result == 0 for each in self.contexts))
        )


_CONTEXT_NAMES: Final = ("Id", "AbstractSyntax", "TransferSyntaxes", "Proposed", "Result", "TransferSyntax", "Roles")
_LINE_NAMES: Final = ("Seconds", "ByPeer", "Text", "Bytes")


def as_json(record: AssociationRecord) -> dict[str, Any]:
    """A record as an object, its contexts and messages too."""
    tree: dict[str, Any] = msgspec.to_builtins(record)
    return tree | {
        "Contexts": [dict(zip(_CONTEXT_NAMES, each, strict=True)) for each in tree["Contexts"]],
        "Trace": [dict(zip(_LINE_NAMES, each, strict=True)) for each in tree["Trace"]],
    }


def from_json(tree: dict[str, Any]) -> AssociationRecord:
    """The record that `as_json` has made an object. Raises msgspec.ValidationError."""
    lists = {name: [list(each.values()) for each in tree.get(name, ())] for name in ("Contexts", "Trace")}
    return msgspec.convert(tree | lists, AssociationRecord)


def record_of(session: Session) -> AssociationRecord:
    """The record of a session as it is now."""
    request, answer = session.proposal, session.answer
    information = request.user_information if request is not None else None
    rejection = answer.rejection if isinstance(answer, Refusal) else None
    record = AssociationRecord(
        number=session.number,
        calling_aet=session.calling_aet,
        called_aet=session.called_aet,
        host=session.host,
        since=session.since,
        ended_at=time.time() if session.outcome else 0.0,
        outcome=session.outcome or "open",
        detail=session.detail[:500],
        code=".".join(map(str, rejection)) if rejection is not None else session.failure,
        modality=session.modality,
        user=session.user,
        tls=session.tls.version if session.tls is not None else "",
        implementation=" ".join(
            filter(None, (information.implementation_class_uid, information.implementation_version_name))
        )
        if information is not None
        else "",
        max_length=information.max_length if information is not None else 0,
        instances=session.instances,
        bytes=session.bytes,
        refused=session.refused,
        refusal=session.refusal[:300],
        echoes=session.echoes,
        contexts=_contexts(request, answer),
    )
    if session.trace is None or not record.is_trouble:
        return record
    return msgspec.structs.replace(record, trace=session.trace.lines)


def _contexts(request: AssociateRQ | None, answer: AssociateAC | Refusal | None) -> tuple[ContextRecord, ...]:
    if request is None:
        return ()
    results: dict[int, ContextResult] = {}
    if isinstance(answer, AssociateAC):
        results = {each.id: each for each in answer.contexts}
    roles = {
        each.sop_class_uid: " ".join(name for name, has in (("scu", each.scu), ("scp", each.scp)) if has)
        for each in request.user_information.roles
    }
    found = []
    for context in request.contexts:
        result = results.get(context.id)
        found.append(
            ContextRecord(
                context.id,
                context.abstract_syntax,
                tuple(context.transfer_syntaxes[:MAX_SYNTAXES]),
                len(context.transfer_syntaxes),
                result.result if result is not None else -1,
                result.transfer_syntax if result is not None and result.result == 0 else "",
                roles.get(context.abstract_syntax, ""),
            )
        )
    return tuple(found)
