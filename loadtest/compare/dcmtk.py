"""DCMTK's unmodified clients as the load, which most devices and workstations resemble.

Each is timed from start to end, and tuned (TCP_NODELAY=1) if the server is.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from gateway.dicom import part10, uids
from gateway.dicom.encode import encode_data_set
from loadtest import peers
from loadtest.compare.table import Measured
from loadtest.data import Preset, Synthetic
from loadtest.work import ask

_TIMEOUT = 300.0
"""Seconds for a whole run."""


def write_files(folder: Path, preset: Preset, count: int) -> None:
    """Replace the content of a folder by `count` new instances as files."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, instance in enumerate(Synthetic(preset, count).feed(0, 1)):
        header = part10.file_header(
            sop_class_uid=instance.sop_class_uid,
            sop_instance_uid=instance.sop_instance_uid,
            transfer_syntax_uid=instance.transfer_syntax_uid,
        )
        with (folder / f"{number:06d}.dcm").open("wb") as file:
            file.writelines([header, *instance.chunks])


def storescu(peer: peers.Peer, folder: Path) -> Measured:
    """Send the files of a folder over one association. Seconds."""
    return _timed(peer, "storescu", ["--scan-directories"], [str(folder)])


def findscu(peer: peers.Peer, study: str, count: int, folder: Path) -> Measured:
    """Search for one study `count` times over one association. Searches a second."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = {"StudyInstanceUID": study, "PatientName": "", "PatientID": "", "StudyDate": "", "AccessionNumber": ""}
    syntax = uids.EXPLICIT_VR_LITTLE_ENDIAN.uid
    query = folder / "query.dcm"
    header = part10.file_header(sop_class_uid=ask.FIND, sop_instance_uid="2.25.1", transfer_syntax_uid=syntax)
    query.write_bytes(header + encode_data_set(ask.identifier("study", keys), syntax))
    measured = _timed(peer, "findscu", ["-S"], [str(query)] * count)
    return Measured(count / measured.value, measured.trouble)


def movescu(peer: peers.Peer, study: str, destination: str) -> Measured:
    """Have a study sent to an AE title. Seconds."""
    return _timed(peer, "movescu", ["-S", "-aem", destination, *_keys(study)], [])


def getscu(peer: peers.Peer, study: str, count: int, folder: Path) -> Measured:
    """Fetch a study of `count` instances into a folder, which is emptied before. Seconds."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    measured = _timed(peer, "getscu", ["-S", "-od", str(folder), *_keys(study)], [])
    received = sum(1 for _ in folder.iterdir())
    if not measured.trouble and received < count:
        return Measured(measured.value, f"getscu: {received} of {count} instances arrived")
    return measured


def _keys(study: str) -> list[str]:
    return ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"]


def _timed(peer: peers.Peer, name: str, options: Sequence[str], rest: Sequence[str]) -> Measured:
    program = peers.find(name, package="dcmtk")
    command = [program, *options, "-aec", peer.aet, peer.host, str(peer.port), *rest]
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
        code, lines = done.returncode, done.stderr.decode(errors="replace").strip().splitlines()
    except subprocess.TimeoutExpired:
        code, lines = -1, [f"not done in {_TIMEOUT:g} s"]
    seconds = time.perf_counter() - began
    if code == 0 and not any(line.startswith("E: ") for line in lines):
        return Measured(seconds)
    return Measured(seconds, f"{name}: {lines[-1] if lines else f'exit code {code}'}")
