"""The servers that can be started: gateway, Orthanc, storescp and dcmqrscp of DCMTK, storescp of pynetdicom, our sink.

Each is a context manager that starts a server on free ports, waits until it listens, and kills it at the end. Tests use
these peers too.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from loadtest.peers.gateway import DICOM_LINE, WEB_LINE, gateway
from loadtest.peers.orthanc import orthanc, orthanc_postgresql
from loadtest.peers.peer import GATEWAY, Peer, Start
from loadtest.peers.process import NotInstalled, announces, find, free_port, listens


@contextlib.contextmanager
def sink(folder: Path) -> Iterator[Peer]:
    """Run the sink, which answers at once and stores nothing (`sink.py`)."""
    command = [sys.executable, "-m", "loadtest", "sink", "127.0.0.1", "0", "--web-port", "0"]
    with announces(command, (DICOM_LINE, WEB_LINE), folder / "log.txt") as (pid, (dicom, web)):
        yield Peer("sink", dicom["aet"], int(dicom["port"]), pid, folder, web["base"])


@contextlib.contextmanager
def storescp(folder: Path, *arguments: str, tuned: bool = False) -> Iterator[Peer]:
    """Run storescp of DCMTK, one process for each association. It neither syncs nor indexes."""
    program = find("storescp", package="dcmtk")
    output = folder / "received"
    output.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [program, "--fork", "--aetitle", "STORESCP", "-od", str(output), *arguments, str(port)]
    with listens(command, [port], folder / "storescp.log", tuned=tuned) as pid:
        yield Peer("storescp-tuned" if tuned else "storescp", "STORESCP", port, pid, output, tuned=tuned)


@contextlib.contextmanager
def dcmqrscp(folder: Path, *, tuned: bool = False, destinations: Mapping[str, int] | None = None) -> Iterator[Peer]:
    """Run dcmqrscp of DCMTK: C-STORE, C-FIND, C-MOVE and C-GET, one index file for everything, no syncing."""
    program = find("dcmqrscp", package="dcmtk")
    archive = folder / "archive"
    archive.mkdir(parents=True, exist_ok=True)
    port = free_port()
    hosts = [
        f"host{number} = ({aet}, 127.0.0.1, {at})" for number, (aet, at) in enumerate((destinations or {}).items())
    ]
    lines = [f"NetworkTCPPort = {port}", "MaxPDUSize = 131072", "MaxAssociations = 64"]
    lines += ["HostTable BEGIN", *hosts, "HostTable END", "VendorTable BEGIN", "VendorTable END"]
    lines += ["AETable BEGIN", f"DCMQRSCP {archive} RW (100, 1024mb) ANY", "AETable END"]
    (folder / "dcmqrscp.cfg").write_text("\n".join(lines) + "\n")
    command = [program, "-c", str(folder / "dcmqrscp.cfg")]
    with listens(command, [port], folder / "dcmqrscp.log", tuned=tuned) as pid:
        yield Peer("dcmqrscp-tuned" if tuned else "dcmqrscp", "DCMQRSCP", port, pid, archive, tuned=tuned)


@contextlib.contextmanager
def pynetdicom(folder: Path) -> Iterator[Peer]:
    """Run storescp of pynetdicom, on which servers written in Python are usually built. It does not sync."""
    if importlib.util.find_spec("pynetdicom") is None:
        raise NotInstalled("pynetdicom is not installed: pip install pynetdicom")
    output = folder / "received"
    output.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "pynetdicom",
        "storescp",
        str(port),
        "-aet",
        "PYNETDICOM",
        "-od",
        str(output),
        "-q",
    ]
    with listens(command, [port], folder / "pynetdicom.log", tuned=False) as pid:
        yield Peer("pynetdicom", "PYNETDICOM", port, pid, output)


PEERS: dict[str, Start] = {
    GATEWAY: lambda folder, wiring: gateway(folder, wiring=wiring),
    "orthanc": lambda folder, wiring: orthanc(folder, wiring=wiring),
    "orthanc-tuned": lambda folder, wiring: orthanc(folder, tuned=True, wiring=wiring),
    "orthanc-postgresql": lambda folder, wiring: orthanc_postgresql(folder, wiring=wiring),
    "orthanc-postgresql-tuned": lambda folder, wiring: orthanc_postgresql(folder, tuned=True, wiring=wiring),
    "storescp": lambda folder, wiring: storescp(folder),
    "storescp-tuned": lambda folder, wiring: storescp(folder, tuned=True),
    "dcmqrscp": lambda folder, wiring: dcmqrscp(folder, destinations=wiring.destinations),
    "dcmqrscp-tuned": lambda folder, wiring: dcmqrscp(folder, tuned=True, destinations=wiring.destinations),
    "pynetdicom": lambda folder, wiring: pynetdicom(folder),
    "sink": lambda folder, wiring: sink(folder),
}
