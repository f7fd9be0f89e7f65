"""Traces of what the gateway does, by OpenTelemetry: spans, and the context that goes from one system to the next.

Off unless `tracing.endpoint` names a collector: then nothing is imported, and a span costs the test of one variable.
Nothing here is patient data: attributes name operations, systems, statuses and counts, UIDs of studies only where the
settings want them, and of an error its type alone. Metrics and the log are in `telemetry.py`.

The context of a trace is that of the task (`contextvars`): a task continues the trace of whatever began it. What is
done later by a job continues the trace that its payload names, as W3C Trace Context writes it (`traceparent`).
"""

from __future__ import annotations

import logging
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final, Literal

from gateway import __version__
from gateway.errors import ConfigurationError

if TYPE_CHECKING:
    from gateway.config import Tracing

log = logging.getLogger(__name__)

Kind = Literal["internal", "server", "client", "consumer"]
"""The side of an exchange that a span describes."""
About = Mapping[str, str | int | float | bool]
"""Attributes of a span by name, as OpenTelemetry's conventions have them where they have one."""

_EXTRA: Final = 'tracing.endpoint: needs OpenTelemetry, which is not installed: pip install "dicom-gateway[otel]"'
_PATH: Final = "/v1/traces"
"""Where a collector takes traces (OTLP 1.0, "OTLP/HTTP Request")."""
_EXPORT_TIMEOUT_S: Final = 5.0
"""Seconds for a collector to take a batch; a stop of the gateway waits no longer either."""
_TRACEPARENT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""The header of version 00 (W3C Trace Context §3.2.2)."""


class TraceSpan:
    """One operation in a trace, or nothing where it is not recorded."""

    __slots__ = ("_otel",)

    def __init__(self, otel: Any = None) -> None:
        self._otel = otel

    def set(self, name: str, value: str | int | float | bool) -> None:
        """Set an attribute, which must be no patient data."""
        if self._otel is not None:
            self._otel.set_attribute(name, value)

    def fail(self, why: str) -> None:
        """Mark the operation as failed; `why` is a word or a type, and no text that a data set has a part in."""
        if self._otel is not None:
            self._otel.set_attribute("error.type", why)
            self._otel.set_status(_otel.trace.StatusCode.ERROR)

    def end(self) -> None:
        """End the span."""
        if self._otel is not None:
            self._otel.end()

    @property
    def context(self) -> Any:
        """The context for spans below this one; None for nothing."""
        return _otel.trace.set_span_in_context(self._otel) if self._otel is not None else None

    @property
    def trace_id(self) -> str:
        """The trace that it is in, 32 hexadecimal digits; '' for nothing."""
        return _written(self._otel.get_span_context())[0] if self._otel is not None else ""


NO_SPAN: Final = TraceSpan()
_NOTHING: Final = nullcontext(NO_SPAN)


class _Sender:
    """An exporter that says in the log when its collector stops to take spans, and when it takes them again."""

    def __init__(self, exporter: Any, address: str) -> None:
        self._exporter = exporter
        self._address = address
        self._is_taken = True
        self._is_shut_down = False

    def export(self, spans: Sequence[Any]) -> Any:
        """Send spans; what cannot be sent is dropped."""
        result = self._exporter.export(spans)
        is_taken = result.name == "SUCCESS"
        if is_taken and not self._is_taken:
            log.info("traces are sent to %s again", self._address)
        elif self._is_taken and not is_taken and not self._is_shut_down:
            log.warning("traces cannot be sent to %s and are dropped until it takes them", self._address)
        self._is_taken = is_taken
        return result

    def force_flush(self, timeout_millis: int = 0) -> bool:
        """Nothing waits here."""
        return True

    def shutdown(self) -> None:
        """Send no more, and give up what is being tried again."""
        if not self._is_shut_down:
            self._is_shut_down = True
            self._exporter.shutdown()


class _OpenTelemetry:
    """The parts of OpenTelemetry that are used, and a provider that sends to one collector."""

    def __init__(self, section: Tracing, worker: int) -> None:
        """Raises: ImportError."""
        from opentelemetry import context, trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self.section = section
        self.context: Any = context
        self.trace: Any = trace
        self.propagator: Any = TraceContextTextMapPropagator()
        name = f"{socket.gethostname()}/{worker}"
        resource = Resource.create(
            {"service.name": "dicom-gateway", "service.version": __version__, "service.instance.id": name}
        )
        self._provider: Any = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(section.ratio)), resource=resource, shutdown_on_exit=False
        )
        # It says in the log what it tries, for each batch again, which is every few seconds.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        address = section.endpoint.rstrip("/") + _PATH
        self._sender = _Sender(OTLPSpanExporter(address, timeout=_EXPORT_TIMEOUT_S), address)
        self._provider.add_span_processor(BatchSpanProcessor(self._sender))
        self.tracer: Any = self._provider.get_tracer("gateway", __version__)
        self.kinds: dict[str, Any] = {each.name.lower(): each for each in trace.SpanKind}

    def close(self) -> None:
        """Send what is left, for some seconds at most. Blocks."""
        ending = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        ending.start()
        ending.join(_EXPORT_TIMEOUT_S)
        self._sender.shutdown()


_otel: Any = None
"""The `_OpenTelemetry` in use; None while nothing is traced."""


def check(section: Tracing) -> None:
    """Check that traces can be recorded as a section says. Raises: ConfigurationError without the extra `otel`."""
    if section.endpoint:
        try:
            import opentelemetry.exporter.otlp.proto.http.trace_exporter
            import opentelemetry.sdk.trace  # noqa: F401
        except ImportError:
            raise ConfigurationError(_EXTRA) from None


def use(section: Tracing, worker: int = 0) -> None:
    """Record traces from here on as a section says; blocks. Raises as `check`."""
    global _otel
    before = _otel
    if before is not None and before.section == section:
        return
    check(section)
    _otel = _OpenTelemetry(section, worker) if section.endpoint else None
    if before is not None:
        before.close()


def is_on() -> bool:
    """Whether traces are recorded."""
    return _otel is not None


def records_uids() -> bool:
    """Whether spans may name studies by their UIDs."""
    return _otel is not None and _otel.section.study_uids


def span(
    name: str,
    kind: Kind = "internal",
    *,
    parent: Any = None,
    links: Sequence[Any] = (),
    about: About | None = None,
) -> AbstractContextManager[TraceSpan]:
    """Record what is done in a block as a span. An exception that leaves the block fails it, by its type alone.

    `parent` is a context; without one, that of the task. `links` are contexts of other traces that it is about, and
    `about` its attributes.
    """
    return _NOTHING if _otel is None else recorded(begin(name, kind, parent=parent, links=links, about=about))


@contextmanager
def recorded(new: TraceSpan) -> Iterator[TraceSpan]:
    """Do what is in a block under a span that has begun, and end it; an exception fails it, by its type alone."""
    try:
        with under(new.context):
            yield new
    except BaseException as error:
        new.fail(type(error).__name__)
        raise
    finally:
        new.end()


def begin(
    name: str,
    kind: Kind = "internal",
    *,
    parent: Any = None,
    links: Sequence[Any] = (),
    began: float | None = None,
    about: About | None = None,
) -> TraceSpan:
    """Begin a span that `end` ends, and that is not the current one meanwhile; otherwise as `span`.

    `began`: when, in seconds since 1970, if not now.
    """
    otel = _otel
    if otel is None:
        return NO_SPAN
    linked = [otel.trace.Link(otel.trace.get_current_span(each).get_span_context()) for each in links]
    return TraceSpan(
        otel.tracer.start_span(
            name,
            parent,
            otel.kinds[kind],
            about,
            linked,
            start_time=int(began * 1e9) if began is not None else None,
        )
    )


def note(name: str, seconds: float, *, parent: Any, about: About) -> None:
    """Record something that took some seconds and has ended just now."""
    if _otel is not None:
        begin(name, parent=parent, began=time.time() - seconds, about=about).end()


def current() -> Any:
    """The context of the task, for spans of other tasks; None while nothing is traced."""
    return _otel.context.get_current() if _otel is not None else None


@contextmanager
def under(context: Any) -> Iterator[None]:
    """Have what the block does, and the tasks that it begins, be in a context; None: in that of the task."""
    otel = _otel
    if otel is None or context is None:
        yield
        return
    token = otel.context.attach(context)
    try:
        yield
    finally:
        otel.context.detach(token)


def traceparent() -> str:
    """The current span as W3C Trace Context writes it; '' for none."""
    if _otel is None:
        return ""
    found = _otel.trace.get_current_span().get_span_context()
    if not found.is_valid:
        return ""
    trace_id, span_id = _written(found)
    return f"00-{trace_id}-{span_id}-{found.trace_flags:02x}"


def continued(parent: str) -> Any:
    """The context that a `traceparent` names; None for '' or another text."""
    if _otel is None or not _TRACEPARENT.fullmatch(parent):
        return None
    return _otel.propagator.extract({"traceparent": parent}, context=_otel.context.Context())


def of_caller(headers: Mapping[str, str]) -> Any:
    """The context that the headers of a request over HTTP name; None for none, or where callers are not to be followed.

    What a caller gets wrong is as if it had said nothing (W3C Trace Context §4.3).
    """
    if _otel is None or not _otel.section.from_callers or "traceparent" not in headers:
        return None
    names = {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}
    return _otel.propagator.extract(names, context=_otel.context.Context())


def hand_on(headers: MutableMapping[str, str]) -> None:
    """Add the current span to the headers of a request to another system."""
    if _otel is not None:
        _otel.propagator.inject(headers)


def ids() -> tuple[str, str]:
    """The current trace and span in hexadecimal digits; '' for each if there is none."""
    if _otel is None:
        return "", ""
    found = _otel.trace.get_current_span().get_span_context()
    return _written(found) if found.is_valid else ("", "")


def sampled_trace_id(of: TraceSpan = NO_SPAN) -> str:
    """The trace of a span, or the current one, if it is sent to the collector; else ''."""
    if _otel is None:
        return ""
    found = (of._otel or _otel.trace.get_current_span()).get_span_context()
    return _written(found)[0] if found.is_valid and found.trace_flags.sampled else ""


def _written(context: Any) -> tuple[str, str]:
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"
