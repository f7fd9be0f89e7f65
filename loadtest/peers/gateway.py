"""The gateway as a server to compare with: this build, or that of another checkout."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from loadtest.peers.peer import ALONE, GATEWAY, OTHER_BUILD, Peer, Start, Wiring
from loadtest.peers.process import NotInstalled, announces

DICOM_LINE = re.compile(r"^DICOM\s+(?P<aet>\S+)@(?P<host>\S+):(?P<port>\d+)\b")
WEB_LINE = re.compile(r"^Web\s+(?P<base>https?://[^/\s]+)")
_ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def gateway(
    folder: Path,
    *arguments: str,
    wiring: Wiring = ALONE,
    name: str = GATEWAY,
    python: str = sys.executable,
    source: Path = _ROOT,
) -> Iterator[Peer]:
    """Run the gateway with default settings except its folder, its ports and the wiring."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [python, "-m", "gateway", "serve", "--data", str(folder / "data"), "--dicom-port", "0"]
    if wiring.destinations:
        file = folder / "gateway.toml"
        file.write_text("\n".join(_settings(wiring)) + "\n")
        command += ["--config", str(file)]
    command += ["--http-port", "0", *arguments]
    # The checkout goes before what is installed for its Python.
    changes = {"PYTHONPATH": str(source)} if source != _ROOT else {}
    with announces(command, (DICOM_LINE, WEB_LINE), folder / "log.txt", changes) as (pid, (dicom, web)):
        port, data = int(dicom["port"]), folder / "data"
        yield Peer(name, dicom["aet"], port, pid, data, web["base"], source=source)


def other_build(checkout: Path) -> Start:
    """A function that starts the gateway of another checkout, in its `.venv` or else in this environment.

    Raises NotInstalled where there is no gateway.
    """
    source = checkout.resolve()
    if not (source / "gateway" / "__main__.py").is_file():
        raise NotInstalled(f"{checkout} is no checkout of the gateway")
    own = source / ".venv" / "bin" / "python"
    python = str(own) if own.is_file() else sys.executable
    return lambda folder, wiring: gateway(folder, wiring=wiring, name=OTHER_BUILD, python=python, source=source)


def _settings(wiring: Wiring) -> Iterator[str]:
    yield from ("[dicom]", "allow_any_caller = true", 'any_caller_may = ["echo", "store", "find", "move", "get"]')
    for aet, port in wiring.destinations.items():
        yield from (f"[modalities.{aet.lower()}]", f'aet = "{aet}"', 'host = "127.0.0.1"', f"port = {port}")
    if name := wiring.forward_to.lower():
        yield from (f"[destinations.{name}]", 'kind = "dicom"', f'modality = "{name}"')
        yield from ("[rules.everything]", f'destinations = ["{name}"]')
