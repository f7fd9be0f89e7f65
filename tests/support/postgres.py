"""A PostgreSQL of its own for as long as a `with` lasts: on a Unix socket in a temporary folder, never on the network.

It runs as an unprivileged user, since it refuses to run as root. Nothing of it is synced, and nothing is left of it.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loadtest.peers.process import NotStarted, read_lines
from tests.support import peers

USER = "gateway"
_PATIENCE_S = 40.0


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """The folder of its socket, which takes `USER` without a password. Skips, or fails in CI, where there is none."""
    programs = peers.need("postgresql")
    folder = tempfile.mkdtemp(prefix="gateway-postgres-")  # short: the path of a socket has at most 107 bytes
    data, options = f"{folder}/data", _as_who_may_run_it(folder)
    try:
        made = [f"{programs}/initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, timeout=_PATIENCE_S, **options)
        # It says when it is ready, and nothing of the statements that it refuses: nobody reads its pipe after that.
        settings = ("listen_addresses=", "max_connections=10", "log_min_messages=log", "logging_collector=off")
        command = [
            f"{programs}/postgres",
            "-D",
            data,
            "-k",
            folder,
            "-F",
            *(x for each in settings for x in ("-c", each)),
        ]
        with subprocess.Popen(command, stderr=subprocess.PIPE, **options) as server:
            try:
                assert server.stderr is not None
                said = []
                for line in read_lines(server.stderr, time.monotonic() + _PATIENCE_S):
                    said.append(line)
                    if "ready to accept connections" in line:
                        break
                else:
                    raise NotStarted(f"PostgreSQL did not start; it says: {said[-20:]}")
                yield folder
            finally:
                server.send_signal(signal.SIGQUIT)  # at once: nothing of it is kept
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_who_may_run_it(folder: str) -> dict[str, Any]:
    """Options of subprocess: in `folder`, in English and, where we are root, as another user, who is given it."""
    options: dict[str, Any] = {
        "cwd": Path(folder),
        "env": {"PATH": os.environ["PATH"], "LC_ALL": "C"},
        "stdin": subprocess.DEVNULL,
    }
    if os.geteuid() == 0:
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            user = pwd.getpwnam("nobody")
        os.chown(folder, user.pw_uid, user.pw_gid)
        options |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    return options
