"""Programs that are run for as long as a `with` lasts: found, started, waited for until they listen, killed.

`tuned` sets TCP_NODELAY=1 in the environment, which programs built on DCMTK obey; they leave Nagle's algorithm on
otherwise.
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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from gateway.errors import GatewayError

PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
"""Where programs are looked for."""
_PATIENCE = 20.0
"""Seconds for a program to listen."""


class NotInstalled(GatewayError):
    """The program is not on this machine; the text says how to get it."""


class NotStarted(GatewayError):
    """The program ended, or did not listen in time; the text has the end of its log."""


def find(*names: str, package: str) -> str:
    """The path of a program under one of its names. Raises NotInstalled."""
    for name in names:
        if (path := shutil.which(name, path=PATH)) is not None:
            return path
    raise NotInstalled(f"{names[0]} is not installed: apt-get install {package}")


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
def listens(command: Sequence[str], ports: Sequence[int], log: Path, *, tuned: bool) -> Iterator[int]:
    """A program that listens on ports that we chose for it. Gives its process id. Raises NotStarted."""
    with _run(command, log, tuned=tuned, stdout=None) as process:
        deadline = time.monotonic() + _PATIENCE
        while process.poll() is None and not all(map(is_listening, ports)) and time.monotonic() < deadline:
            time.sleep(0.02)
        if process.poll() is not None or time.monotonic() >= deadline:
            raise _not_started(command, log)
        yield process.pid


@contextlib.contextmanager
def says(
    command: Sequence[str], patterns: Sequence[re.Pattern[str]], log: Path
) -> Iterator[tuple[int, list[re.Match[str]]]]:
    """A program that says on standard output, a line for each pattern in turn, where it listens. Raises NotStarted."""
    with _run(command, log, tuned=False, stdout=subprocess.PIPE) as process:
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
    """Lines of a pipe until its end or the deadline (of `time.monotonic`)."""
    kept = b""
    while (left := deadline - time.monotonic()) > 0 and select.select([pipe], [], [], left)[0]:
        data = os.read(pipe.fileno(), 65536)
        if not data:
            return
        *lines, kept = (kept + data).split(b"\n")
        yield from (line.decode(errors="replace").rstrip() for line in lines)


@contextlib.contextmanager
def _run(command: Sequence[str], log: Path, *, tuned: bool, stdout: int | None) -> Iterator[subprocess.Popen[bytes]]:
    """A program, killed on the way out, for nothing of it is kept."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=environment(tuned),
            stdin=subprocess.DEVNULL,
            stdout=output if stdout is None else stdout,
            stderr=output,
            process_group=0,  # Ctrl-C is for us alone: what was stored is still asked for.
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # And what it has forked.
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _not_started(command: Sequence[str], log: Path) -> NotStarted:
    return NotStarted(f"{' '.join(command[:4])} did not start; its log ends: {log.read_text(errors='replace')[-1500:]}")
