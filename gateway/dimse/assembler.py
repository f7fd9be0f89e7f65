"""Messages assembled from fragments of P-DATA: PS3.7 §6.3.1, PS3.8 Annex E.

Here: the order of command and data set fragments, and the bound on a command set. Not here: how PDVs are found
(`gateway.ul`), what a message does (`gateway.scp`), and the data set itself, which is passed on as it arrives.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Final

from gateway.dimse.command import Command
from gateway.errors import ProtocolError
from gateway.ul.events import DataFragment
from gateway.ul.items import INVALID_PARAMETER, UNEXPECTED_PARAMETER

MAX_COMMAND_LENGTH: Final = 65536
"""Maximum bytes of a command set. A real one has about 200."""


@dataclass(slots=True)
class MessageStarted:
    """A complete command set. If `command.has_data_set`, its fragments follow, else the message is complete."""

    context_id: int
    command: Command


@dataclass(slots=True)
class DataSetFragment:
    """The next slice of the data set of the message started last; perhaps empty where `is_last`."""

    context_id: int
    data: memoryview
    is_last: bool


class Assembler:
    """Assembles the DataFragments of one association into messages.

    `contexts` are the accepted context identifiers, such as `Association.contexts`.
    """

    __slots__ = ("_awaits_data", "_command", "_context_id", "_contexts")

    def __init__(self, contexts: Container[int]) -> None:
        self._contexts = contexts
        self._context_id = 0  # of the message in progress; 0 between messages
        self._awaits_data = False
        self._command = bytearray()

    @property
    def idle(self) -> bool:
        """Whether no message is in progress: the last one is complete."""
        return self._context_id == 0

    def feed(self, fragment: DataFragment) -> MessageStarted | DataSetFragment | None:
        """Process the next fragment; returns None while a command set is incomplete.

        Raises: ProtocolError (the association is to be aborted with its reason) for a context that was not accepted or
        that changes inside a message; a data set that no command announced; a command where the rest of a data set is
        due; a command set that is too long or unreadable.
        """
        context_id = fragment.context_id
        if self._awaits_data:
            if context_id != self._context_id:
                raise ProtocolError(
                    f"the presentation context changed from {self._context_id} to {context_id} inside a message",
                    reason=INVALID_PARAMETER,
                )
            if fragment.is_command:
                raise ProtocolError("a command came before the data set had ended", reason=UNEXPECTED_PARAMETER)
            is_last = fragment.is_last
            if is_last:
                self._awaits_data = False
                self._context_id = 0
            return DataSetFragment(context_id, fragment.data, is_last)
        if not fragment.is_command:
            raise ProtocolError("a data set came that no command announced", reason=UNEXPECTED_PARAMETER)
        return self._feed_command(context_id, fragment)

    def _feed_command(self, context_id: int, fragment: DataFragment) -> MessageStarted | None:
        if self._context_id == 0:
            if context_id not in self._contexts:
                raise ProtocolError(f"presentation context {context_id} was not accepted", reason=INVALID_PARAMETER)
            self._context_id = context_id
        elif context_id != self._context_id:
            raise ProtocolError(
                f"the presentation context changed from {self._context_id} to {context_id} inside a command",
                reason=INVALID_PARAMETER,
            )
        if len(self._command) + len(fragment.data) > MAX_COMMAND_LENGTH:
            raise ProtocolError(f"a command set of more than {MAX_COMMAND_LENGTH} bytes", reason=INVALID_PARAMETER)
        if not fragment.is_last:
            self._command += fragment.data
            return None
        if self._command:
            self._command += fragment.data
            command = Command.decode(self._command)
            self._command = bytearray()
        else:
            command = Command.decode(fragment.data)
        self._awaits_data = command.has_data_set
        if not self._awaits_data:
            self._context_id = 0
        return MessageStarted(context_id, command)
