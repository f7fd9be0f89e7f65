"""Records of associations outlast a restart of one worker and of several, under numbers that are never used twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import Gateway


@pytest.mark.timeout(300)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_over_a_restart(tmp_path: Path, workers: str) -> None:
    numbers: list[int] = []
    with Gateway(tmp_path / "data", environment={"GATEWAY_SERVER__WORKERS": workers}).start(120) as gateway:
        for run in range(2):
            address = f"{gateway.aet}@{gateway.host}:{gateway.port}"
            command = [sys.executable, "-m", "gateway", "echo", address]
            subprocess.run(command, check=True, capture_output=True, timeout=60)
            gateway.stop(60)
            gateway.start(120)
            found = json.loads(gateway.get("/associations/records")[1])
            assert len(found) == run + 1
            assert {each["Outcome"] for each in found} == {"released"}
            assert all(each["Contexts"] for each in found)
            numbers.append(found[0]["Number"])
            assert gateway.get(f"/ui/associations/{numbers[-1]}")[0] == 200
    assert numbers[0] < numbers[1]
