"""What servers flush and index before they answer success, as BENCHMARK.md says: seen by strace, asked by C-FIND."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from loadtest import peers, watch
from loadtest.cli import common
from loadtest.compare.measures import run_work, store_study, target_of
from loadtest.peers.about import PROMISES, Promise
from loadtest.scenario import Scenario, Work
from tests.support.peers import need
from tests.support.waiting import wait_until

COUNT = 10
INDEX = re.compile(r"sqlite|pg_wal|index")


def flushed(peer: peers.Peer, log: Path) -> tuple[int, int]:
    """How often data and how often an index was flushed while a server took `COUNT` instances, one after the other."""
    assert peer.folder is not None
    pids = list(watch.family(peer.pid))
    if (postmaster := peer.folder.parent / "postgresql" / "data" / "postmaster.pid").exists():
        pids += watch.family(int(postmaster.read_text().split()[0]))
    command = ["strace", "-f", "-y", "-o", str(log), "-e", "trace=fsync,fdatasync,sync_file_range,syncfs,pwritev2"]
    said = log.with_suffix(".said")
    with (
        said.open("wb") as errors,
        subprocess.Popen([*command, *(word for pid in pids for word in ("-p", str(pid)))], stderr=errors) as tracer,
    ):
        try:
            # One line for each that is attached, or that has ended and waits for its parent.
            wait_until(lambda: len(said.read_text().splitlines()) >= len(pids), 20)
            assert len(store_study(peer, "512KB", COUNT)) == COUNT
        finally:
            tracer.terminate()
    found = re.findall(r"\b(?:fsync|fdatasync|pwritev2(?=.*RWF_DSYNC))\(\d+<([^>]*)>", log.read_text())
    index = sum(INDEX.search(Path(path).name) is not None or "pg_wal" in path for path in found)
    return len(found) - index, index


def is_found(peer: peers.Peer) -> bool:
    places = store_study(peer, "8KB", 1)
    work = Work(do="find", count=1, keys={"StudyInstanceUID": places[0].study})
    return run_work(Scenario(title="find", about="", work=(work,)), target_of(peer), places=places).instances == 1


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "promise", [each for each in PROMISES if "sink" not in each.servers], ids=lambda each: each.servers[0]
)
def test_a_success_means_what_is_said(promise: Promise) -> None:
    for name in ("strace", "orthanc", "orthanc-dicomweb", "orthanc-postgresql", "postgresql", "storescp", "dcmqrscp"):
        need(name)
    name = promise.servers[-1]
    with common.room(None) as room, peers.PEERS[name](room / name, peers.ALONE) as peer:
        assert is_found(peer) == promise.indexed
        objects, index = flushed(peer, room / "strace.txt")
    assert (objects >= COUNT) == promise.object_flushed
    assert (index >= COUNT) == (promise.index_flushed and not promise.replayed)
