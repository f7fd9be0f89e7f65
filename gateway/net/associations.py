"""The open associations of one process: peers, states and start times.

The acceptor enters them; admission, the web and other processes read them. The file is separate from `acceptor.py`
so that readers can be built before the acceptor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from gateway.net.session import AssociationStatus, Session


class OpenAssociations:
    """The sessions of one acceptor whose connection is open, oldest first."""

    def __init__(self) -> None:
        self._sessions: dict[int, Session] = {}

    def __iter__(self) -> Iterator[Session]:
        """The sessions open at this moment; a session may end during iteration."""
        return iter(tuple(self._sessions.values()))

    def add(self, session: Session) -> None:
        self._sessions[session.number] = session

    def remove(self, session: Session) -> bool:
        """Remove a session. Whether it was present."""
        return self._sessions.pop(session.number, None) is not None

    def statuses(self) -> list[AssociationStatus]:
        """The status of each open association, oldest first."""
        return [session.status() for session in self._sessions.values()]

    def established(self) -> Counter[str]:
        """The number of accepted, open associations by calling AE title."""
        return Counter(each.calling_aet for each in self._sessions.values() if each.established)
