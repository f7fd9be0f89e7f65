"""`dicom-gateway status`: what a running gateway says of itself, asked over its HTTP interface."""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from typing import Annotated, Any

import typer

from gateway.cli.common import JsonOption, count, print_json, print_line, size
from gateway.errors import GatewayError


def status(
    url: Annotated[str, typer.Option(envvar="GATEWAY_URL", help="Where the gateway's pages are.")] = (
        "http://127.0.0.1:8042"
    ),
    user: Annotated[
        str | None,
        typer.Option(metavar="NAME[:PASSWORD]", help="Who asks. The password may stand in GATEWAY_PASSWORD instead."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Is it ready, what does it hold, who is sending right now? Exit code 0 only when it is ready."""
    base = url.rstrip("/").removesuffix("/ui")
    header = _authorization(user)
    code, readiness = _get(base + "/readyz", header)
    ready = code == 200
    statistics = _json(base + "/statistics", header)
    associations = _json(base + "/associations", header)
    if as_json:
        print_json({"ready": ready, "readiness": readiness, "statistics": statistics, "associations": associations})
    else:
        _show(base, ready, readiness, statistics, associations)
    if not ready:
        raise typer.Exit(1)


def _show(
    base: str, ready: bool, readiness: str, statistics: dict[str, Any], associations: list[dict[str, Any]]
) -> None:
    print_line(f"{base}: {'ready' if ready else 'NOT READY'}")
    if not ready:
        for line in readiness.splitlines():
            print_line(f"  {line}")
    held = (
        (statistics.get("CountPatients", 0), "patient", "patients"),
        (statistics.get("CountStudies", 0), "study", "studies"),
        (statistics.get("CountSeries", 0), "series", "series"),
        (statistics.get("CountInstances", 0), "instance", "instances"),
    )
    total = int(statistics.get("TotalDiskSize", 0))
    print_line(
        "  " + ", ".join(count(int(number), one, many) for number, one, many in held) + f"; {size(total)} on disk"
    )
    print_line(f"  {count(len(associations), 'open association')}")
    for each in associations:
        fields = {name.lower(): value for name, value in each.items()}
        since = float(fields.get("since") or time.time())
        print_line(
            f"    {fields.get('callingaet', '?'):<16} from {fields.get('host', '?')}, {time.time() - since:.0f} s: "
            f"{count(int(fields.get('instances', 0)), 'instance')}, {size(float(fields.get('bytes', 0)))}"
        )


def _authorization(user: str | None) -> dict[str, str]:
    if user is None:
        return {}
    name, colon, password = user.partition(":")
    if not colon:
        password = os.environ.get("GATEWAY_PASSWORD") or ""
        if not password:
            if not sys.stdin.isatty():
                sys.stderr.write("dicom-gateway: no password: give --user NAME:PASSWORD, or set GATEWAY_PASSWORD\n")
                raise typer.Exit(2)
            password = typer.prompt(f"Password of {name}", hide_input=True, err=True)
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def _get(url: str, headers: dict[str, str]) -> tuple[int, str]:
    """Status and text. Raises GatewayError where nobody answers, or the answer is that we may not ask."""
    import urllib.error
    import urllib.request

    if not url.startswith(("http://", "https://")):
        sys.stderr.write(f"dicom-gateway: --url: {url!r} begins with neither http:// nor https://\n")
        raise typer.Exit(2)
    # A proxy of the environment has no business between an operator and the gateway.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            if error.code in (401, 403):
                raise GatewayError(f"{url}: answered {error.code}: give the right --user NAME[:PASSWORD]") from None
            return error.code, error.read().decode(errors="replace")
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise GatewayError(f"{url}: no answer: {reason}. Is the gateway running there?") from None


def _json(url: str, headers: dict[str, str]) -> Any:
    code, text = _get(url, headers)
    if code != 200:
        raise GatewayError(f"{url}: answered {code}: {text[:200].strip()}")
    try:
        return json.loads(text)
    except ValueError:
        raise GatewayError(f"{url}: the answer is not JSON; is that a DICOM gateway?") from None
