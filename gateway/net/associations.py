"""The associations of one process: the open ones, and records of the last that ended.

The acceptor enters them; admission, the web and other processes read them. The file is separate from `acceptor.py`
so that readers can be built before the acceptor.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from gateway.net.association_record import AssociationRecord, record_of
from gateway.net.session import AssociationStatus, Session

MAX_RECORDS: Final = 60
"""Records of ended associations; as many of those with trouble, which a flood of good ones does not push out."""
_MAX_BYTES: Final = 120 << 10
"""Bytes of these records as JSON, of each kind: they go into the report to other processes."""
_MAX_RECORD_BYTES: Final = 24 << 10
_MAX_OPEN_BYTES: Final = 100 << 10
MAX_UNWRITTEN: Final = 500
"""Records of ended associations that wait to be written to the database; the oldest make room."""


class EndedRecord(NamedTuple):
    """The record of an ended association as it is stored."""

    number: int
    ended_at: float
    is_trouble: bool
    content: bytes


class _Ring:
    """The last records of one kind, as JSON, within MAX_RECORDS and _MAX_BYTES."""

    def __init__(self) -> None:
        self.records: deque[bytes] = deque()
        self._bytes = 0

    def add(self, data: bytes) -> None:
        self.records.append(data)
        self._bytes += len(data)
        while len(self.records) > MAX_RECORDS or self._bytes > _MAX_BYTES:
            self._bytes -= len(self.records.popleft())


def encoded(record: AssociationRecord) -> bytes:
    """A record as JSON; without contexts and messages if they are too many to be kept."""
    data = msgspec.json.encode(record)
    return (
        data
        if len(data) <= _MAX_RECORD_BYTES
        else msgspec.json.encode(msgspec.structs.replace(record, contexts=(), trace=()))
    )


def read_records(raw: Iterable[bytes | msgspec.Raw]) -> list[AssociationRecord]:
    """Records of one or several processes, newest first."""
    return newest_first(msgspec.json.decode(each, type=AssociationRecord) for each in raw)


def newest_first(records: Iterable[AssociationRecord]) -> list[AssociationRecord]:
    """Records in the order of their ends, those of open associations by their beginning; the newest first."""
    return sorted(records, key=lambda each: (each.ended_at or each.since, each.number), reverse=True)


class OpenAssociations:
    """The sessions of one acceptor whose connection is open, oldest first."""

    def __init__(self) -> None:
        self._sessions: dict[int, Session] = {}
        self._good, self._troubled = _Ring(), _Ring()
        self._unwritten: deque[EndedRecord] = deque(maxlen=MAX_UNWRITTEN)

    def __iter__(self) -> Iterator[Session]:
        """The sessions open at this moment; a session may end during iteration."""
        return iter(tuple(self._sessions.values()))

    def add(self, session: Session) -> None:
        self._sessions[session.number] = session

    def remove(self, session: Session) -> bool:
        """Remove a session and keep its record, if it asked for an association or could not. Whether it was open."""
        if session.proposal is not None or session.outcome in ("failed", "aborted"):
            record = record_of(session)
            data = encoded(record)
            (self._troubled if record.is_trouble else self._good).add(data)
            self._unwritten.append(EndedRecord(record.number, record.ended_at, record.is_trouble, data))
        return self._sessions.pop(session.number, None) is not None

    def records(self) -> list[bytes]:
        """The records of open and ended associations as JSON, in no order; the open ones as far as there is room."""
        found, room = [], _MAX_OPEN_BYTES
        for session in self._sessions.values():
            if session.proposal is not None:
                data = encoded(record_of(session))
                room -= len(data)
                if room < 0:
                    break
                found.append(data)
        return [*found, *self._good.records, *self._troubled.records]

    def take_ended(self) -> list[EndedRecord]:
        """The records of associations that have ended since the last call, oldest first, at most MAX_UNWRITTEN."""
        found = list(self._unwritten)
        self._unwritten.clear()
        return found

    def statuses(self) -> list[AssociationStatus]:
        """The status of each open association, oldest first."""
        return [session.status() for session in self._sessions.values()]

    def established(self) -> Counter[str]:
        """The number of accepted, open associations by calling AE title."""
        return Counter(each.calling_aet for each in self._sessions.values() if each.established)
