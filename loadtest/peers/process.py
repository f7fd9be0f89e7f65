"""Programs run for as long as a `with` lasts: found, started, waited for until they listen, killed.

`tuned` sets TCP_NODELAY=1 in the environment, for programs built on DCMTK: without it they leave Nagle's algorithm on.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from gateway.errors import GatewayError

PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
"""Folders searched for programs."""
_PATIENCE = 20.0
"""Seconds to wait until a program listens."""


class NotInstalled(GatewayError):
    """The program is not installed; the text says how to get it."""


class NotStarted(GatewayError):
    """The program ended, or did not listen in time; the text has the last lines of its log."""


def find(*names: str, package: str) -> str:
    """Find the path of a program by one of its names. Raises NotInstalled."""
    for name in names:
        if (path := shutil.which(name, path=PATH)) is not None:
            return path
    raise NotInstalled(f"{names[0]} is not installed: apt-get install {package}")


def environment(tuned: bool, changes: Mapping[str, str] = {}) -> dict[str, str]:
    """The environment of a program built on DCMTK, or of the gateway; no settings of the calling shell leak into it."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("GATEWAY_")}
    kept.pop("TCP_NODELAY", None)
    kept["PYTHONSAFEPATH"] = "1"  # Another build imports its own gateway, not that of the working directory.
    return {**kept, **({"TCP_NODELAY": "1"} if tuned else {}), **changes}


def free_port() -> int:
    """Find a TCP port that was free a moment ago, for programs that cannot choose a port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def listens(command: Sequence[str], ports: Sequence[int], log: Path, *, tuned: bool) -> Iterator[int]:
    """Run a program that listens on ports chosen for it, and yield its process id. Raises NotStarted."""
    with _run(command, log, environment(tuned), stdout=None) as process:
        deadline = time.monotonic() + _PATIENCE
        while process.poll() is None and not all(map(is_listening, ports)) and time.monotonic() < deadline:
            time.sleep(0.02)
        if process.poll() is not None or time.monotonic() >= deadline:
            raise _not_started(command, log)
        yield process.pid


@contextlib.contextmanager
def announces(
    command: Sequence[str], patterns: Sequence[re.Pattern[str]], log: Path, changes: Mapping[str, str] = {}
) -> Iterator[tuple[int, list[re.Match[str]]]]:
    """Run a program that prints where it listens: one line for each pattern, in order. Raises NotStarted.

    `changes` is added to its environment.
    """
    with _run(command, log, environment(tuned=False, changes=changes), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        matches: list[re.Match[str]] = []
        for line in read_lines(process.stdout, time.monotonic() + _PATIENCE):
            if match := patterns[len(matches)].match(line):
                matches.append(match)
            if len(matches) == len(patterns):
                break
        else:
            raise _not_started(command, log)
        yield process.pid, matches


def read_lines(pipe: IO[bytes] | IO[str], deadline: float) -> Iterator[str]:
    """Read the lines of a pipe until its end or the deadline (`time.monotonic`)."""
    kept = b""
    while (left := deadline - time.monotonic()) > 0 and select.select([pipe], [], [], left)[0]:
        data = os.read(pipe.fileno(), 65536)
        if not data:
            return
        *lines, kept = (kept + data).split(b"\n")
        yield from (line.decode(errors="replace").rstrip() for line in lines)


@contextlib.contextmanager
def _run(
    command: Sequence[str], log: Path, variables: Mapping[str, str], *, stdout: int | None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program, and kill it at the end: nothing that it stored is needed any more."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output if stdout is None else stdout,
            stderr=output,
            process_group=0,  # Ctrl-C must not reach the program: verification still queries it.
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # With the processes that it has forked.
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _not_started(command: Sequence[str], log: Path) -> NotStarted:
    return NotStarted(f"{' '.join(command[:4])} did not start; its log ends: {log.read_text(errors='replace')[-1500:]}")
