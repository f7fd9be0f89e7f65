"""Logging and metrics, by which operators see what the gateway does.

Metric objects are here so that their names are in one place; the rooms that measure import them.
No patient data goes into either at level info or above.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from gateway import tracing
from gateway.printable import printable

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

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable with the folder into which workers write their metrics, and from which each reads those of all."""
_METRICS_BYTES = 16 << 20
"""Size of each file of metrics of a worker; sparse, and some 100 000 labelled values."""


def _allocate_metrics() -> None:
    """Give the metric files of a worker their size before they are mapped.

    prometheus_client 0.26 begins with 64 KiB and maps a file again to let it grow. Mapping takes a descriptor; where
    there is none, the new label fails, and every new label after it, for as long as the process lives.
    """
    if folder := os.environ.get(METRICS_FOLDER):
        for kind in ("counter", "histogram", "gauge_livesum", "gauge_mostrecent"):
            with Path(folder, f"{kind}_{os.getpid()}.db").open("ab") as file:
                file.truncate(_METRICS_BYTES)


_allocate_metrics()

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
FLUSH_SECONDS = Histogram(
    "gateway_flush_seconds",
    "Time for the disk to make the frames of one batch durable, whatever their number.",
    buckets=_SECONDS,
)
INTAKE_SECONDS = Histogram(
    "gateway_intake_seconds",
    "From the command of an instance, or the beginning of its part of a request, until it is safe.",
    buckets=_SECONDS,
)
INSTANCES = Counter("gateway_intake_instances", "Instances taken in, by what became of them.", ["outcome"])
INCOMPLETE = Counter(
    "gateway_intake_incomplete",
    "Instances stored whose pixel data lack something, by when that was seen: at the intake, or afterwards.",
    ["seen"],
)
SCRUB_BYTES = Counter("gateway_scrub_bytes", "Bytes of the store whose checksums were compared.")
SCRUB_DAMAGED = Counter("gateway_scrub_damaged", "Places of the store that were found damaged.")
BREAK_GLASS = Counter("gateway_break_glass", "Emergency accesses begun.")
INTAKE_BYTES = Counter("gateway_intake_bytes", "Data set bytes received.")
STORE_FAILED = Gauge(
    "gateway_store_failed",
    "Processes in which the disk has failed: nothing is acknowledged until a person has looked and restarted them.",
    multiprocess_mode="livesum",
)
COMMITTER_DEATHS = Counter("gateway_committer_deaths", "Processes that store instances and have died.")
SIGN_IN_FAILURES = Counter(
    "gateway_sign_in_failures", "Wrong passwords, tokens and the like that were shown, over DICOM and HTTP."
)
ASSOCIATIONS = Gauge("gateway_associations", "Open associations.", multiprocess_mode="livesum")
ASSOCIATIONS_TOTAL = Counter(
    "gateway_associations_opened", "Associations asked for, by what became of them.", ["outcome"]
)
COMMIT_ROWS = Histogram(
    "gateway_commit_scripts",
    "Transaction scripts that shared one commit.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
DELIVERY_SECONDS = Histogram(
    "gateway_delivery_seconds",
    "Attempts to deliver, from their beginning until the destination has answered, by what it answered.",
    ["destination", "outcome"],
    buckets=_SECONDS,
)
CACHE_BYTES = Gauge(
    "gateway_cache_bytes",
    "Memory of what is kept to be used again, by cache. A gateway grows until its caches are full.",
    ["cache"],
    multiprocess_mode="livesum",
)
CLOCK_SKEW = Gauge(
    "gateway_clock_skew_seconds",
    "How far the clock of a system over HTTP is ahead of this machine's, by the Date of its last answer, to a second.",
    ["system"],
    multiprocess_mode="mostrecent",
)
DIMSE_SECONDS = Histogram(
    "gateway_dimse_seconds",
    "Time to answer a DIMSE request other than C-STORE and C-ECHO, sub-operations included, by its final status.",
    ["command", "outcome"],
    buckets=_SECONDS,
)
HTTP_SECONDS = Histogram("gateway_http_seconds", "Time to answer an HTTP request.", ["route", "code"], buckets=_SECONDS)


class _SharedExemplars:
    """The exemplars of a worker, in a file that all read: prometheus_client has them for a single process alone.

    The file is written once a second at most, and only while traces are recorded.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / f"exemplars_{os.getpid()}.json"
        self._newest: dict[tuple[str, ...], tuple[str, float, float]] = {}
        """By name and labels of the sample: trace, seconds, and the time in seconds since 1970."""
        self._written_at = 0.0

    def add(self, histogram: Histogram, seconds: float, trace_id: str) -> None:
        """Note the trace of an observation."""
        bound = next(bound for bound in histogram._upper_bounds if seconds <= bound)
        labels = dict(zip(histogram._labelnames, histogram._labelvalues, strict=True))
        labels["le"] = floatToGoString(bound)  # type: ignore[no-untyped-call]
        key = _sample_key(f"{histogram._name}_bucket", labels)
        if key in self._newest or len(self._newest) < _MAX_EXEMPLARS:
            now = time.time()
            self._newest[key] = trace_id, seconds, now
            if not self._written_at <= now < self._written_at + 1:
                self._written_at = now
                self.write()

    def write(self) -> None:
        """Write what is noted; nothing where no file can be written, as on a full disk."""
        partial = self._file.with_suffix(".partial")
        with contextlib.suppress(OSError):
            partial.write_bytes(msgspec.json.encode(list(self._newest.items())))
            partial.replace(self._file)


def _sample_key(name: str, labels: Mapping[str, str]) -> tuple[str, ...]:
    return name, *(text for pair in sorted(labels.items()) for text in pair)


class _OfAllWorkers(Collector):
    """Collects the metrics of all workers, with their exemplars."""

    def collect(self) -> Iterator[Metric]:
        newest: dict[tuple[str, ...], tuple[str, float, float]] = {}
        if _shared_exemplars is not None:
            _shared_exemplars.write()
        for file in Path(os.environ[METRICS_FOLDER]).glob("exemplars_*.json"):
            for key, exemplar in msgspec.json.decode(file.read_bytes(), type=_EXEMPLARS):
                newest[key] = max(exemplar, newest.get(key, exemplar), key=lambda each: each[2])
        for metric in MultiProcessCollector(None).collect():  # type: ignore[no-untyped-call]
            for at, sample in enumerate(metric.samples if newest else ()):
                if found := newest.get(_sample_key(sample.name, sample.labels)):
                    metric.samples[at] = sample._replace(exemplar=Exemplar({"trace_id": found[0]}, *found[1:]))
            yield metric


_EXEMPLARS = list[tuple[tuple[str, ...], tuple[str, float, float]]]
_MAX_EXEMPLARS = 4000
"""Exemplars of one worker: some hundred bytes each."""
_shared_exemplars = _SharedExemplars(Path(os.environ[METRICS_FOLDER])) if METRICS_FOLDER in os.environ else None

OPENMETRICS = "application/openmetrics-text"
"""The media type of the format that has exemplars."""
_OPENMETRICS_END = b"# EOF\n"


def observe(histogram: Histogram, seconds: float, span: tracing.TraceSpan = tracing.NO_SPAN) -> None:
    """Observe a duration, with its trace as the exemplar, that of `span` or the current one, if it is recorded."""
    trace_id = tracing.sampled_trace_id(span)
    histogram.observe(seconds, {"trace_id": trace_id} if trace_id else None)
    if trace_id and _shared_exemplars is not None:
        _shared_exemplars.add(histogram, seconds, trace_id)


def metrics_text(registry: CollectorRegistry, *, openmetrics: bool = False) -> bytes:
    """The metrics of a registry in the text format of Prometheus, or in OpenMetrics without its last line."""
    if not openmetrics:
        return generate_latest(registry)
    text: str | bytes = generate_openmetrics(registry)  # type: ignore[no-untyped-call]
    return (text if isinstance(text, bytes) else text.encode()).removesuffix(_OPENMETRICS_END)


def metrics_page(*more: bytes, openmetrics: bool = False) -> bytes:
    """All metrics in the text format of Prometheus, or in OpenMetrics with exemplars, summed over the workers if there
    are several; `more` are further texts of `metrics_text`."""
    registry = REGISTRY
    if METRICS_FOLDER in os.environ:
        registry = CollectorRegistry()
        registry.register(_OfAllWorkers())
    ours = metrics_text(registry, openmetrics=openmetrics)
    return b"".join([ours, *more, _OPENMETRICS_END if openmetrics else b""])


def intake() -> tuple[float, float]:
    """Data set bytes and instances received by this process."""
    return _total(INTAKE_BYTES), _total(INSTANCES)


def _total(counter: Counter) -> float:
    """The sum over all labels."""
    samples = (sample for metric in counter.collect() for sample in metric.samples)
    return sum(float(sample.value) for sample in samples if sample.name.endswith("_total"))


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """The fields of a log line, by name: the `log_fields` of its arguments, such as associations, and those of
    `extra={"log_fields": {…}}`.
    """
    fields: dict[str, object] = {}
    for each in (*(record.args if isinstance(record.args, tuple) else ()), record):
        more = getattr(each, "log_fields", None)
        if isinstance(more, dict):
            fields |= more
    return fields


def trace_of(record: logging.LogRecord) -> dict[str, str]:
    """The trace that a log line belongs to, and the span if one is current; empty while nothing is traced."""
    if not tracing.is_on():
        return {}
    trace_id, span_id = tracing.ids()
    if trace_id:
        return {"trace_id": trace_id, "span_id": span_id}
    about = fields_of(record).get("trace_id")
    return {"trace_id": about} if isinstance(about, str) else {}


class _TextFormatter(logging.Formatter):
    """Lines with the local time of day and its offset from UTC.

    A record is one line whatever a peer has put into it; lines of a traceback follow, indented.
    """

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        at = datetime.datetime.fromtimestamp(record.created, datetime.UTC).astimezone()
        return at.isoformat(sep=" ", timespec="milliseconds")

    def formatMessage(self, record: logging.LogRecord) -> str:
        line = printable(super().formatMessage(record))
        trace = trace_of(record)
        return f"{line} [trace {trace['trace_id']}]" if trace else line

    def formatException(self, ei: Any) -> str:
        return textwrap.indent(super().formatException(ei), "  ")


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
            **fields_of(record),
            **trace_of(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(entry).decode()


VERBOSITIES = ("default", "verbose", "trace")
"""How much is logged, in Orthanc's words: as configured; the gateway's debugging; that of its libraries too."""
LOG_CATEGORIES = {
    "dicom": ("gateway.net", "gateway.scp", "gateway.scu", "gateway.ul", "gateway.dimse"),
    "generic": (
        *("gateway.ingest", "gateway.storage", "gateway.retrieve", "gateway.index", "gateway.server"),
        *("gateway.workers", "gateway.workflow", "gateway.admin", "gateway.edit", "gateway.imaging", "gateway.render"),
    ),
    "http": ("gateway.web", "gateway.http", "gateway.remote"),
    "jobs": ("gateway.jobs", "gateway.forwarding", "gateway.systems"),
    "sqlite": ("gateway.database",),
}
"""The loggers of Orthanc's log categories."""
_LIBRARIES = {"http": ("aiohttp",), "sqlite": ("aiosqlite",), "generic": ("asyncio",)}
_verbosity = dict.fromkeys(LOG_CATEGORIES, "default")


def verbosity(category: str = "") -> str:
    """How much a category logs; without one, the most that any does."""
    if category:
        return _verbosity[category]
    return max(_verbosity.values(), key=VERBOSITIES.index)


def set_verbosity(level: str, category: str = "") -> None:
    """Log as much of a category, or of all, until `setup_logging` is called again."""
    for each in [category] if category else list(LOG_CATEGORIES):
        _verbosity[each] = level
        for name in LOG_CATEGORIES[each]:
            logging.getLogger(name).setLevel(logging.NOTSET if level == "default" else logging.DEBUG)
        for name in _LIBRARIES.get(each, ()):
            logging.getLogger(name).setLevel(logging.DEBUG if level == "trace" else logging.WARNING)


def setup_logging(level: str = "info", style: str = "text", *, worker: int = 0) -> None:
    """Send the gateway's log to standard error, as text lines or one JSON object a line, with the worker's number."""
    handler = logging.StreamHandler(sys.stderr)
    who = f"worker {worker} " if worker else ""
    if style == "json":
        handler.setFormatter(_JsonFormatter(worker))
    else:
        handler.setFormatter(_TextFormatter(f"%(asctime)s %(levelname)-7s {who}%(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    set_verbosity("default")
    logging.getLogger("asyncio").setLevel(max(logging.WARNING, root.level))
