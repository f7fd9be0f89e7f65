"""Programs that tests start: the gateway itself, Orthanc, storescp. Every one is gone when its `with` ends.

Ports are the system's choice, folders are the test's. Peers are started as the load generator starts them
(`loadtest.peers`); finding their programs is in `peers.py`.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from loadtest.peers import NotStarted, Peer, free_port, is_listening, servers
from loadtest.peers.process import listens, read_lines
from tests.support import peers
from tests.support.waiting import wait_until

__all__ = [
    "ROOT",
    "Gateway",
    "NotStarted",
    "Peer",
    "children",
    "dcmqrscp",
    "free_port",
    "http_get",
    "is_listening",
    "is_running",
    "orthanc",
    "qrscp",
    "storescp",
]

ROOT = Path(__file__).parents[2]
DICOM_LINE = re.compile(r"^DICOM  (?P<aet>.+)@(?P<host>\S+):(?P<port>\d+)   ")
TLS_LINE = re.compile(r"^TLS    .+@\S+:(?P<port>\d+)$")
WEB_LINE = re.compile(r"^Web\s+(?P<base>https?://\S+?)/ui/")


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
        self.environment = {"PYTHONUNBUFFERED": "1", "GATEWAY_STORAGE__MIN_FREE": "0", "GATEWAY_SERVER__WORKERS": "1"}
        self.environment.update(environment or {})
        self.prefix = prefix
        self.log_file = log or data.with_name(data.name + ".log")
        self.host, self.port, self.url, self.aet = "", 0, "", ""
        self.seconds_to_listen = 0.0
        self.lines: list[str] = []
        self.process: subprocess.Popen[str] | None = None

    def start(self, timeout: float = 30.0) -> Self:
        """Raises NotStarted."""
        assert self.process is None, "it is running"
        command = [*self.prefix, sys.executable, "-m", "gateway", "serve", "--data", str(self.data)]
        command += ["--dicom-port", "0", "--http-port", "0", *self.arguments]
        environment = {name: text for name, text in os.environ.items() if not name.startswith("GATEWAY_")}
        self.lines, self.port, self.url = [], 0, ""
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
        """SIGSTOP, its keepers too, and wait until the last thread has stopped: one in a system call finishes that
        first.
        """
        some = [self.pid, *children(self.pid)]
        for pid in some:
            os.kill(pid, signal.SIGSTOP)

        def stopped() -> bool:
            tasks = [task for pid in some for task in Path(f"/proc/{pid}/task").iterdir()]
            return {(task / "stat").read_text().rpartition(")")[2].split()[0] for task in tasks} == {"T"}

        wait_until(stopped, timeout, "not every thread has stopped")

    def kill(self) -> None:
        """kill -9. Its keepers end by themselves, those that are frozen once they are let."""
        orphans = children(self.pid) if self.process is not None else []
        self._end(signal.SIGKILL, 10)
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

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
        try:
            wait_until(lambda: self.get("/readyz")[0] == 200, timeout)
        except AssertionError:
            raise NotStarted(f"not ready after {timeout:g} s\n{self.log[-4000:]}") from None

    def __enter__(self) -> Self:
        return self if self.process else self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()


def children(pid: int) -> list[int]:
    """The processes that a process has started and that have not been waited for; none of a process that is gone."""
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that ends at this moment
                found += map(int, (task / "children").read_text().split())
    return found


def is_running(pid: int) -> bool:
    """Whether there is such a process, one that waits to be reaped apart."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


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


@contextlib.contextmanager
def orthanc(folder: Path, *, dicomweb: bool = False, tuned: bool = True, **settings: object) -> Iterator[Peer]:
    """Debian's Orthanc with SQLite in `folder`; skips or fails where it is not installed."""
    for name in ("orthanc", *(["orthanc-dicomweb"] if dicomweb else [])):
        peers.need(name)
    options = {"UnknownSopClassAccepted": True, **settings}
    with servers.orthanc(folder, tuned=tuned, dicomweb=dicomweb, **options) as peer:
        yield peer


@contextlib.contextmanager
def storescp(folder: Path, *arguments: str, tuned: bool = True) -> Iterator[Peer]:
    """DCMTK's storescp, one process an association, takes any transfer syntax, writes into the peer's `folder`."""
    peers.need("storescp")
    with servers.storescp(folder, "+xa", *arguments, tuned=tuned) as peer:
        yield peer


@contextlib.contextmanager
def dcmqrscp(folder: Path, destinations: Mapping[str, int] | None = None, *, tuned: bool = True) -> Iterator[Peer]:
    """DCMTK's archive, which stores, finds, moves and gives; `destinations` are AE titles with ports on this host."""
    peers.need("dcmqrscp")
    with servers.dcmqrscp(folder, tuned=tuned, destinations=destinations) as peer:
        yield peer


@contextlib.contextmanager
def qrscp(folder: Path, destinations: Mapping[str, int] | None = None) -> Iterator[Peer]:
    """pynetdicom's archive, as `dcmqrscp`."""
    peers.need("sqlalchemy")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    lines = ["[DEFAULT]", "ae_title: QRSCP", f"port: {port}", "max_pdu: 16382", "bind_address: 127.0.0.1"]
    lines += [f"{name}_timeout: 30" for name in ("acse", "dimse", "network")]
    lines += [f"instance_location: {folder / 'instances'}", f"database_location: {folder / 'index.sqlite'}"]
    lines += ["log_identifier: False"]
    for aet, at in (destinations or {}).items():
        lines += [f"[{aet}]", "address: 127.0.0.1", f"port: {at}"]
    (folder / "qrscp.ini").write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "pynetdicom", "qrscp", "-c", str(folder / "qrscp.ini")]
    with listens(command, [port], folder / "qrscp.log", tuned=False) as pid:
        yield Peer("qrscp", "QRSCP", port, pid, folder / "instances")
