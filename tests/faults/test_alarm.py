"""Emergency access is begun, and the gateway killed before anybody has heard the alarm: the restart raises it."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import Gateway, free_port
from tests.support.sign_in import ADMIN, by_password
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(120)]


@contextmanager
def webhook(port: int) -> Iterator[list[dict[str, Any]]]:
    """A receiver of alarms, with what it has heard."""
    heard: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", port), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield heard
        finally:
            server.shutdown()
            thread.join()


def test_a_kill_before_the_alarm_is_heard(tmp_path: Path) -> None:
    port, settings = free_port(), tmp_path / "gateway.toml"
    settings.write_text(
        f'[[http.users]]\nname = "ann"\npassword = "{ADMIN.password}"\n'
        f'[break_glass]\nwebhook = "http://127.0.0.1:{port}/"\n'
    )
    with Gateway(tmp_path / "data", "--config", str(settings)) as gateway:
        body = json.dumps({"Reason": "unconscious"}).encode()
        headers = {**by_password("ann"), "Content-Type": "application/json"}
        request = urllib.request.Request(f"{gateway.url}/auth/break-glass", body, headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer)["User"] == "ann"
        gateway.kill()
        assert "user ann sees all studies" in gateway.log
        with webhook(port) as heard:
            gateway.start()
            wait_until(lambda: heard, 60, "nobody has heard the alarm")
            assert (heard[0]["Event"], heard[0]["User"], heard[0]["Reason"]) == ("break-glass", "ann", "unconscious")
