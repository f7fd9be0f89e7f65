"""Requests that schemathesis makes of /openapi.json, to a gateway of its own: none may be answered 500.

`make schemathesis EXAMPLES=50` makes more of them than the test does.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from tests.support.datasets import sample
from tests.support.processes import Gateway

_ENDLESS = "/ui/events"
"""The path of a stream that never ends."""
_REACHING_OUT = "/tools/dicom-echo"
"""The path of a call to whatever host its body names, which is answered 500 where nobody is there, as by Orthanc."""


def run(folder: Path, examples: int, *, timeout_s: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run schemathesis with so many examples of each call; its exit code is 0 if no answer was a server error."""
    with Gateway(folder / "data") as gateway:
        body = sample("CT_small.dcm").read_bytes()
        with urllib.request.urlopen(urllib.request.Request(f"{gateway.url}/instances", body, method="POST")):
            pass
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{gateway.url}/openapi.json"]
        command += ["--url", gateway.url, "--checks", "not_a_server_error", "--phases", "fuzzing"]
        command += [
            "--max-examples",
            str(examples),
            "--workers",
            "2",
            "--exclude-path",
            _ENDLESS,
            "--exclude-path",
            _REACHING_OUT,
        ]
        command += ["--request-timeout", "10", "--continue-on-failure", "--no-color"]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=timeout_s)


def main() -> int:
    parser = argparse.ArgumentParser(description="Requests after /openapi.json, none of which may be answered 500.")
    parser.add_argument("--examples", type=int, default=50, help="of each call")
    with tempfile.TemporaryDirectory() as folder:
        done = run(Path(folder), parser.parse_args().examples)
    print(done.stdout, done.stderr, sep="\n")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
