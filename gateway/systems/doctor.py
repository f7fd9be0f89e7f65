"""The doctor: the diagnosis of a connection to a modality, both ways, with the clocks.

The pages and the command line share it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gateway.database.database import Database
from gateway.index.clock import ahead_s
from gateway.net.association_record import AssociationRecord
from gateway.processes.host_clock import host_clock
from gateway.remote.diagnosis import Diagnosis, Finding, Value, diagnose, merged
from gateway.remote.incoming import incoming
from gateway.scu.node import Node

_MAX_AHEAD_S: Final = 120.0
"""Seconds by which a study may begin in the future: clocks of modalities are set by hand."""


async def consult(
    node: Node,
    *,
    ours: dict[str, Value],
    records: Iterable[AssociationRecord] | None = None,
    database: Database | None = None,
    timeout_s: float = 10.0,
) -> Diagnosis:
    """Diagnose a connection. `records` and `database` are those of a running gateway, None where there is none.

    `ours` are what the other side must know: `our_aet`, `our_host`, `our_port`. Raises DatabaseError.
    """
    outgoing = await diagnose(node, timeout_s=timeout_s)
    came: list[Finding] = []
    if records is not None:
        host = outgoing.local or ours["our_host"]
        came = incoming(records, node.aet, outgoing.addresses, {**ours, "our_host": host})
    return merged(outgoing, came, await clocks(node.aet, database))


async def clocks(aet: str, database: Database | None) -> list[Finding]:
    """The findings about clocks: that of a sender, as far as its studies show it, and that of this machine."""
    found: list[Finding] = []
    ahead = await ahead_s(database, aet) if database is not None and aet else 0.0
    if ahead > _MAX_AHEAD_S:
        found.append(Finding("clock", "warning", "clock-ahead", {"aet": aet, "by": _duration(ahead)}))
    ours = host_clock()
    if ours is not None and not ours.is_kept:
        found.append(Finding("clock", "warning", "our-clock"))
    return found


def _duration(seconds: float) -> str:
    """A duration in units that every language writes alike."""
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
