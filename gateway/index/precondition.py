"""What must be true of the stored value before a user's change replaces it (RFC 9110 §13.1.1, §13.1.2).

It is checked in the transaction of the change. How it stands in a request is in `web/conditional.py`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from gateway.errors import NotFound, PreconditionFailed, RevisionConflict


@dataclass(frozen=True, slots=True)
class Precondition:
    """Tags of which the stored value must have one, and of which it must have none. Tags are without quotes."""

    matches: Collection[str] | None = None
    """One of these; None for no such condition."""
    exists: bool = False
    """Whether there must be a value, with whatever tag."""
    matches_none: Collection[str] = ()
    absent: bool = False
    """Whether there must be no value."""

    def check(self, what: str, tag: str | None) -> None:
        """Check the tag of what is stored; None where nothing is.

        Raises: NotFound where something must be there and is not; RevisionConflict where it has another tag;
        PreconditionFailed where it must not be there, or not with this tag.
        """
        if (self.exists or self.matches is not None) and tag is None:
            raise NotFound(f"there is no {what} of that revision")
        if self.matches is not None and tag not in self.matches:
            raise RevisionConflict(f"the {what} has been changed meanwhile; read it again")
        if tag is not None and (self.absent or tag in self.matches_none):
            raise PreconditionFailed(f"there is a {what} already, of revision {tag}, which If-None-Match excludes")


ANYTHING = Precondition()
"""Whatever is there or not."""
