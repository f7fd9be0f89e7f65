"""Traces as a collector receives them: one from the caller's request, or the association, to the delivery."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from pydicom.dataset import Dataset

from gateway import telemetry, tracing
from gateway.config import Settings, Tracing
from gateway.config.checks import problems_of
from gateway.dimse import messages
from gateway.errors import ConfigurationError
from gateway.net.requestor import Call, associate
from gateway.scp.query import STUDY_ROOT_FIND
from gateway.server import running
from tests.support.collector import Collector, ReceivedSpan, collector
from tests.support.datasets import ct_header, encode, instance
from tests.support.intake import CT
from tests.support.orthanc_folder import file_of
from tests.support.web_servers import WebServer, web_server

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"
"""As in W3C Trace Context §3.2.2.3."""
STOW = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=B'}
EXPLICIT = "1.2.840.10008.1.2.1"


@dataclasses.dataclass
class House:
    """A gateway in this process that delivers all it takes in to `server`, and sends its traces to `collecting`."""

    collecting: Collector
    server: WebServer
    settings: Settings
    url: str = ""
    port: int = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with running(self.settings) as gateway:
            address = gateway.acceptor.address
            assert address is not None
            self.port, self.url = address[1], f"http://127.0.0.1:{gateway.web.port}"
            yield

    async def store(self, headers: Mapping[str, str], **values: Any) -> None:
        """Store an instance by STOW-RS."""
        part = b"--B\r\nContent-Type: application/dicom\r\n\r\n%b\r\n--B--" % file_of(instance(**values))
        await self.post("/dicom-web/studies", part, {**STOW, **headers})

    async def post(self, path: str, data: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        async with aiohttp.ClientSession() as session, session.post(self.url + path, data=data, headers=headers) as it:
            assert it.status == 200, await it.text()


@asynccontextmanager
async def house(folder: Path, **section: Any) -> AsyncIterator[House]:
    async with collector() as collecting, web_server() as server:
        cloud = {"kind": "dicomweb", "url": server.url, "connections": 1}
        sections = {
            "dicom": {"port": 0},
            "http": {"port": 0},
            "storage": {"path": str(folder / "data"), "min_free": 0},
            "destinations": {"cloud": cloud},
            "rules": {"all": {"destinations": ["cloud"]}},
            "tracing": {"endpoint": collecting.url, **section},
        }
        yield House(collecting, server, msgspec.convert(sections, Settings))


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans are sent at once, and not for seconds together."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")


def chain(span: ReceivedSpan, spans: list[ReceivedSpan]) -> list[str]:
    """The names from a span up to the one whose parent is another system's, or nothing."""
    by_id = {each.span_id: each for each in spans}
    names = [span.name]
    while (above := by_id.get(span.parent_id)) is not None:
        span = above
        names.append(span.name)
    return names


