"""Entries of the audit log: who did what with what, when, from where, and whether it was done.

An entry has identifiers of patients and studies, and no other attribute of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

import msgspec

from gateway.database.actor import Actor

AuditOutcome = Literal["success", "denied", "failure"]
"""`denied`: the rules on users and callers do not allow it. `failure`: it was not done for another reason."""

MAX_TEXT: Final = 256
"""Characters of a text in an entry; the rest of what a peer sends is cut off."""
_NOTHING: Final = b"{}"


class AuditSubject(NamedTuple):
    """The resource that something is done with; all of it empty for nothing that is stored."""

    level: str = ""
    """`patient`, `study`, `series`, `instance`."""
    public_id: str = ""
    study_uid: str = ""
    patient_id: str = ""


NO_SUBJECT: Final = AuditSubject()


class AuditEntry(NamedTuple):
    """One entry, as it is stored. `seq` and `hash` are those of the chain, 0 and empty before it is in it."""

    seq: int
    at: float
    """Seconds since 1970, of the first of what is counted together."""
    action: str
    outcome: AuditOutcome
    user: str
    token: str
    origin: str
    level: str
    public_id: str
    study_uid: str
    patient_id: str
    number: int
    """How many times it was done: more than 1 where equal requests are counted together."""
    detail: str
    """A JSON object, its members sorted."""
    hash: bytes

    @property
    def details(self) -> dict[str, Any]:
        """The members of `detail`."""
        found: dict[str, Any] = msgspec.json.decode(self.detail)
        return found

    @property
    def actor(self) -> Actor:
        return Actor(self.user, self.token, self.origin)

    @property
    def subject(self) -> AuditSubject:
        return AuditSubject(self.level, self.public_id, self.study_uid, self.patient_id)


def entry(
    action: str,
    actor: Actor,
    subject: AuditSubject = NO_SUBJECT,
    *,
    at: float,
    outcome: AuditOutcome = "success",
    number: int = 1,
    detail: Mapping[str, Any] | None = None,
) -> AuditEntry:
    """An entry that is not in the chain yet. Texts are cut off after `MAX_TEXT` characters."""
    text = msgspec.json.encode(detail, order="sorted") if detail else _NOTHING
    user, token, origin = map(_short, actor)
    level, public_id, study_uid, patient_id = map(_short, subject)
    return AuditEntry(
        *(0, at, action, outcome, user, token, origin),
        *(level, public_id, study_uid, patient_id, number, text.decode(), b""),
    )


def _short(text: str) -> str:
    # What SQL cannot hold: halves of UTF-16 pairs, which JSON can name, and zero bytes, which PostgreSQL refuses.
    return text[:MAX_TEXT].replace("\0", "\ufffd").encode("utf-8", "replace").decode()
