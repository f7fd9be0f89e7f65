"""Logging and metrics: how the gateway tells operators what it does.

Metric objects live here so that their names stand in one place; the rooms that measure import them.
No patient data goes into either at level info or above.
"""

from __future__ import annotations

import logging
import os
import sys
import time

import msgspec
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

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
ASSOCIATIONS = Gauge("gateway_associations", "Open associations.", multiprocess_mode="livesum")
ASSOCIATIONS_TOTAL = Counter(
    "gateway_associations_opened", "Associations asked for, by what became of them.", ["outcome"]
)
COMMIT_ROWS = Histogram(
    "gateway_commit_scripts",
    "Transaction scripts that shared one commit.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
HTTP_SECONDS = Histogram("gateway_http_seconds", "Time to answer an HTTP request.", ["route", "code"], buckets=_SECONDS)


METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that makes workers measure into files of this folder, where each finds what all have measured."""


def metrics_page() -> bytes:
    """All metrics in the Prometheus text format, summed over the workers where there are several."""
    if METRICS_FOLDER not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def intake() -> tuple[float, float]:
    """Data set bytes and instances that this process has taken in."""
    return _total(INTAKE_BYTES), _total(INSTANCES)


def _total(counter: Counter) -> float:
    """The sum over all labels."""
    samples = (sample for metric in counter.collect() for sample in metric.samples)
    return sum(float(sample.value) for sample in samples if sample.name.endswith("_total"))


class _JsonFormatter(logging.Formatter):
    def __init__(self, worker: int) -> None:
        super().__init__()
        self._worker = {"worker": worker} if worker else {}

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            **self._worker,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(entry).decode()


def setup_logging(level: str = "info", style: str = "text", *, worker: int = 0) -> None:
    """Send the gateway's log to standard error, as text lines or one JSON object a line, with the worker's number."""
    handler = logging.StreamHandler(sys.stderr)
    who = f"worker {worker} " if worker else ""
    if style == "json":
        handler.setFormatter(_JsonFormatter(worker))
    else:
        handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)-7s {who}%(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("asyncio").setLevel(max(logging.WARNING, root.level))
    logging.getLogger("aiosqlite").setLevel(logging.WARNING)