class TestOneTrace:
    async def test_from_the_caller_to_the_destination(self, tmp_path: Path) -> None:
        async with house(tmp_path) as it:
            async with it.open():
                headers = {"traceparent": TRACEPARENT, "tracestate": "vendor=7"}
                await it.store(headers, PatientName="Geheim^Anna", PatientID="GEHEIM-7")
                await it.collecting.wait_for("job delivery")
            sent, stored = await it.collecting.wait_for("POST", "commit batch")
            (request,) = await it.collecting.wait_for("POST /dicom-web/studies")
        spans = it.collecting.spans
        assert {span.trace_id for span in (sent, stored, request)} == {TRACE}
        assert request.parent_id == CALLER
        up = ["store instance", "POST /dicom-web/studies"]
        assert chain(stored, spans) == ["commit batch", "commit", *up]
        assert chain(sent, spans) == ["POST", "STOW-RS", "deliver", "job delivery", *up]
        assert it.server.headers[0]["traceparent"] == f"00-{TRACE}-{sent.span_id}-01"
        assert request.attributes == {
            "http.request.method": "POST",
            "http.route": "/dicom-web/studies",
            "http.response.status_code": 200,
        }
        assert it.collecting.named("deliver")[0].attributes["gateway.outcome"] == "delivered"
        assert it.collecting.resources[0]["service.name"] == "dicom-gateway"
        assert b"eheim" not in it.collecting.body
        assert b"GEHEIM" not in it.collecting.body
        assert b"1.2.826" not in it.collecting.body  # nor the UIDs that pydicom makes

    async def test_it_outlives_a_restart(self, tmp_path: Path) -> None:
        """What is delivered after a restart of the gateway is in the trace of the request that brought it."""
        async with house(tmp_path) as it:
            it.server.down = True
            async with it.open():
                await it.store({"traceparent": TRACEPARENT})
                (waits,) = await it.collecting.wait_for("deliver")
            assert (waits.failed, waits.attributes["gateway.outcome"]) == (True, "unavailable")
            it.collecting.spans.clear()
            it.server.down = False
            async with it.open():
                await it.post("/destinations/cloud/release")
                await it.collecting.wait_for("job delivery")
            delivered, sent = await it.collecting.wait_for("deliver", "POST")
        assert {delivered.trace_id, sent.trace_id} == {TRACE}
        assert delivered.attributes["gateway.outcome"] == "delivered"

    async def test_of_an_association(self, tmp_path: Path, handlers: None, capsys: pytest.CaptureFixture[str]) -> None:
        telemetry.setup_logging("info", "json")
        async with house(tmp_path) as it:
            async with it.open():
                contexts = ((CT, [EXPLICIT]), (STUDY_ROOT_FIND, [EXPLICIT]))
                call = Call("127.0.0.1", it.port, called_aet="GATEWAY", calling_aet="CT1", contexts=contexts)
                async with associate(call) as association:
                    data = encode(ct_header(SOPInstanceUID="1.9.1", PatientName="Geheim^Anna"))
                    assert (await association.store(association.context_for(CT), "1.9.1", [data])).status == 0
                    query = Dataset()
                    query.QueryRetrieveLevel, query.PatientName = "STUDY", "Geheim*"
                    request = messages.c_find_request(association.next_message_id(), STUDY_ROOT_FIND)
                    context = association.context_for(STUDY_ROOT_FIND)
                    asked = association.requests(context, request, [encode(query)])
                    assert [response.status async for response in asked] == [0xFF00, 0]
                    assert (await association.store(association.context_for(CT), "1.9.9", [data])).status == 0xA900
                    await association.release()
                await it.collecting.wait_for("job delivery")
            whole, find, sent = await it.collecting.wait_for("association", "C-FIND-RQ", "POST")
        assert {span.trace_id for span in (whole, find, sent)} == {whole.trace_id}
        assert whole.attributes == {
            "dicom.calling_aet": "CT1",
            "dicom.called_aet": "GATEWAY",
            "gateway.instances": 1,
            "gateway.refused": 1,
        }
        assert sorted(span.failed for span in it.collecting.named("store instance")) == [False, True]
        assert find.attributes["dicom.status"] == "0000"
        assert [chain(span, it.collecting.spans)[-1] for span in (find, sent)] == ["association"] * 2
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        about = [line for line in lines if line["message"].startswith("association 1 CT1@")]
        assert len(about) > 3
        assert {line["trace_id"] for line in about} == {whole.trace_id}
        assert b"eheim" not in it.collecting.body
        assert b"1.9." not in it.collecting.body

    async def test_of_several_deliveries_in_one_request(self, tmp_path: Path) -> None:
        """The request is in the trace of one of them, and points at the others."""
        traces = {f"{number:032x}" for number in (1, 2)}
        async with house(tmp_path, study_uids=True) as it, it.open():
            await it.post("/destinations/cloud/hold")
            for trace in traces:
                await it.store({"traceparent": f"00-{trace}-{CALLER}-01"}, StudyInstanceUID=f"1.2.3.{int(trace, 16)}")
            await it.post("/destinations/cloud/release")
            (sent,) = await it.collecting.wait_for("STOW-RS")
            stored = it.collecting.named("store instance")
        assert sent.attributes["gateway.instances"] == 2
        assert {sent.trace_id, *(trace for trace, _ in sent.links)} == traces
        assert {span.attributes["dicom.study_instance_uid"] for span in stored} == {"1.2.3.1", "1.2.3.2"}


class TestCallers:
    async def test_can_be_ignored(self, tmp_path: Path) -> None:
        async with house(tmp_path, from_callers=False) as it, it.open():
            await it.store({"traceparent": TRACEPARENT})
            (request,) = await it.collecting.wait_for("POST /dicom-web/studies")
        assert request.trace_id != TRACE
        assert request.parent_id == ""

    @pytest.mark.parametrize(
        "header", ["", "00-0-0-01", f"00-{'0' * 32}-{CALLER}-01", f"ff-{TRACE}-{CALLER}-01", "\xff" * 55]
    )
    async def test_what_they_get_wrong_is_as_if_not_said(self, header: str) -> None:
        """W3C Trace Context §4.3: "If parsing fails, the vendor creates a new traceparent"."""
        async with recording() as collecting:
            with tracing.span("a", parent=tracing.of_caller({"traceparent": header})):
                pass
            (span,) = await collecting.wait_for("a")
        assert (span.parent_id, span.trace_id != TRACE) == ("", True)

    async def test_of_no_sampled_trace_nothing_is_recorded_but_it_goes_on(self) -> None:
        async with recording() as collecting:
            headers: dict[str, str] = {}
            with tracing.span("a", parent=tracing.of_caller({"traceparent": TRACEPARENT[:-1] + "0"})):
                tracing.hand_on(headers)
                assert tracing.sampled_trace_id() == ""
            with tracing.span("b"):
                pass
            await collecting.wait_for("b")
        assert collecting.named("a") == []
        assert (headers["traceparent"][3:35], headers["traceparent"][-2:]) == (TRACE, "00")


