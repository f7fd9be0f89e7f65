"""Lines of the log: when, what, and about whom."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import telemetry
from gateway.net.requestor import associate
from gateway.telemetry import METRICS_FOLDER
from tests.support.datasets import ct_header, encode
from tests.support.intake import CT, intake
from tests.support.processes import Gateway

EXPLICIT = "1.2.840.10008.1.2.1"


@pytest.fixture
def handlers() -> Iterator[None]:
    """Whatever a test makes of the root logger is undone."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)


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
