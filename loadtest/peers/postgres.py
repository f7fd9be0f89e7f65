"""A PostgreSQL that lasts as long as a `with`: on a Unix socket in a temporary folder, never on the network.

It runs as an unprivileged user, since it refuses to run as root.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from loadtest.peers.process import PATH, NotInstalled, NotStarted

_PATIENCE_S = 40.0
_LOOK_EVERY_S = 0.02


def find_postgresql() -> str:
    """Find the folder of the newest server's programs, which Debian puts on nobody's path. Raises NotInstalled."""
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(found, key=lambda path: float(path.parts[-3]), default=None)
    path = newest if newest is not None else shutil.which("initdb", path=PATH)
    if path is None:
        raise NotInstalled("PostgreSQL is not installed: apt-get install postgresql")
    return str(Path(path).resolve().parent)


@contextlib.contextmanager
def cluster(folder: Path, user: str, *, settings: Sequence[str] = (), synced: bool = True) -> Iterator[str]:
    """Run a new cluster in a folder, with its defaults except `settings`; without `synced`, nothing is flushed.

    Yields the folder of its socket, which takes `user` without a password. Raises NotInstalled, NotStarted.
    """
    programs = find_postgresql()
    folder.mkdir(parents=True, exist_ok=True)
    sockets = tempfile.mkdtemp(prefix="postgresql-")  # Short: the path of a socket has at most 107 bytes.
    data, options = str(folder / "data"), _options(folder, sockets)
    try:
        _initialize([f"{programs}/initdb", "-D", data, "-U", user, "-A", "trust", "-E", "UTF8"], folder, options)
        # It logs when it is ready, and nothing of refused statements.
        fixed = ("listen_addresses=", "log_min_messages=log", "logging_collector=off")
        command = [f"{programs}/postgres", "-D", data, "-k", sockets, *([] if synced else ["-F"])]
        command += [word for each in (*fixed, *settings) for word in ("-c", each)]
        # A file, since it says something of each lost connection, and would wait for whoever does not read a pipe.
        with (folder / "log").open("wb") as log, subprocess.Popen(command, stderr=log, **options) as server:
            log.close()
            try:
                _wait_until_ready(folder / "log", server)
                yield sockets
            finally:
                server.send_signal(signal.SIGQUIT)  # At once: nothing of it is kept.
    finally:
        shutil.rmtree(sockets, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(log: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while b"ready to accept connections" not in (said := log.read_bytes()):
        if time.monotonic() > deadline or server.poll() is not None:
            raise NotStarted(f"PostgreSQL did not start; it says: {said[-2000:].decode(errors='replace')}")
        time.sleep(_LOOK_EVERY_S)


def _initialize(command: list[str], folder: Path, options: dict[str, Any]) -> None:
    made = subprocess.run([*command, "--locale=C", "--no-sync"], capture_output=True, timeout=_PATIENCE_S, **options)
    if b"Permission denied" in made.stderr:
        raise NotInstalled(f"PostgreSQL runs as a user who may not enter {folder}: choose another folder")
    if made.returncode:
        raise NotStarted(f"PostgreSQL made no cluster: {made.stderr.decode(errors='replace').strip()[-500:]}")


def _options(folder: Path, sockets: str) -> dict[str, Any]:
    """Options of subprocess: in English and, if we are root, as another user, to whom both folders are given."""
    options: dict[str, Any] = {
        "cwd": sockets,
        "env": {"PATH": os.environ["PATH"], "LC_ALL": "C"},
        "stdin": subprocess.DEVNULL,
    }
    if os.geteuid() == 0:
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            user = pwd.getpwnam("nobody")
        for each in (folder, sockets):
            os.chown(each, user.pw_uid, user.pw_gid)
        options |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    return options