@asynccontextmanager
async def recording(**section: Any) -> AsyncIterator[Collector]:
    """Traces of this process, without a gateway."""
    async with collector() as collecting:
        await asyncio.to_thread(tracing.use, Tracing(endpoint=collecting.url, **section))
        try:
            yield collecting
        finally:
            await asyncio.to_thread(tracing.use, Tracing())


class TestSpans:
    async def test_an_error_is_its_type_alone(self) -> None:
        async with recording() as collecting:
            with pytest.raises(ValueError, match="Anna"), tracing.span("a"):
                raise ValueError("Anna")
            (span,) = await collecting.wait_for("a")
        assert (span.failed, span.attributes) == (True, {"error.type": "ValueError"})
        assert b"Anna" not in collecting.body

    async def test_ratio(self) -> None:
        async with recording(ratio=0.0) as collecting:
            for _ in range(50):
                with tracing.span("a"):
                    pass
            with tracing.span("b", parent=tracing.continued(TRACEPARENT)):
                pass
            await collecting.wait_for("b")
        assert collecting.named("a") == []

    async def test_tasks_continue_the_trace_of_what_begins_them(self) -> None:
        async def work() -> tuple[str, str]:
            return tracing.ids()

        async with recording() as collecting:
            with tracing.span("a"):
                ids = await asyncio.create_task(work())
            assert tracing.ids() == ("", "")
            (span,) = await collecting.wait_for("a")
        assert ids == (span.trace_id, span.span_id)

    @pytest.mark.parametrize("text", ["", "x", TRACEPARENT + "-00", TRACEPARENT.upper()])
    async def test_a_job_without_a_trace_begins_one(self, text: str) -> None:
        async with recording():
            assert tracing.continued(text) is None

    async def test_log_lines_name_their_trace(self, handlers: None, capsys: pytest.CaptureFixture[str]) -> None:
        log = logging.getLogger("gateway.x")
        async with recording():
            for style in ("text", "json"):
                telemetry.setup_logging("info", style)
                with tracing.span("a", parent=tracing.continued(TRACEPARENT)):
                    log.info("within")
                    span_id = tracing.ids()[1]
                log.info("without")
        text, plain, within, without = capsys.readouterr().err.splitlines()
        assert text.endswith(f"gateway.x: within [trace {TRACE}]")
        assert plain.endswith("gateway.x: without")
        entry = json.loads(within)
        assert (entry["trace_id"], entry["span_id"]) == (TRACE, span_id)
        assert "trace_id" not in json.loads(without)


class TestSettings:
    @pytest.mark.parametrize(
        ("section", "place"),
        [
            ({"endpoint": "localhost:4318"}, "tracing.endpoint"),
            ({"endpoint": "http://ann:secret@host"}, "tracing.endpoint"),
            ({"endpoint": "http://host", "ratio": 1.5}, "tracing.ratio"),
        ],
    )
    def test_mistakes(self, section: dict[str, Any], place: str) -> None:
        (problem,) = problems_of(Settings(tracing=msgspec.convert(section, Tracing)))
        assert problem.startswith(place)
        assert "secret" not in problem

    def test_without_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
        tracing.check(Tracing())
        with pytest.raises(ConfigurationError, match=r"pip install \"dicom-gateway\[otel\]\""):
            tracing.check(Tracing(endpoint="http://127.0.0.1:4318"))

    async def test_they_change_while_the_gateway_runs(self, tmp_path: Path) -> None:
        async with house(tmp_path) as it:
            on = it.settings
            it.settings = msgspec.structs.replace(on, tracing=Tracing())
            async with running(it.settings) as gateway:
                it.url = f"http://127.0.0.1:{gateway.web.port}"
                await it.store({})
                assert not tracing.is_on()
                await gateway.use(on)
                await it.store({})
                await it.collecting.wait_for("store instance")
                await gateway.use(it.settings)
                assert not tracing.is_on()

    async def test_a_collector_that_is_not_there_holds_nobody_up(self, caplog: pytest.LogCaptureFixture) -> None:
        """Spans that it would take are dropped, and the end waits for some seconds at most."""
        await asyncio.to_thread(tracing.use, Tracing(endpoint="http://127.0.0.1:9"))
        began = time.process_time()
        for _ in range(3000):
            with tracing.span("a"):
                pass
        assert time.process_time() - began < 5
        async with asyncio.timeout(20):
            await asyncio.to_thread(tracing.use, Tracing())
        assert [record.getMessage() for record in caplog.records] in (
            [],  # The end came before the last of several tries.
            ["traces cannot be sent to http://127.0.0.1:9/v1/traces and are dropped until it takes them"],
        )


def test_off_it_is_not_there() -> None:
    """Nothing of OpenTelemetry is imported, and no span is made."""
    program = """
import sys
from gateway import server, tracing
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
assert tracing.span("a") is tracing.span("b")
assert tracing.begin("a") is tracing.NO_SPAN
assert (tracing.current(), tracing.traceparent(), tracing.ids()) == (None, "", ("", ""))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
