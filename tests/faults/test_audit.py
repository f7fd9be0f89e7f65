"""The audit log of a gateway that is killed: the chain is whole, and every change that was answered is in it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import urllib.request
from pathlib import Path

import pytest

from tests.support.datasets import sample
from tests.support.processes import Gateway, http_get
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(240)]

ON = {"GATEWAY_AUDIT__ENABLED": "true"}


def put(url: str) -> bool:
    """Whether a PUT is answered 200."""
    with (
        contextlib.suppress(OSError),
        urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=5) as one,
    ):
        return one.status == 200
    return False


def logged(data: Path) -> list[tuple[str, dict[str, str]]]:
    with contextlib.closing(sqlite3.connect(data / "database.sqlite")) as connection:
        rows = connection.execute("SELECT action, detail FROM audit_log ORDER BY seq").fetchall()
    return [(action, json.loads(detail)) for action, detail in rows]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_no_change_that_was_answered_is_lost(tmp_path: Path, workers: str) -> None:
    gateway = Gateway(tmp_path / "data", environment={**ON, "GATEWAY_SERVER__WORKERS": workers})
    answered: list[str] = []
    stop = threading.Event()
    with gateway.start(timeout=60):
        upload = urllib.request.Request(
            f"{gateway.url}/instances", data=sample("CT_small.dcm").read_bytes(), method="POST"
        )
        with urllib.request.urlopen(upload, timeout=10) as reply:
            study = json.load(reply)["ParentStudy"]

        def change(number: int) -> None:
            count = 0
            while not stop.is_set():
                label = f"label-{number}-{count}"
                if put(f"{gateway.url}/studies/{study}/labels/{label}"):
                    answered.append(label)
                with contextlib.suppress(OSError):
                    http_get(f"{gateway.url}/studies/{study}")
                count += 1

        threads = [threading.Thread(target=change, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(answered) > 40, within_s=60)
        gateway.kill()
        stop.set()
        for thread in threads:
            thread.join()
        gateway.start(timeout=60)
        status, body = http_get(f"{gateway.url}/auth/audit-logs/verify")
        assert (status, json.loads(body)["Problem"]) == (200, "")
        assert http_get(f"{gateway.url}/studies/{study}")[0] == 200
        assert gateway.stop() == 0  # and writes what was counted
    found = logged(gateway.data)
    assert {detail["label"] for action, detail in found if action == "edit-labels"} >= set(answered)
    actions = [action for action, _detail in found]
    assert [each for each in actions if each in ("start", "stop")] == ["start", "start", "stop"]
    assert "view" in actions
