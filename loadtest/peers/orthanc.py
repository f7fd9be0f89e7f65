"""Orthanc of Debian, with its index in SQLite or in a PostgreSQL that starts and ends with it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from loadtest.peers import postgres
from loadtest.peers.peer import ALONE, Peer, Wiring
from loadtest.peers.process import NotInstalled, find, free_port, listens

_PLUGINS = tuple(Path(top) / "orthanc/plugins" for top in ("/usr/share", "/usr/lib", "/usr/local/share"))


@contextlib.contextmanager
def orthanc(
    folder: Path,
    *,
    tuned: bool = False,
    dicomweb: bool = True,
    wiring: Wiring = ALONE,
    name: str = "orthanc",
    plugins: tuple[str, ...] = (),
    **settings: object,
) -> Iterator[Peer]:
    """Run Orthanc with SQLite and synchronous storage, otherwise with its defaults; `settings` override them.

    Every caller may query and retrieve; otherwise only storing could be measured.
    """
    program = find("Orthanc", "orthanc", package="orthanc")
    dicom, http = free_port(), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    configuration = {
        "Name": "loadtest",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "SyncStorageArea": True,
        "Plugins": [*([find_orthanc_dicomweb()] if dicomweb else []), *plugins],
        "DicomAet": "ORTHANC",
        "DicomPort": dicom,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "DicomModalities": {aet.lower(): [aet, "127.0.0.1", port] for aet, port in wiring.destinations.items()},
        "LuaScripts": _forwarding(folder, wiring.forward_to),
        "HttpPort": http,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        **settings,
    }
    file = folder / "orthanc.json"
    file.write_text(json.dumps(configuration, indent=1))
    with listens([program, str(file)], [dicom, http], folder / "orthanc.log", tuned=tuned) as pid:
        url = f"http://127.0.0.1:{http}"
        yield Peer(f"{name}-tuned" if tuned else name, "ORTHANC", dicom, pid, folder / "storage", url, tuned)


@contextlib.contextmanager
def orthanc_postgresql(folder: Path, *, tuned: bool = False, wiring: Wiring = ALONE) -> Iterator[Peer]:
    """Run Orthanc with its index in PostgreSQL, as Debian configures both, and with its files in a folder."""
    find("Orthanc", "orthanc", package="orthanc")
    plugin = find_orthanc_postgresql()
    with postgres.cluster(folder / "postgresql", "orthanc") as socket:
        database = {
            "EnableIndex": True,
            "EnableStorage": False,
            "Host": socket,
            "Port": 5432,
            "Database": "postgres",
            "Username": "orthanc",
            "Password": "",
        }
        start = orthanc(
            folder, tuned=tuned, wiring=wiring, name="orthanc-postgresql", plugins=(plugin,), PostgreSQL=database
        )
        with start as peer:
            yield peer


def find_orthanc_dicomweb() -> str:
    """Find the path of Orthanc's DICOMweb plugin. Raises NotInstalled."""
    return _plugin("libOrthancDicomWeb", "DICOMweb plugin", "orthanc-dicomweb")


def find_orthanc_postgresql() -> str:
    """Find the path of the plugin that keeps Orthanc's index in PostgreSQL. Raises NotInstalled."""
    return _plugin("libOrthancPostgreSQLIndex", "PostgreSQL plugin", "orthanc-postgresql")


def _plugin(library: str, title: str, package: str) -> str:
    for folder in _PLUGINS:
        for path in folder.glob(f"{library}.so*"):
            return str(path)
    raise NotInstalled(f"Orthanc's {title} is not installed: apt-get install {package}")


def _forwarding(folder: Path, aet: str) -> list[str]:
    """The Lua scripts that send on everything received, as Orthanc's book has them; none without a destination."""
    if not aet:
        return []
    file = folder / "forward.lua"
    file.write_text(
        f"function OnStoredInstance(instanceId, tags, metadata)\n  SendToModality(instanceId, '{aet.lower()}')\nend\n"
    )
    return [str(file)]
