"""What servers promise when they answer success, and which versions of them run.

The promises were seen with strace at C-STOREs of 512 KB, and tests/loadtest/test_promises.py sees them again.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

from loadtest.peers.peer import GATEWAY, OTHER_BUILD, Peer
from loadtest.peers.postgres import find_postgresql
from loadtest.peers.process import find

_TIMEOUT_S = 10.0


class Promise(NamedTuple):
    """What has happened to an instance when the sender is told that it is stored."""

    servers: tuple[str, ...]
    object_flushed: bool
    """Whether the bytes of the instance are on the disk."""
    indexed: bool
    """Whether a query finds the instance."""
    index_flushed: bool
    """Whether that survives a power cut."""
    remark: str = ""
    replayed: bool = False
    """Whether the index is made again from the objects, so that it needs no flush of its own."""


PROMISES = (
    Promise((GATEWAY,), True, True, True, "one flush: the index is made again from what it covers", replayed=True),
    Promise(
        ("orthanc", "orthanc-tuned"),
        True,
        True,
        False,
        "`SyncStorageArea`, its default, flushes the file; SQLite flushes its log later: a power cut may take the last "
        "entries of the index",
    ),
    Promise(
        ("orthanc-postgresql", "orthanc-postgresql-tuned"), True, True, True, "PostgreSQL with its default settings"
    ),
    Promise(("dcmqrscp", "dcmqrscp-tuned"), False, True, False, "one index file for everything"),
    Promise(("storescp", "storescp-tuned"), False, False, False, "a file in a folder"),
    Promise(("pynetdicom",), False, False, False, "a file in a folder"),
    Promise(("sink",), False, False, False, "keeps nothing: it shows what the sender can do"),
)


def version_of(peer: Peer) -> str:
    """The version of a running server, with that of what it is built on; "reached by address" if it is not ours."""
    kind = peer.name.removesuffix("-tuned")
    if peer.source is not None:
        return _build(peer.source)
    if kind in ("orthanc", "orthanc-postgresql"):
        return _orthanc(peer, postgresql=kind == "orthanc-postgresql")
    if kind in ("storescp", "dcmqrscp"):
        return _printed([find(kind, package="dcmtk"), "--version"]).strip("$ ")
    if kind == "pynetdicom":
        return f"pynetdicom {importlib.metadata.version('pynetdicom')}"
    return "of this generator" if kind == "sink" else "reached by address"


def promise_of(name: str) -> Promise | None:
    """The promise of a server by its name; None if it is not known."""
    wanted = GATEWAY if name == OTHER_BUILD else name
    return next((promise for promise in PROMISES if wanted in promise.servers), None)


def _build(source: Path) -> str:
    """The version of a gateway in a checkout, with the commit and whether files differ from it."""
    text = (source / "gateway" / "__init__.py").read_text()
    version = re.search(r'__version__ = "([^"]+)"', text)
    found = f"gateway {version[1] if version else 'of no version'}"
    if not (source / ".git").exists():
        return found  # Git would answer for a repository around it.
    commit = _printed(["git", "-C", str(source), "log", "-1", "--format=%h"])
    changed = _printed(["git", "-C", str(source), "status", "--porcelain", "--untracked-files=no", "--", "gateway"])
    state = f" at {commit}{' with changes' if changed else ''}" if commit else ""
    return f"{found}{state}"


def _orthanc(peer: Peer, *, postgresql: bool) -> str:
    parts = [f"Orthanc {_asked(peer, 'system')}", f"DICOMweb {_asked(peer, 'plugins/dicom-web')}"]
    if postgresql:
        server = _printed([f"{find_postgresql()}/postgres", "--version"]).partition(") ")[2].partition(" ")[0]
        parts += [f"plugin {_asked(peer, 'plugins/postgresql-index')}", f"PostgreSQL {server}"]
    return ", ".join(parts)


def _asked(peer: Peer, path: str) -> str:
    try:
        with urlopen(f"{peer.url}/{path}", timeout=_TIMEOUT_S) as answer:
            return str(json.load(answer)["Version"])
    except (OSError, ValueError, KeyError):
        return "of no known version"


def _printed(command: list[str]) -> str:
    """The first line that a program prints; empty if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace").partition("\n")[0].strip() if done.returncode == 0 else ""
