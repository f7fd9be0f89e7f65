"""The servers: the gateway, Orthanc, storescp and dcmqrscp of DCMTK, storescp of pynetdicom, and our sink.

Each is a context manager that starts a server on free ports, waits until it listens, and kills it at the end.
`destinations` are AE titles with ports on this machine, to which a C-MOVE may send. Tests use these peers too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from loadtest.peers.process import NotInstalled, announces, find, free_port, listens

_ORTHANC_PLUGINS = tuple(Path(top) / "orthanc/plugins" for top in ("/usr/share", "/usr/lib", "/usr/local/share"))
_DICOM_LINE = re.compile(r"^DICOM\s+(?P<aet>\S+)@(?P<host>\S+):(?P<port>\d+)\b")
GATEWAY, GATEWAY_BEFORE = "gateway", "gateway-before"
BEFORE = "LOADTEST_BEFORE"
"""The environment variable with the path of the Python in which another release is installed."""
_WEB_LINE = re.compile(r"^Web\s+(?P<base>https?://[^/\s]+)")


@dataclasses.dataclass(frozen=True, slots=True)
class Peer:
    """A running server, and where it listens."""

    name: str
    aet: str
    port: int
    pid: int
    folder: Path
    """The folder in which the server stores what it receives."""
    url: str = ""
    """Base URL of the HTTP service; empty without one."""
    tuned: bool = False
    host: str = "127.0.0.1"

    @property
    def dicomweb(self) -> str:
        """Base URL of the DICOMweb service; empty without one."""
        return f"{self.url}/dicom-web" if self.url else ""


Start = Callable[[Path, Mapping[str, int]], contextlib.AbstractContextManager[Peer]]
"""A function that starts a server in a folder, with destinations."""


@contextlib.contextmanager
def gateway(
    folder: Path,
    *arguments: str,
    destinations: Mapping[str, int] | None = None,
    name: str = GATEWAY,
    python: str = sys.executable,
) -> Iterator[Peer]:
    """Run the gateway, of this environment or another `python`, with default settings except its folder and ports."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [python, "-m", "gateway", "serve", "--data", str(folder / "data"), "--dicom-port", "0"]
    if destinations:
        file = folder / "gateway.toml"
        lines = ["[dicom]", "allow_any_caller = true", 'any_caller_may = ["echo", "store", "find", "move", "get"]']
        for aet, port in destinations.items():
            lines += [f"[modalities.{aet.lower()}]", f'aet = "{aet}"', 'host = "127.0.0.1"', f"port = {port}"]
        file.write_text("\n".join(lines) + "\n")
        command += ["--config", str(file)]
    command += ["--http-port", "0", *arguments]
    with announces(command, (_DICOM_LINE, _WEB_LINE), folder / "log.txt") as (pid, (dicom, web)):
        yield Peer(name, dicom["aet"], int(dicom["port"]), pid, folder / "data", web["base"])


def gateway_before(folder: Path, destinations: Mapping[str, int]) -> contextlib.AbstractContextManager[Peer]:
    """Run another release of the gateway: the one installed for the Python that LOADTEST_BEFORE names."""
    python = os.environ.get(BEFORE, "")
    if not python:
        raise NotInstalled(f"there is no release to compare with: set {BEFORE} to the path of the Python that has one")
    return gateway(folder, destinations=destinations, name=GATEWAY_BEFORE, python=python)


@contextlib.contextmanager
def sink(folder: Path) -> Iterator[Peer]:
    """Run the sink, which answers at once and stores nothing (`sink.py`)."""
    command = [sys.executable, "-m", "loadtest", "sink", "127.0.0.1", "0", "--web-port", "0"]
    with announces(command, (_DICOM_LINE, _WEB_LINE), folder / "log.txt") as (pid, (dicom, web)):
        yield Peer("sink", dicom["aet"], int(dicom["port"]), pid, folder, web["base"])


@contextlib.contextmanager
def orthanc(
    folder: Path,
    *,
    tuned: bool = False,
    dicomweb: bool = True,
    destinations: Mapping[str, int] | None = None,
    **settings: object,
) -> Iterator[Peer]:
    """Run Orthanc with SQLite and synchronous storage, otherwise with its defaults; `settings` override them.

    Every caller may query and retrieve; otherwise only storing could be measured.
    """
    program = find("Orthanc", "orthanc", package="orthanc")
    plugins = [find_orthanc_dicomweb()] if dicomweb else []
    dicom, http = free_port(), free_port()
    configuration = {
        "Name": "loadtest",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "SyncStorageArea": True,
        "Plugins": plugins,
        "DicomAet": "ORTHANC",
        "DicomPort": dicom,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "DicomModalities": {aet.lower(): [aet, "127.0.0.1", port] for aet, port in (destinations or {}).items()},
        "HttpPort": http,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        **settings,
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "orthanc.json"
    file.write_text(json.dumps(configuration, indent=1))
    with listens([program, str(file)], [dicom, http], folder / "orthanc.log", tuned=tuned) as pid:
        url = f"http://127.0.0.1:{http}"
        yield Peer("orthanc-tuned" if tuned else "orthanc", "ORTHANC", dicom, pid, folder / "storage", url, tuned)


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
    GATEWAY: lambda folder, to: gateway(folder, destinations=to),
    GATEWAY_BEFORE: gateway_before,
    "orthanc": lambda folder, to: orthanc(folder, destinations=to),
    "orthanc-tuned": lambda folder, to: orthanc(folder, tuned=True, destinations=to),
    "storescp": lambda folder, to: storescp(folder),
    "storescp-tuned": lambda folder, to: storescp(folder, tuned=True),
    "dcmqrscp": lambda folder, to: dcmqrscp(folder, destinations=to),
    "dcmqrscp-tuned": lambda folder, to: dcmqrscp(folder, tuned=True, destinations=to),
    "pynetdicom": lambda folder, to: pynetdicom(folder),
    "sink": lambda folder, to: sink(folder),
}


def find_orthanc_dicomweb() -> str:
    """Find the path of Orthanc's DICOMweb plugin. Raises NotInstalled."""
    for folder in _ORTHANC_PLUGINS:
        for path in folder.glob("libOrthancDicomWeb.so*"):
            return str(path)
    raise NotInstalled("Orthanc's DICOMweb plugin is not installed: apt-get install orthanc-dicomweb")
