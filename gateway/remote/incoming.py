"""Findings about what a node has asked of us: whether it got through, and why not.

They come from the records of the last associations (`net/association_record.py`), by address or calling AE title.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from typing import Final

from gateway.net.association_record import AssociationRecord
from gateway.remote.diagnosis import Finding, Value

_REJECTIONS: Final = {"1.1.3": "in-calling", "1.1.7": "in-called", "2.3.2": "in-limit", "1.1.1": "in-user"}
_FAILURES: Final = {"tls": "in-tls", "plain": "in-plain", "handshake": "in-handshake"}


def incoming(
    records: Iterable[AssociationRecord], aet: str, addresses: Collection[str], ours: dict[str, Value]
) -> list[Finding]:
    """The last good and the last bad of what a node asked of us, the newest first; a finding also if there is nothing.

    `records` are newest first. `ours` are values for every finding: our AE title, host and ports.
    """
    found: list[Finding] = []
    for record in records:
        # From an address of this machine the doctor itself may have called, under our own AE title.
        own = record.calling_aet == ours["our_aet"] != aet
        if own or not _is_from(record, aet, addresses):
            continue
        finding = finding_of(record, ours)
        # Whatever was wrong before the last time that all was well is over.
        if all(each.code != finding.code for each in found):
            found.append(finding)
        if finding.grade == "good":
            break
    return found or [Finding("incoming", "warning", "in-none", {"aet": aet, **ours})]


def _is_from(record: AssociationRecord, aet: str, addresses: Collection[str]) -> bool:
    """Whether an association is that of a node: by its calling AE title, or without one by its address."""
    if record.calling_aet:
        return record.calling_aet == aet or (
            record.outcome == "rejected" and _plain(record.host) in map(_plain, addresses)
        )
    return _plain(record.host) in map(_plain, addresses)


def finding_of(record: AssociationRecord, ours: dict[str, Value]) -> Finding:
    """The finding about one association."""
    values: dict[str, Value] = {
        **ours,
        "aet": record.calling_aet,
        "called": record.called_aet,
        "from": record.host,
        "detail": record.detail,
        "at": record.ended_at or record.since,
        "count": record.refused,
        "refusal": record.refusal,
        "number": str(record.number),
    }
    if record.outcome == "failed":
        return Finding("incoming", "bad", _FAILURES.get(record.code, "in-handshake"), values)
    if not record.calling_aet:
        return Finding("incoming", "warning", "in-foreign", values)
    if record.outcome == "rejected":
        return Finding("incoming", "bad", _REJECTIONS.get(record.code, "in-other"), values)
    if record.contexts and not any(each.result == 0 for each in record.contexts):
        return Finding("incoming", "bad", "in-context", values)
    if record.refused:
        return Finding("incoming", "bad", "in-refused", values)
    if record.outcome in ("aborted", "closed") and not record.instances and not record.echoes:
        return Finding("incoming", "warning", "in-broken", values)
    return Finding("incoming", "good", "in-echo" if record.echoes else "in-association", values)


def _plain(host: str) -> str:
    """An address in one form: IPv4 in IPv6 is IPv4."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
