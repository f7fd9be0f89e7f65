"""`dicom-gateway status`: the state of a running gateway, requested over HTTP."""

from __future__ import annotations

import time
from typing import Any

import typer

from gateway.cli.client import LOCAL, GatewayClient, UrlOption, UserOption
from gateway.cli.common import JsonOption, count, print_json, print_line, size


def status(
    url: UrlOption = LOCAL,
    user: UserOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show whether it is ready, what it holds, and who is sending. Exit code 0 only if it is ready."""
    gateway = GatewayClient(url, user)
    base = gateway.base
    code, readiness = gateway.ask("/readyz")
    ready = code == 200
    statistics = gateway.json("/statistics")
    associations = gateway.json("/associations")
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
