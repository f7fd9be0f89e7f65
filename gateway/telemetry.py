"""Logging and metrics: how the gateway tells operators what it does.

Metric objects live here so that their names stand in one place; the rooms that measure import them.
No patient data goes into either at level info or above.
"""

from __future__ import annotations

import logging
import sys
import time

import msgspec
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (
    0.0005,
    0.001,
    0.002,
    0.004,
    0.008,
    0.016,
    0.032,
    0.064,
    0.125,
    0.25,
    0.5,
    1.0,
    2.0,
    4.0,
    8.0,
    30.0,
    120.0,
)

RECEIVE_SECONDS = Histogram(
    "gateway_intake_receive_seconds",
    "From the command of an instance to its last fragment.",
    buckets=_SECONDS,
)
SYNC_SECONDS = Histogram(
    "gateway_intake_sync_seconds",
    "From the last fragment until file and folder are synced.",
    buckets=_SECONDS,
)
COMMIT_SECONDS = Histogram(
    "gateway_intake_commit_seconds", "From the sync until the rows are committed.", buckets=_SECONDS
)
INSTANCES = Counter("gateway_intake_instances", "Instances taken in, by what became of them.", ["outcome"])
INTAKE_BYTES = Counter("gateway_intake_bytes", "Data set bytes received.")
ASSOCIATIONS = Gauge("gateway_associations", "Open associations.")
ASSOCIATIONS_TOTAL = Counter(
    "gateway_associations_opened", "Associations asked for, by what became of them.", ["outcome"]
)
COMMIT_ROWS = Histogram(
    "gateway_commit_scripts",
    "Transaction scripts that shared one commit.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
HTTP_SECONDS = Histogram("gateway_http_seconds", "Time to answer an HTTP request.", ["route", "code"], buckets=_SECONDS)


def metrics_page(registry: CollectorRegistry = REGISTRY) -> bytes:
    """All metrics in the Prometheus text format."""
    return generate_latest(registry)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(entry).decode()


def setup_logging(level: str = "info", style: str = "text") -> None:
    """Send the gateway's log to standard error, as text lines or one JSON object a line."""
    handler = logging.StreamHandler(sys.stderr)
    if style == "json":
        handler.setFormatter(_JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("asyncio").setLevel(max(logging.WARNING, root.level))
    logging.getLogger("aiosqlite").setLevel(logging.WARNING)
