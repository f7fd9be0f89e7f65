"""The messages of one association as they went, for when it fails: commands and lengths, never a data set.

Of a command its name, SOP class, message id and status are kept; no instance, no comment and no value of a patient.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Final

import msgspec

from gateway.dimse.command import Command

MAX_FIRST: Final = 40
MAX_LAST: Final = 80
"""Messages at the beginning and at the end of an association that are kept."""


class TraceLine(msgspec.Struct, frozen=True, array_like=True):
    """One message, or the data set of one."""

    seconds: float
    """Since the association began."""
    by_peer: bool
    text: str
    bytes: int
    """Length of a data set; 0 for others."""


class MessageTrace:
    """The first and the last messages of an association."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._first: list[TraceLine] = []
        self._last: deque[TraceLine] = deque(maxlen=MAX_LAST)
        self._data_set_bytes = 0

    @property
    def lines(self) -> tuple[TraceLine, ...]:
        return (*self._first, *self._last)

    def add(self, text: str, *, by_peer: bool, size: int = 0) -> None:
        """Add a message, or the data set of one."""
        line = TraceLine(round(time.monotonic() - self._began, 3), by_peer, text, size)
        if len(self._first) < MAX_FIRST:
            self._first.append(line)
        else:
            self._last.append(line)

    def add_command(self, command: Command, *, by_peer: bool) -> None:
        """Add a command by what it says of no patient."""
        sop_class = command.affected_sop_class_uid or command.requested_sop_class_uid or ""
        number = command.message_id if command.message_id is not None else command.message_id_being_responded_to
        status = f"status {command.status:04X}" if command.status is not None else ""
        self.add(" ".join(filter(None, (command.name, f"#{number}", status, sop_class))), by_peer=by_peer)

    def add_fragment(self, size: int, *, is_last: bool) -> None:
        """Count a fragment of a data set of the peer; its length is added with the last one."""
        self._data_set_bytes += size
        if is_last:
            self.add("data set", by_peer=True, size=self._data_set_bytes)
            self._data_set_bytes = 0
