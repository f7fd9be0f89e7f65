"""Programs that tests start: the gateway itself, Orthanc, storescp. Every one is gone when its `with` ends.

Ports are the system's choice, folders are the test's. Finding the peers' programs is in `peers.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.support import peers

ROOT = Path(__file__).parents[2]
DICOM_LINE = re.compile(r"^DICOM  (?P<aet>.+)@(?P<host>\S+):(?P<port>\d+)   ")
TLS_LINE = re.compile(r"^TLS    .+@\S+:(?P<port>\d+)$")
WEB_LINE = re.compile(r"^Web\s+(?P<base>https?://\S+?)/ui/")


class NotStarted(Exception):
    """The program ended, or did not come up in time; the text has the end of its log."""


class Gateway:
    """`dicom-gateway serve` as its own process on ports that the system chooses.

    `start()` returns when both listeners are up. `kill()` is kill -9; `stop()` is SIGTERM and waits for the drain.
    The same object can be started again on the same data.
    """

    def __init__(
        self,
        data: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        prefix: tuple[str, ...] = (),
        log: Path | None = None,
    ) -> None:
        self.data = data
        self.arguments = arguments
        self.environment = {"PYTHONUNBUFFERED": "1", "GATEWAY_STORAGE__MIN_FREE": "0", **(environment or {})}
        self.prefix = prefix
        self.log_file = log or data.with_name(data.name + ".log")
        self.host, self.port, self.url, self.aet = "", 0, "", ""
        self.seconds_to_listen = 0.0
        self.lines: list[str] = []
        self.process: subprocess.Popen[str] | None = None

    def start(self, timeout: float = 15.0) -> Self:
        """Raises NotStarted."""
        assert self.process is None, "it is running"
        command = [*self.prefix, sys.executable, "-m", "gateway", "serve", "--data", str(self.data)]
        command += ["--dicom-port", "0", "--http-port", "0", *self.arguments]
        environment = {name: text for name, text in os.environ.items() if not name.startswith("GATEWAY_")}
        began = time.monotonic()
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**environment, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        self.lines, self.port, self.url = [], 0, ""
        for line in read_lines(self.process.stdout, began + timeout):
            self.lines.append(line)
            if match := DICOM_LINE.match(line):
                self.aet, self.host, self.port = match["aet"], match["host"], int(match["port"])
            if match := WEB_LINE.match(line):
                self.url = match["base"]
            if self.port and self.url:
                self.seconds_to_listen = time.monotonic() - began
                return self
        self.kill()
        raise NotStarted(f"the gateway did not come up in {timeout:g} s: {self.lines}\n{self.log[-4000:]}")

    @property
    def tls_port(self) -> int:
        """The port of DICOM over TLS."""
        (match,) = (match for line in self.lines if (match := TLS_LINE.match(line)))
        return int(match["port"])

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    @property
    def pid(self) -> int:
        assert self.process is not None, "it is not running"
        return self.process.pid

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None, "it is not running"
        self.process.send_signal(number)

    def freeze(self, timeout: float = 10.0) -> None:
        """SIGSTOP, and wait until the last thread has stopped: one in a system call finishes that first."""
        self.signal(signal.SIGSTOP)
        tasks = Path(f"/proc/{self.pid}/task")

        def stopped() -> bool:
            states = [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in tasks.iterdir()]
            return set(states) == {"T"}

        wait_until(stopped, timeout, "not every thread has stopped")

    def kill(self) -> None:
        """kill -9, and no more of it when this returns."""
        self._end(signal.SIGKILL, 10)

    def stop(self, timeout: float = 30.0) -> int:
        """SIGTERM; the exit code once it has drained. Killed, and TimeoutExpired, where it does not end in time."""
        return self._end(signal.SIGTERM, timeout)

    def wait(self, timeout: float) -> int:
        """Its exit code once it has ended by itself."""
        return self._end(None, timeout)

    def _end(self, number: signal.Signals | None, timeout: float) -> int:
        process = self.process
        if process is None:
            return 0
        try:
            if number is not None:
                process.send_signal(number)
            return process.wait(timeout)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(10)
            if process.stdout is not None:
                process.stdout.close()
            self.process = None

    def get(self, path: str, timeout: float = 5.0) -> tuple[int, bytes]:
        """Status and body of an HTTP GET; never raises for a status."""
        return http_get(self.url + path, timeout)

    def wait_ready(self, timeout: float = 10.0) -> None:
        """Until /readyz says yes. Raises NotStarted."""
        wait_until(lambda: self.get("/readyz")[0] == 200, timeout, f"not ready\n{self.log[-4000:]}")

    def __enter__(self) -> Self:
        return self if self.process else self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()


def read_lines(pipe: IO[str], deadline: float) -> Iterator[str]:
    """Lines of a pipe until its end or the deadline (of `time.monotonic`)."""
    descriptor, kept = pipe.fileno(), b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([descriptor], [], [], left)[0]:
            return
        data = os.read(descriptor, 65536)
        if not data:
            return
        *lines, kept = (kept + data).split(b"\n")
        yield from (line.decode(errors="replace").rstrip() for line in lines)


def http_get(url: str, timeout: float = 5.0) -> tuple[int, bytes]:
    """Status and body; 0 where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except OSError:
        return 0, b""


