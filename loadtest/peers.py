"""The servers that are compared, started on loopback, on ports that are free, in folders of their own.

Each is a context manager: entered once the server listens, killed when the `with` ends. `tuned` sets TCP_NODELAY=1 in
the environment, which programs built on DCMTK obey (they leave Nagle's algorithm on otherwise). What is sent to them
is not decided here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from gateway.errors import GatewayError

_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
_ORTHANC_PLUGINS = tuple(Path(top) / "orthanc/plugins" for top in ("/usr/share", "/usr/lib", "/usr/local/share"))
_DICOM_LINE = re.compile(r"^DICOM\s+(?P<aet>\S+)@(?P<host>\S+):(?P<port>\d+)\b")
_WEB_LINE = re.compile(r"^Web\s+(?P<base>https?://\S+?)/ui/")


class NotInstalled(GatewayError):
    """The program is not on this machine; the text says how to get it."""


class NotStarted(GatewayError):
    """The program ended, or did not listen in time; the text has the end of its log."""


@dataclasses.dataclass(frozen=True, slots=True)
class Peer:
    """Where a server listens."""

    name: str
    aet: str
    port: int
    pid: int
    dicomweb: str = ""
    """Base URL of its DICOMweb service, if it has one."""
    tuned: bool = False
    host: str = "127.0.0.1"


@contextlib.contextmanager
def gateway(folder: Path, *arguments: str) -> Iterator[Peer]:
    """The gateway of this environment, with no configuration but a folder and free ports."""
    command = [sys.executable, "-m", "gateway", "serve", "--data", str(folder / "data"), "--dicom-port", "0"]
    with _said([*command, "--http-port", "0", *arguments], folder, (_DICOM_LINE, _WEB_LINE)) as (pid, (dicom, web)):
        yield Peer("gateway", dicom["aet"], int(dicom["port"]), pid, f"{web['base']}/dicom-web")


@contextlib.contextmanager
def sink(folder: Path) -> Iterator[Peer]:
    """What answers at once and keeps nothing (`sink.py`)."""
    command = [sys.executable, "-m", "loadtest", "sink", "127.0.0.1", "0"]
    with _said(command, folder, (_DICOM_LINE,)) as (pid, (dicom,)):
        yield Peer("sink", dicom["aet"], int(dicom["port"]), pid)


@contextlib.contextmanager
def orthanc(folder: Path, *, tuned: bool = False, dicomweb: bool = True, **settings: object) -> Iterator[Peer]:
    """Orthanc with SQLite and synchronous storage, its other settings its own defaults; `settings` override them."""
    program = find("Orthanc", "orthanc", package="orthanc")
    plugins = [find_orthanc_dicomweb()] if dicomweb else []
    dicom, http = free_port(), free_port()
    configuration = {
        "Name": "loadtest",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "SyncStorageArea": True,
        "Plugins": plugins,
        "DicomAet": "ORTHANC",
        "DicomPort": dicom,
        "HttpPort": http,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        **settings,
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "orthanc.json"
    file.write_text(json.dumps(configuration, indent=1))
    with _listens([program, str(file)], [dicom, http], folder, tuned=tuned) as pid:
        url = f"http://127.0.0.1:{http}/dicom-web" if dicomweb else ""
        yield Peer("orthanc-tuned" if tuned else "orthanc", "ORTHANC", dicom, pid, url, tuned)


@contextlib.contextmanager
def storescp(folder: Path, *arguments: str, tuned: bool = False) -> Iterator[Peer]:
    """DCMTK's storescp, one process for each association. It neither syncs nor indexes."""
    program = find("storescp", package="dcmtk")
    output = folder / "received"
    output.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [program, "--fork", "--aetitle", "STORESCP", "-od", str(output), *arguments, str(port)]
    with _listens(command, [port], folder, tuned=tuned) as pid:
        yield Peer("storescp-tuned" if tuned else "storescp", "STORESCP", port, pid, tuned=tuned)


PEERS: dict[str, Callable[[Path], contextlib.AbstractContextManager[Peer]]] = {
    "gateway": gateway,
    "orthanc": orthanc,
    "orthanc-tuned": lambda folder: orthanc(folder, tuned=True),
    "storescp": storescp,
    "storescp-tuned": lambda folder: storescp(folder, tuned=True),
    "sink": sink,
}


def find(*names: str, package: str) -> str:
    """The path of a program under one of its names. Raises NotInstalled."""
    for name in names:
        if (path := shutil.which(name, path=_PATH)) is not None:
            return path
    raise NotInstalled(f"{names[0]} is not installed: apt-get install {package}")


def find_orthanc_dicomweb() -> str:
    """The path of Orthanc's DICOMweb plugin. Raises NotInstalled."""
    for folder in _ORTHANC_PLUGINS:
        for path in folder.glob("libOrthancDicomWeb.so*"):
            return str(path)
    raise NotInstalled("Orthanc's DICOMweb plugin is not installed: apt-get install orthanc-dicomweb")


def environment(tuned: bool) -> dict[str, str]:
    """For a program built on DCMTK, and for the gateway: no settings of the shell that we are in leak into it."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("GATEWAY_")}
    kept.pop("TCP_NODELAY", None)
    return {**kept, "TCP_NODELAY": "1"} if tuned else kept


def free_port() -> int:
    """A TCP port that was free a moment ago, for programs that cannot choose their own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def _run(
    command: Sequence[str], folder: Path, *, tuned: bool, stdout: int | None
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A program with its log in the folder; killed on the way out, for nothing of it is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=environment(tuned),
            stdin=subprocess.DEVNULL,
            stdout=output if stdout is None else stdout,
            stderr=output,
        )
    try:
        yield process, log
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@contextlib.contextmanager
def _listens(
    command: Sequence[str], ports: Sequence[int], folder: Path, *, tuned: bool, timeout: float = 20.0
) -> Iterator[int]:
    """A program that listens on ports that we chose for it."""
    with _run(command, folder, tuned=tuned, stdout=None) as (process, log):
        deadline = time.monotonic() + timeout
        while process.poll() is None and not all(map(is_listening, ports)) and time.monotonic() < deadline:
            time.sleep(0.02)
        if process.poll() is not None or time.monotonic() >= deadline:
            raise _not_started(command, log)
        yield process.pid


@contextlib.contextmanager
def _said(
    command: Sequence[str], folder: Path, patterns: Sequence[re.Pattern[str]], timeout: float = 20.0
) -> Iterator[tuple[int, list[re.Match[str]]]]:
    """A program that says on standard output, a line for each pattern in turn, where it listens."""
    with _run(command, folder, tuned=False, stdout=subprocess.PIPE) as (process, log):
        assert process.stdout is not None
        matches: list[re.Match[str]] = []
        for line in _lines(process.stdout, time.monotonic() + timeout):
            if match := patterns[len(matches)].match(line):
                matches.append(match)
            if len(matches) == len(patterns):
                break
        else:
            raise _not_started(command, log)
        yield process.pid, matches


def _lines(pipe: IO[bytes], deadline: float) -> Iterator[str]:
    """Lines of a pipe until its end or the deadline."""
    kept = b""
    while (left := deadline - time.monotonic()) > 0 and select.select([pipe], [], [], left)[0]:
        data = os.read(pipe.fileno(), 65536)
        if not data:
            return
        *lines, kept = (kept + data).split(b"\n")
        yield from (line.decode(errors="replace").rstrip() for line in lines)


def _not_started(command: Sequence[str], log: Path) -> NotStarted:
    return NotStarted(f"{' '.join(command[:4])} did not start; its log ends: {log.read_text(errors='replace')[-1500:]}")
