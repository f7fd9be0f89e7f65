"""One DCMTK `storescu`, as it is installed, as the load: what most devices on a ward's network amount to."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from gateway.dicom import part10
from loadtest import peers
from loadtest.data import Preset, Synthetic
from loadtest.stats import Summary

_TIMEOUT = 300.0
"""Seconds for a whole run."""


def write_files(folder: Path, preset: Preset, count: int) -> int:
    """Replace what is in the folder by `count` new instances as files. The bytes of their data sets."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    total = 0
    for number, instance in enumerate(Synthetic(preset, count).feed(0, 1)):
        header = part10.file_header(
            sop_class_uid=instance.sop_class_uid,
            sop_instance_uid=instance.sop_instance_uid,
            transfer_syntax_uid=instance.transfer_syntax_uid,
        )
        with (folder / f"{number:06d}.dcm").open("wb") as file:
            file.writelines([header, *instance.chunks])
        total += instance.size
    return total


def run(peer: peers.Peer, folder: Path, count: int, size: int) -> Summary:
    """Send the `count` files in the folder, `size` bytes in all, with one storescu and wait for its end.

    It is tuned (TCP_NODELAY=1) when the peer is, and left as it is otherwise. Its time is that of the whole process.
    """
    program = peers.find("storescu", package="dcmtk")
    command = [program, "--scan-directories", "-aec", peer.aet, peer.host, str(peer.port), str(folder)]
    began = time.perf_counter()
    try:
        done = subprocess.run(
            command,
            env=peers.environment(peer.tuned),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_TIMEOUT,
        )
        code, said = done.returncode, done.stderr.decode(errors="replace").strip().splitlines()
    except subprocess.TimeoutExpired:
        code, said = -1, [f"not done in {_TIMEOUT:g} s"]
    seconds = time.perf_counter() - began
    sent = count if code == 0 else 0  # It stops at the first failure and does not say how far it came.
    return Summary(
        planned=count,
        acknowledged=sent,
        failed=0 if code == 0 else 1,
        not_sent=0 if code == 0 else count - 1,
        bytes=size if code == 0 else 0,
        seconds=seconds,
        instances_per_second=sent / seconds,
        megabytes_per_second=(size if code == 0 else 0) / seconds / 1e6,
        latency=None,
        failures={} if code == 0 else {f"storescu: {said[-1] if said else f'exit code {code}'}": 1},
        warnings={},
    )
