"""Whether the gateway may still vouch for data, and if not, why.

A failed fsync, of a file or of the database, is never retried: nobody knows what the kernel did with the pages.
From then on nothing more is acknowledged, and a person has to look.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)


class Health:
    """`failures` grows and never shrinks; a restart, which recovers from what is on disk, is the way out."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.on_failure: Callable[[str], None] = lambda reason: None
        """Called once with each reason."""

    @property
    def sound(self) -> bool:
        return not self.failures

    def fail(self, reason: str) -> None:
        """Stop vouching for data. The same reason is said once."""
        if reason not in self.failures:
            self.failures.append(reason)
            log.critical("NOT READY: %s. Nothing more is accepted; check the disk, then restart", reason)
            self.on_failure(reason)
