"""The instances that a job could not send, in what the job says of itself: `FailedInstances`, which Orthanc does not
have. They can be sent again without the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from gateway.database.database import Database
from gateway.index.resources import look_up

MAX_LISTED: Final = 100
"""Instances that one job lists."""
_MEMBER: Final = "FailedInstances"


class FailedInstance(NamedTuple):
    """An instance that was not sent, and why."""

    sop_instance_uid: str
    details: str
    status: int | None = None
    """DIMSE status of the answer; None without one."""


async def list_failures(database: Database, content: dict[str, Any], failures: Sequence[FailedInstance]) -> None:
    """Add failures to the content of a job, with their public ids. Raises DatabaseError."""
    listed: list[dict[str, Any]] = content.get(_MEMBER, [])
    for each in failures[: MAX_LISTED - len(listed)]:
        ids = [public_id for level, public_id in await look_up(database, each.sop_instance_uid) if level == "instance"]
        status = {} if each.status is None else {"DimseErrorStatus": each.status}
        listed.append({"Details": each.details, "ID": ids[0] if ids else "", **status})
    if listed:
        content[_MEMBER] = listed


def forget_failures(content: dict[str, Any]) -> None:
    """Begin without failures: those of an earlier attempt may not come again."""
    content.pop(_MEMBER, None)
