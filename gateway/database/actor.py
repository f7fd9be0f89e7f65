"""Who has the present task done, in a context variable, as is what they see (`view.py`).

The name decides which jobs and remote queries are somebody's own; all of it is in the audit log.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final, NamedTuple


class Actor(NamedTuple):
    """A user, a caller or a program that does something, and its origin."""

    user: str = ""
    """Name of the user; empty if nobody has signed in."""
    token: str = ""
    """Name of the token or session by which the user has signed in; empty for a password."""
    origin: str = ""
    """The address of an HTTP client, `AET@address` of a DICOM caller, `command line`, or empty for the gateway."""


GATEWAY: Final = Actor()
"""The gateway itself."""
ACTOR: Final[ContextVar[Actor]] = ContextVar("actor", default=GATEWAY)
"""Who asks for what the present task does."""
