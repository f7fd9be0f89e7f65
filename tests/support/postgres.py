"""A PostgreSQL of its own for as long as a `with` lasts; nothing of it is synced, and nothing is left of it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from loadtest.peers.postgres import cluster
from tests.support import peers

USER = "gateway"


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """The folder of its socket, which takes `USER` without a password. Skips, or fails in CI, where there is none."""
    peers.need("postgresql")
    folder = Path(tempfile.mkdtemp(prefix="gateway-postgres-"))
    with cluster(folder, USER, settings=("max_connections=10",), synced=False) as sockets:
        yield sockets
