"""Whether the gateway accepts instances, and the reasons if not."""

from __future__ import annotations

from gateway.ingest.health import Health
from gateway.ingest.ingest import Ingest


class Readiness:
    """The readiness of one process: no failure of durability, no obstacle of the intake, not stopping."""

    def __init__(self, health: Health, ingest: Ingest) -> None:
        self._health = health
        self._ingest = ingest
        self.is_draining = False

    def __call__(self) -> tuple[bool, list[str]]:
        reasons = [*self._health.failures, *self._ingest.obstacles()]
        if self.is_draining:
            reasons.append("the gateway is stopping")
        return not reasons, reasons
