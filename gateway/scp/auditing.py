"""The audit log of DICOM associations: who stored, searched, retrieved, and who was turned away.

All of it is counted (`audit/log.py`), also what is stored: that it was is in the index together with its sender.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from gateway.audit.entry import NO_SUBJECT, AuditOutcome, AuditSubject
from gateway.audit.log import AuditLog
from gateway.audit.searches import detail_text
from gateway.config import Service
from gateway.database.actor import Actor
from gateway.dimse import status
from gateway.net.session import Session

ACTIONS: Final[dict[Service, str]] = {
    "echo": "connect",
    "store": "upload",
    "find": "search",
    "get": "download",
    "move": "send",
    "commit": "storage-commitment",
    "worklist": "worklists",
    "mpps": "worklists",
}
"""What each service does, by the names that the audit log has for it."""


def actor_of(session: Session) -> Actor:
    """The caller of an association."""
    return Actor(session.user, "", f"{session.calling_aet}@{session.host}")


def outcome_of(code: int) -> AuditOutcome:
    """The outcome of a request that is answered with a status."""
    if code == status.NOT_AUTHORIZED:
        return "denied"
    return "failure" if status.category(code) is status.Category.FAILURE else "success"


def stored(audit: AuditLog, session: Session, study_instance_uid: str, sop_class_uid: str) -> None:
    """Count an instance that was stored; one entry for each association, study and SOP class tells of many."""
    if audit.is_on:
        audit.count(
            "upload",
            actor_of(session),
            AuditSubject("study", "", study_instance_uid),
            detail=f'{{"association":{session.number},"sop_class":"{sop_class_uid}"}}',
        )


def answered(
    audit: AuditLog, session: Session, action: str, code: int, subjects: Iterable[AuditSubject], detail: str
) -> None:
    """Count a request that is answered with a status, by what it was about."""
    if audit.is_on:
        for each in subjects or (NO_SUBJECT,):
            audit.count(action, actor_of(session), each, outcome_of(code), detail)


def signed_in(audit: AuditLog, session: Session) -> None:
    """Count an association whose user has been identified."""
    if session.user:
        audit.count("sign-in", actor_of(session))


def turned_away(audit: AuditLog, session: Session, why: str) -> None:
    """Count an association that was rejected: by address alone, whatever AE titles are tried from there."""
    first: dict[str, Any] = {"aet": session.calling_aet, "why": why}
    audit.count("connect", Actor("", "", session.host), outcome="denied", first=detail_text(first))


def denied(audit: AuditLog, session: Session, service: Service) -> None:
    """Count a service that a caller has asked for and may not use."""
    audit.count(ACTIONS[service], actor_of(session), outcome="denied", detail=detail_text({"service": service}))
