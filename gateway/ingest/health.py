"""Whether the gateway can still guarantee durability, and if not, why.

A failed fsync, of a file or of the database, is never retried: what the kernel did with the pages is unknown.
From then on nothing more is acknowledged, and a person has to look.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from gateway.telemetry import STORE_FAILED

log = logging.getLogger(__name__)


class Health:
    """The failures of durability, which are never removed; the way out is a restart, which recovers from the disk."""

    def __init__(self, failures: Sequence[str] = (), on_failure: Callable[[str], None] = lambda reason: None) -> None:
        """Start with the `failures` of other processes. `on_failure` is called once with each further reason."""
        self.failures = list(failures)
        self._on_failure = on_failure
        STORE_FAILED.set(float(not self.sound))

    @property
    def sound(self) -> bool:
        return not self.failures

    def fail(self, reason: str) -> None:
        """Record a failure, after which nothing is acknowledged. Equal reasons are logged once."""
        if reason not in self.failures:
            self.failures.append(reason)
            STORE_FAILED.set(1)
            log.critical("NOT READY: %s. Nothing more is accepted; check the disk, then restart", reason)
            self._on_failure(reason)