def wait_until(condition: Callable[[], bool], timeout: float, text: str = "") -> None:
    """Poll until the callable is true. Raises NotStarted with the text."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise NotStarted(f"after {timeout:g} s: {text}")
        time.sleep(0.02)


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
def program(command: list[str], ports: list[int], log: Path, *, tuned: bool, timeout: float = 20.0) -> Iterator[int]:
    """Run a peer until the `with` ends; entered once it listens on all its ports. Gives its process id.

    `tuned` sets TCP_NODELAY=1, DCMTK's switch against Nagle's algorithm.
    """
    environment = {**os.environ, **({"TCP_NODELAY": "1"} if tuned else {})}
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        wait_until(
            lambda: process.poll() is not None or all(map(is_listening, ports)),
            timeout,
            f"{command[0]} does not listen",
        )
        if process.poll() is not None:
            raise NotStarted(f"{command[0]} ended: {log.read_text(errors='replace')[-2000:]}")
        yield process.pid
    finally:
        process.kill()
        process.wait(10)


class Peer:
    """Where a started peer listens."""

    def __init__(self, aet: str, port: int, url: str, pid: int, folder: Path) -> None:
        self.aet, self.host, self.port, self.url, self.pid, self.folder = aet, "127.0.0.1", port, url, pid, folder


@contextlib.contextmanager
def orthanc(folder: Path, *, dicomweb: bool = False, tuned: bool = True, **settings: object) -> Iterator[Peer]:
    """Debian's Orthanc with SQLite in `folder`; skips or fails where it is not installed."""
    path = peers.need("orthanc")
    plugins = [peers.need("orthanc-dicomweb")] if dicomweb else []
    folder.mkdir(parents=True, exist_ok=True)
    dicom, http = free_port(), free_port()
    configuration = {
        "Name": "peer",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": plugins,
        "DicomAet": "ORTHANC",
        "DicomPort": dicom,
        "HttpPort": http,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "UnknownSopClassAccepted": True,
        **settings,
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration, indent=1))
    with program([path, str(folder / "orthanc.json")], [dicom, http], folder / "orthanc.log", tuned=tuned) as pid:
        yield Peer("ORTHANC", dicom, f"http://127.0.0.1:{http}", pid, folder)


@contextlib.contextmanager
def storescp(folder: Path, *arguments: str, tuned: bool = True) -> Iterator[Peer]:
    """DCMTK's storescp, one process an association, writing into `folder`."""
    path = peers.need("storescp")
    output = folder / "received"
    output.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [path, "--fork", "--aetitle", "STORESCP", "-od", str(output), "+xa", *arguments, str(port)]
    with program(command, [port], folder / "storescp.log", tuned=tuned) as pid:
        yield Peer("STORESCP", port, "", pid, output)


@contextlib.contextmanager
def dcmqrscp(folder: Path, destinations: Mapping[str, int] | None = None, *, tuned: bool = True) -> Iterator[Peer]:
    """DCMTK's archive, which stores, finds, moves and gives; `destinations` are AE titles with ports on this host."""
    path = peers.need("dcmqrscp")
    archive = folder / "archive"
    archive.mkdir(parents=True, exist_ok=True)
    port = free_port()
    hosts = [
        f"host{number} = ({aet}, 127.0.0.1, {at})" for number, (aet, at) in enumerate((destinations or {}).items())
    ]
    lines = [f"NetworkTCPPort = {port}", "MaxPDUSize = 131072", "MaxAssociations = 16"]
    lines += ["HostTable BEGIN", *hosts, "HostTable END", "VendorTable BEGIN", "VendorTable END"]
    lines += ["AETable BEGIN", f"DCMQRSCP {archive} RW (100, 1024mb) ANY", "AETable END"]
    (folder / "dcmqrscp.cfg").write_text("\n".join(lines) + "\n")
    command = [path, "-c", str(folder / "dcmqrscp.cfg")]
    with program(command, [port], folder / "dcmqrscp.log", tuned=tuned) as pid:
        yield Peer("DCMQRSCP", port, "", pid, archive)
