"""Is the gateway in this container alive? Exit code 0 when /livez answers, over HTTPS or HTTP as it is set up."""

import os
import ssl
import sys
import urllib.request

port = os.environ.get("GATEWAY_HTTP__PORT", "8042")
context = ssl.create_default_context()
context.check_hostname = False  # our own listener, by its loopback address: no certificate names that
context.verify_mode = ssl.CERT_NONE

for scheme in ("http", "https"):
    try:
        with urllib.request.urlopen(f"{scheme}://127.0.0.1:{port}/livez", timeout=2, context=context) as answer:
            sys.exit(0 if answer.status == 200 else 1)
    except OSError:
        continue
sys.exit(1)
