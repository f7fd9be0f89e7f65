"""gateway/workers/worker.py: how a worker ends that cannot begin."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Coroutine
from typing import Any

import pytest

from gateway.workers import worker


async def _nothing(_end: socket.socket) -> int:
    return 0


def test_without_descriptors_it_says_so_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """uvloop closes the loop that met the error, and raises another."""

    def run(main: Coroutine[Any, Any, int]) -> int:
        main.close()
        try:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        finally:
            raise RuntimeError("Cannot close a running event loop")

    monkeypatch.setattr(worker.uvloop, "run", run)
    monkeypatch.setattr(worker.signal, "signal", lambda number, handler: None)
    monkeypatch.setattr(worker, "_run", _nothing)
    with socket.socket() as end:
        monkeypatch.setattr(worker.socket, "socket", lambda fileno: end)
        monkeypatch.setattr(sys, "argv", ["worker", str(end.fileno())])
        with pytest.raises(SystemExit, match="limit on open files"):
            worker.main()
