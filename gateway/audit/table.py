"""The audit log as rows: adding to the chain, searching, checking, and removing the oldest.

Every worker and command adds in a transaction that reads the end of the chain, so that there is one chain for all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.audit import queries
from gateway.audit.chain import BEGIN, ChainLink, break_in, linked
from gateway.audit.entry import AuditEntry, AuditSubject
from gateway.database.database import Database, Script

_PAGE: Final = 1000
"""Entries that are read, or removed, in one step."""


def append(entries: Iterable[AuditEntry]) -> Script[None]:
    """Add entries to the end of the chain, in order."""
    link = _link((yield queries.MARK, ("end",)))
    at = 0.0
    for each in entries:
        new = linked(link, each)
        yield queries.ADD, new
        link, at = ChainLink(new.seq, new.hash), new.at
    if at:
        yield queries.SET_MARK, ("end", *link, at)


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """The conditions of a search; an empty text, or None, is anything.

    Times are seconds since 1970, `until` not included.
    """

    user: str = ""
    public_id: str = ""
    study_uid: str = ""
    action: str = ""
    since: float | None = None
    until: float | None = None


async def search(database: Database, wanted: AuditFilter, *, skip: int, limit: int) -> list[AuditEntry]:
    """Up to `limit` entries, newest first, after the first `skip` of them."""
    given = {name: getattr(wanted, name) for name in queries.CONDITIONS}
    chosen = {name: value for name, value in given.items() if value not in ("", None)}
    rows = await database.fetch(queries.search(tuple(chosen)), *chosen.values(), limit, skip)
    return [AuditEntry(*row) for row in rows]


async def entries_after(database: Database, seq: int, limit: int) -> list[AuditEntry]:
    """Up to `limit` entries after a number, in order."""
    return [AuditEntry(*row) for row in await database.fetch(queries.AFTER, seq, limit)]


@dataclass(frozen=True, slots=True)
class ChainReport:
    """The result of a check of the whole chain."""

    first: int
    """Number of the oldest entry that is kept; 0 if there is none."""
    last: int
    """Number of the last entry up to which the chain is whole."""
    hash: str
    """Its hash, in hexadecimal digits: kept elsewhere, it proves later that nothing before it was changed."""
    problem: str
    """What is wrong behind it; empty if nothing is."""


async def verify(database: Database, known: Collection[ChainLink] = ()) -> ChainReport:
    """Check every entry. `known` are numbers and hashes that were noted earlier, which the chain must still have."""
    start = await _mark(database, "start")
    end = await _mark(database, "end")
    place, first = start, 0
    hashes = {each.seq: each.hash for each in known}
    problem = ""
    while not problem:
        page = await entries_after(database, place.seq, _PAGE)
        if not page:
            break
        first = first or page[0].seq
        place, problem = await asyncio.to_thread(break_in, place, page)
        for each in page:
            if each.seq in hashes and hashes.pop(each.seq) != each.hash:
                problem = problem or f"entry {each.seq} has another hash than was noted"
    if not problem and place.seq < end.seq:
        problem = f"entry {end.seq} was the last, and is missing"
    elif not problem and place.seq == end.seq and place.hash != end.hash:
        problem = f"entry {end.seq} is not the one that was written last"
    if not problem and (lacking := [seq for seq in hashes if seq > start.seq]):
        problem = f"entry {min(lacking)}, which was noted, is missing"
    return ChainReport(first, place.seq, place.hash.hex() if place.seq else "", problem)


async def sop_classes(database: Database, study_uid: str) -> dict[str, int]:
    """How many instances there are now of each SOP class in the studies with a Study Instance UID."""
    return {str(uid): int(count) for uid, count in await database.fetch(queries.SOP_CLASSES, study_uid)}


async def read_sent(database: Database) -> int:
    """The number of the last entry that the receiver of audit messages has."""
    return (await _mark(database, "sent")).seq


async def unsent_since(database: Database) -> float | None:
    """When the oldest entry was made that the receiver of audit messages does not have; None if it has all."""
    page = await entries_after(database, await read_sent(database), 1)
    return page[0].at if page else None


def note_sent(last: AuditEntry, now: float) -> Script[None]:
    """Note that the receiver of audit messages has all entries up to this one."""
    yield queries.SET_MARK, ("sent", last.seq, last.hash, now)


def forget(before: float, *, unsent: bool = True) -> Script[int]:
    """Remove the oldest entries if they are from before a time, some at once; returns their number. Without `unsent`,
    those that the receiver of audit messages does not have stay.

    The last of them is noted, so that the chain begins behind it.
    """
    sent = _link((yield queries.MARK, ("sent",))).seq
    for seq, at in (yield queries.EXPIRED, (before, _PAGE)):
        if not unsent and seq > sent:
            continue
        ((hash_,),) = yield queries.HASH, (seq,)
        ((first, _at),) = yield queries.FIRST, ()
        yield queries.FORGET, (seq,)
        yield queries.SET_MARK, ("start", seq, hash_, at)
        return int(seq - first + 1)
    return 0


async def identified(database: Database, subjects: Iterable[AuditSubject]) -> dict[AuditSubject, AuditSubject]:
    """The studies, or patients, that subjects belong to, each with all identifiers; without those not stored."""
    kinds: dict[str, dict[str, list[AuditSubject]]] = {}
    for each in subjects:
        kind, name = (each.level, each.public_id) if each.public_id else ("uid", each.study_uid)
        if name and kind:  # Of a name that is nobody's, the level is not known.
            kinds.setdefault(kind, {}).setdefault(name, []).append(each)
    found: dict[AuditSubject, AuditSubject] = {}
    for kind, named in kinds.items():
        for name, public_id, study_uid, patient_id in await _studies_of(database, kind, list(named)):
            level = "study" if study_uid else "patient"
            one = AuditSubject(level, public_id or name, study_uid, patient_id)
            for each in named[name]:
                # Studies of several patients may have the same UID, and it is not known whose was meant.
                found[each] = one if found.get(each, one) == one else AuditSubject("study", "", study_uid)
    return found


async def _studies_of(database: Database, kind: str, names: Sequence[str]) -> list[tuple[str, str, str, str]]:
    rows: list[tuple[str, str, str, str]] = []
    size = queries.IDENTIFIED_AT_ONCE
    for start in range(0, len(names), size):
        some = names[start : start + size]
        if len(some) > 1:  # The same statement for any number of them.
            some = [*some, *[some[-1]] * (size - len(some))]
        rows += await database.fetch(queries.STUDIES_OF[kind, len(some)], *some)
    return rows


async def _mark(database: Database, name: str) -> ChainLink:
    return _link(await database.fetch(queries.MARK, name))


def _link(rows: Sequence[Sequence[object]]) -> ChainLink:
    for seq, hash_, _at in rows:
        assert isinstance(seq, int)
        assert isinstance(hash_, bytes)
        return ChainLink(seq, hash_)
    return ChainLink(0, BEGIN)
