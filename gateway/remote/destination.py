"""What every kind of destination can do, and what it answers. The kinds have a file each; `kinds.py` chooses."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from gateway.errors import DataSetError, GatewayError, NotFound, UnsupportedTransferSyntax
from gateway.scu.sending import Instance

Named = tuple[str, str, str]
"""An instance by its Study, Series and SOP Instance UID."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a destination says to one instance."""

    outcome: Literal["delivered", "again", "refused"]
    """`again`: it may take it another time; `refused`: it never will."""
    status: int | None
    """DIMSE status, failure reason of STOW-RS, or HTTP status; None where there was none."""
    detail: str
    """In words, for a person."""
    sent: int
    """Bytes that went out."""


class DestinationUnavailable(GatewayError):
    """The destination as a whole: nobody answers, it rejects us, it wants us to come later. The text says which.

    `retry_after` is in seconds, where it has said so.
    """

    def __init__(self, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


def matching(statuses: Collection[str]) -> re.Pattern[str]:
    """Statuses as settings write them, four hexadecimal digits: `A7xx` stands for all that begin so."""
    return re.compile("|".join(text.upper().replace("X", "[0-9A-F]") for text in statuses) or r"(?!)")


def is_for_ever(error: Exception | None) -> bool:
    """Whether an instance that cannot be made ready to be sent because of this never can be."""
    return isinstance(error, UnsupportedTransferSyntax | DataSetError | NotFound)


class Destination(Protocol):
    """One destination, with what it has open. Belongs to one event loop."""

    async def send(self, instance: Instance) -> Answer:
        """Give it one instance. Many at once share its connections, in the order of the calls: who calls has looked at
        priorities. Raises DestinationUnavailable."""

    async def has(self, instances: Sequence[Named]) -> set[str]:
        """The SOP Instance UIDs of those that it really has. Raises DestinationUnavailable and GatewayError."""

    async def close(self) -> None:
        """Let go of every connection, once nothing is being sent."""
