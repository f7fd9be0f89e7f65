"""Lines of the log: when, what, and about whom."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from gateway import telemetry, tracing
from gateway.config import Tracing
from gateway.net.requestor import associate
from gateway.telemetry import METRICS_FOLDER
from tests.support.collector import collector
from tests.support.datasets import ct_header, encode
from tests.support.intake import CT, intake
from tests.support.processes import Gateway
from tests.support.web import archive

EXPLICIT = "1.2.840.10008.1.2.1"
PROMETHEUS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1"
"""The Accept header of Prometheus 2.42."""


class About:
    log_fields = {"association": 7, "calling_aet": "CT1"}

    def __str__(self) -> str:
        return "association 7"


@pytest.mark.case("log lines say their time zone, and as JSON whom they are about")
def test_text_and_json(handlers: None, capsys: pytest.CaptureFixture[str]) -> None:
    for style in ("text", "json"):
        telemetry.setup_logging("info", style)
        extra = {"log_fields": {"study": "1.2"}}
        logging.getLogger("gateway.x").info("%s: %d instances", About(), 3, extra=extra)
    text, line = capsys.readouterr().err.splitlines()
    when = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d"
    assert re.fullmatch(when + " INFO    gateway.x: association 7: 3 instances", text)
    entry = json.loads(line)
    assert entry["message"] == "association 7: 3 instances"
    assert (entry["association"], entry["calling_aet"], entry["study"]) == (7, "CT1", "1.2")


@pytest.mark.case("a line at the start and at the stop")
def test_start_and_stop(tmp_path: Path) -> None:
    with Gateway(tmp_path / "data", environment={"GATEWAY_LOG__FORMAT": "json"}) as gateway:
        assert gateway.stop() == 0
    messages = [json.loads(line)["message"] for line in gateway.log.splitlines()]
    (start,) = [message for message in messages if "has started" in message]
    parts = (f"GATEWAY at 127.0.0.1:{gateway.port}", gateway.url, f"data in {tmp_path / 'data'}", "1 worker")
    assert [part for part in parts if part not in start] == []
    assert re.fullmatch(r"dicom-gateway \S+ has stopped after \d+ s", messages[-1])


@pytest.mark.case("the log says what an association brought that is released")
async def test_what_an_association_brought(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with intake(tmp_path) as gateway, associate(gateway.call()) as association:
        context = association.context_for(CT)
        for number, study in enumerate(("1.2.3", "1.2.3", "1.2.4")):
            uid = f"1.9.{number}"
            data = encode(ct_header(SOPInstanceUID=uid, StudyInstanceUID=study), context.transfer_syntax)
            assert (await association.store(context, uid, [data])).status == 0
        assert (await association.store(context, "1.9.9", [data])).status == 0xA900
        await association.release()
    (released,) = [record for record in caplog.records if " released" in record.getMessage()]
    assert "received 3 instances of 2 studies" in released.getMessage()
    assert "; 1 instance refused" in released.getMessage()
    fields = telemetry.fields_of(released)
    assert (fields["instances"], fields["refused"], fields["studies"]) == (3, 1, ["1.2.3", "1.2.4"])
    assert fields["calling_aet"] == association.call.calling_aet
    assert fields["peer"] == "127.0.0.1"


def test_labels_of_a_worker_need_no_descriptor(tmp_path: Path) -> None:
    """Not even the first of many, when the process may open no file any more."""
    program = """
import os, resource
from gateway.telemetry import HTTP_SECONDS
open_files = max(map(int, os.listdir("/proc/self/fd")))
resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))
for number in range(200):
    HTTP_SECONDS.labels(f"/a/route/{number}", "200").observe(1.0)
"""
    environment = {**os.environ, METRICS_FOLDER: str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")


async def test_openmetrics_has_exemplars_and_the_classic_format_has_none(tmp_path: Path) -> None:
    """In the whole page, gauges too: OpenMetrics ends with one line that says so, and names nothing twice."""
    async with collector() as collecting:
        await asyncio.to_thread(tracing.use, Tracing(endpoint=collecting.url))
        try:
            with tracing.span("a"):
                trace_id, _ = tracing.ids()
                telemetry.observe(telemetry.INTAKE_SECONDS, 0.003)
        finally:
            await asyncio.to_thread(tracing.use, Tracing())
    async with archive(tmp_path) as made:
        pages = {}
        for accepted in ("*/*", PROMETHEUS, "text/plain,application/openmetrics-text;q=0.1"):
            answer = await made.client.get("/metrics", headers={"Accept": accepted})
            pages[accepted] = answer.content_type, await answer.text()
    media_type, text = pages.pop(PROMETHEUS)
    assert media_type == "application/openmetrics-text"
    exemplar = rf'^gateway_intake_seconds_bucket{{le="0.004"}} \d+\.0 # {{trace_id="{trace_id}"}} 0\.003'
    assert re.search(exemplar, text, re.MULTILINE), "other tests have stored, too"
    families = list(text_string_to_metric_families(text))
    assert {"gateway_ready", "gateway_intake_seconds", "gateway_intake_instances"} <= {each.name for each in families}
    for media_type, text in pages.values():
        assert media_type == "text/plain"
        assert "# {" not in text
        assert "# EOF" not in text


def test_exemplars_of_several_workers(tmp_path: Path) -> None:
    """Whichever of them answers has those of all, the newest of each bucket."""
    observe = """
import sys
from gateway import telemetry, tracing
tracing.sampled_trace_id = lambda of: sys.argv[1] * 32
telemetry.observe(telemetry.HTTP_SECONDS.labels("/a", "200"), float(sys.argv[2]))
telemetry.observe(telemetry.INTAKE_SECONDS, float(sys.argv[3]))
sys.stdout.buffer.write(telemetry.metrics_page(openmetrics=True))
"""
    environment = {**os.environ, METRICS_FOLDER: str(tmp_path)}
    for arguments in (("a", "0.003", "0.1"), ("b", "0.003", "500"), ("c", "0.02", "0.3")):
        command = [sys.executable, "-c", observe, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=50)
        assert (done.returncode, done.stderr) == (0, "")
    found = {}
    for family in text_string_to_metric_families(done.stdout):
        for sample in family.samples:
            if sample.exemplar is not None:
                exemplar = sample.exemplar
                found[sample.name, sample.labels["le"]] = exemplar.labels["trace_id"][0], exemplar.value
    assert found == {
        ("gateway_http_seconds_bucket", "0.004"): ("b", 0.003),
        ("gateway_http_seconds_bucket", "0.032"): ("c", 0.02),
        ("gateway_intake_seconds_bucket", "0.125"): ("a", 0.1),
        ("gateway_intake_seconds_bucket", "+Inf"): ("b", 500.0),
        ("gateway_intake_seconds_bucket", "0.5"): ("c", 0.3),
    }
