"""Requests of storage commitment as rows (PS3.4 Annex J), and what has been answered to those of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gateway.database.database import Database
from gateway.dimse import commitment
from gateway.dimse.commitment import Reference
from gateway.workflow import queries

KIND = "commitment"
UNDECIDED = -1
COMMITTED = 0


@dataclass(frozen=True, slots=True)
class Commitment:
    """One request: a peer's, where we are the SCP, or ours. Times are seconds since 1970, 0 for not yet."""

    id: int
    role: str
    transaction_uid: str
    peer_aet: str
    our_aet: str
    destination: str
    cause: int
    state: str
    """`open`, `reported` or `failed`."""
    requested_at: float
    decided_at: float
    reported_at: float
    kept_until: float
    tenant: str
    """Whose the request is: only this tenant's instances count. Empty: all, for who is above the tenants."""

    @property
    def chain(self) -> str:
        """Lock key of the job that reports the outcome."""
        return f"{KIND}-{self.id}"


@dataclass(frozen=True, slots=True)
class Requested:
    """A request of ours, and what has been answered to it."""

    commitment: Commitment
    committed: list[Reference]
    failed: list[tuple[Reference, int]]
    """With the Failure Reason."""

    @property
    def status(self) -> Literal["pending", "success", "failure"]:
        """In a word."""
        if self.commitment.state == "open":
            return "pending"
        return "success" if self.committed and not self.failed else "failure"


async def requested(database: Database, transaction_uid: str) -> Requested | None:
    """A request of ours; None where there is none."""
    rows = await database.fetch(queries.FIND_COMMITMENTS, transaction_uid, "SCU")
    if not rows:
        return None
    found = Commitment(*rows[0])
    rows = await database.fetch(queries.COMMITMENT_ITEMS, found.id)
    items = [(Reference(row[0], row[1]), int(row[2])) for row in rows]
    over = found.state != "open"
    return Requested(
        found,
        [reference for reference, reason in items if reason == COMMITTED],
        [
            (reference, commitment.PROCESSING_FAILURE if reason == UNDECIDED else reason)
            for reference, reason in items
            if reason != COMMITTED and (over or reason != UNDECIDED)
        ],
    )


async def stored_here(database: Database, sop_instance_uids: Sequence[str]) -> list[str]:
    """The public ids of the instances that we have of these, each under every parent that it has."""
    return [
        str(public_id) for uid in sop_instance_uids for (public_id,) in await database.fetch(queries.PUBLIC_IDS, uid)
    ]


async def not_stored_here(database: Database, sop_instance_uids: Sequence[str]) -> list[str]:
    """Choose the SOP Instance UIDs of which no instance is here, as far as the present view shows."""
    return [uid for uid in sop_instance_uids if not await database.fetch(queries.PUBLIC_IDS, uid)]
