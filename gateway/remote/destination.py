"""The interface of every kind of destination, and its answers. Each kind has a file; `kinds.py` chooses."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from gateway.errors import DataSetError, GatewayError, NotFound, OutOfDescriptors, Overloaded, UnsupportedTransferSyntax
from gateway.scu.transfer import Instance

Named = tuple[str, str, str]
"""An instance by its Study, Series and SOP Instance UID."""

AnswerOutcome = Literal["delivered", "again", "later", "refused"]
"""`again`: a retry may succeed. `later`: not sent, for a shortage here that passes by itself. `refused`: never."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a destination for one instance."""

    outcome: AnswerOutcome
    status: int | None
    """DIMSE status, failure reason of STOW-RS, or HTTP status; None for none."""
    detail: str
    """The answer in words, for a user."""
    sent: int
    """Bytes sent."""


class DestinationUnavailable(GatewayError):
    """The whole destination is unavailable: not reachable, refusing the gateway, or asking to retry later. The text
    says which.

    `retry_after` is in seconds, where the destination stated it.
    """

    def __init__(self, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


def matching(statuses: Collection[str]) -> re.Pattern[str]:
    """A pattern of statuses as in the settings, four hexadecimal digits: `A7xx` matches all that begin with A7."""
    return re.compile("|".join(text.upper().replace("X", "[0-9A-F]") for text in statuses) or r"(?!)")


def outcome_of(error: Exception | None) -> AnswerOutcome:
    """The outcome of an instance that cannot be prepared because of this error."""
    if isinstance(error, OutOfDescriptors | Overloaded):
        return "later"
    return "refused" if isinstance(error, UnsupportedTransferSyntax | DataSetError | NotFound) else "again"


class Destination(Protocol):
    """One destination with its open connections. Belongs to one event loop."""

    async def send(self, instance: Instance) -> Answer:
        """Send one instance. Concurrent calls share the connections, in the order of the calls: priorities are the
        caller's.

        Raises: DestinationUnavailable.
        """

    async def has(self, instances: Sequence[Named]) -> set[str]:
        """The SOP Instance UIDs of the instances that the destination has. Raises DestinationUnavailable,
        GatewayError."""

    async def close(self) -> None:
        """Close every connection once nothing is being sent. When cancelled, abort the transfers and close."""
