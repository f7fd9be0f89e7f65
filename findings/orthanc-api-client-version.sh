#!/usr/bin/env bash
# orthanc-api-client 0.25.3 takes Orthanc 1.13.0 for older than 1.12.1 and 2.0.0 for older than 1.1.0: each of the three
# numbers is compared by itself, so a script that asks `is_orthanc_version_at_least(1, 12, 1)` before it uses labels
# gives them up with the newer server. Without the third number 1.13.0 is newer than 1.12.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check orthanc_api_client==0.25.3

venv/bin/python - <<'EOF'
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from orthanc_api_client import OrthancApiClient


class System(BaseHTTPRequestHandler):
    """`/system` of an Orthanc of that version, as far as the client looks at it."""

    version = ""

    def do_GET(self):
        body = json.dumps({"Version": self.version}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), System)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = OrthancApiClient(f"http://127.0.0.1:{server.server_address[1]}")


def at_least(version, *wanted):
    System.version = version
    return client.is_orthanc_version_at_least(*wanted)


answers = {
    "1.12.11 at least 1.12.1": at_least("1.12.11", 1, 12, 1),
    "1.13.0 at least 1.12.1": at_least("1.13.0", 1, 12, 1),
    "1.13.0 at least 1.12": at_least("1.13.0", 1, 12),
    "2.0.0 at least 1.1.0": at_least("2.0.0", 1, 1, 0),
}
server.shutdown()
for question, answer in answers.items():
    print(f"{question}: {answer}")
sys.exit(0 if list(answers.values()) == [True, False, True, False] else "no longer as found")
EOF
