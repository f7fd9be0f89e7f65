"""A real Orthanc that runs, receives and is changed meanwhile, brought by the command that is killed ten times."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.support.datasets import instance
from tests.support.orthanc_folder import file_of
from tests.support.processes import ROOT, Gateway, Peer, orthanc

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(240)]
MODALITIES = ("CT", "MR", "US", "CR", "PT")


def ask(peer: Peer, method: str, path: str, body: bytes | None = None) -> Any:
    request = urllib.request.Request(peer.url + path, body, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def upload(peer: Peer, number: int, **values: object) -> str:
    """One of ten instances of a series; two series a study, three studies a patient."""
    study, series = number // 20, number // 10
    content = file_of(
        instance(
            PatientID=f"P{study // 3}",
            StudyInstanceUID=f"1.2.3.{study}",
            SeriesInstanceUID=f"1.2.3.{study}.{series}",
            SOPInstanceUID=f"1.2.3.{study}.{series}.{number}",
            InstanceNumber=number,
            Modality=MODALITIES[series % len(MODALITIES)],
            rows=16 + number % 40,
            **values,
        )
    )
    return str(ask(peer, "POST", "/instances", content)["ID"])


def command(configuration: Path, data: Path) -> list[str]:
    arguments = ["migrate", "orthanc", str(configuration), "--data", str(data), "--create", "--json"]
    return [sys.executable, "-m", "gateway", *arguments]


def migrated(configuration: Path, data: Path, code: int = 0) -> dict[str, Any]:
    done = subprocess.run(command(configuration, data), cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)["report"]
    return report


def test_killed_ten_times_beside_an_orthanc_that_receives(tmp_path: Path) -> None:
    folder, data, chance = tmp_path / "orthanc", tmp_path / "data", random.Random(3)
    with orthanc(folder, StorageCompression=False, SyncStorageArea=False) as peer:
        for number in range(150):
            upload(peer, number)
    settings = {"StorageCompression": True, "SyncStorageArea": False, "UserMetadata": {"triage": 1024}}
    with orthanc(folder, OverwriteInstances=True, **settings) as peer:
        for number in range(150, 300):
            upload(peer, number)
        patients, studies = (ask(peer, "GET", f"/{level}") for level in ("patients", "studies"))
        for each in patients[:2]:
            ask(peer, "PUT", f"/patients/{each}/protected", b"1")
        for each in studies[:5]:
            ask(peer, "PUT", f"/studies/{each}/metadata/triage", "dringend, für heute".encode())
        ask(peer, "PUT", f"/studies/{studies[0]}/attachments/1030", b"a report")
        over = threading.Event()

        def receive() -> None:
            for number in range(300, 400):
                upload(peer, number)
                upload(peer, number - 200, PatientName=f"Changed^{number}")
                if over.wait(0.05):
                    return

        receiving = threading.Thread(target=receive)
        receiving.start()
        paced = [*command(folder / "orthanc.json", data), "--rate", "60"]
        for _ in range(10):
            with subprocess.Popen(paced, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(chance.uniform(0.3, 1.8))
                process.kill()
        over.set()
        receiving.join()
        report = migrated(folder / "orthanc.json", data)
        assert report["clean"], report
        there = ask(peer, "GET", "/statistics")
        counts = {level: there[f"Count{name}"] for level, name in (("patient", "Patients"), ("study", "Studies"))}
        assert {level: report["here"][level] for level in counts} == counts
        assert report["here"]["instance"] == there["CountInstances"] >= 300
        assert report["proved"] == there["CountInstances"]
        assert (report["proved_annotations"], report["proved_attachments"]) == (7, 1)
        assert ask(peer, "GET", "/system")["Version"]  # Nothing of this has hurt it.
        again = migrated(folder / "orthanc.json", data)
        assert (again["outcomes"], again["clean"]) == ({}, True)
        with Gateway(data) as gateway:
            study, patient = f"/studies/{studies[0]}", f"/patients/{patients[0]}"
            for path in (f"{study}/metadata/triage", f"{study}/attachments/1030/data", f"{patient}/protected"):
                assert gateway.get(path)[1] == urllib.request.urlopen(peer.url + path).read()
            mine = json.loads(gateway.get(f"/studies/{studies[0]}")[1])
            assert mine["MainDicomTags"].items() >= ask(peer, "GET", f"/studies/{studies[0]}")["MainDicomTags"].items()
            # A running gateway is no obstacle.
            upload(peer, 500)
            assert migrated(folder / "orthanc.json", data)["outcomes"] == {"stored": 1}
            assert gateway.get("/statistics")[0] == 200


def test_a_stopped_orthanc(tmp_path: Path) -> None:
    with orthanc(tmp_path / "orthanc", DicomModalitiesInDatabase=True) as peer:
        upload(peer, 1)
        ask(peer, "PUT", "/modalities/ct", b'{"AET": "CT1", "Host": "10.0.0.1", "Port": 104}')
    began = time.monotonic()
    configuration, toml = tmp_path / "orthanc" / "orthanc.json", tmp_path / "gateway.toml"
    done = subprocess.run(
        [*command(configuration, tmp_path / "data"), "--toml", str(toml)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["report"]["clean"]
    assert "[modalities.ct]" in toml.read_text()
    assert toml.stat().st_mode & 0o777 == 0o600
    assert time.monotonic() - began < 60
    before = {path.name: path.read_bytes() for path in (tmp_path / "orthanc" / "storage").glob("index*")}
    dry = subprocess.run([*command(configuration, tmp_path / "none")[:-2], "--dry-run"], cwd=ROOT, capture_output=True)
    assert dry.returncode == 0
    assert b"instance: 1" in dry.stdout
    assert not (tmp_path / "none").exists()
    assert {path.name: path.read_bytes() for path in (tmp_path / "orthanc" / "storage").glob("index*")} == before
