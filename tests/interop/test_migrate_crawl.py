"""Real archives that are crawled: Orthanc over DIMSE, Orthanc and a gateway over DICOMweb."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.datasets import instance
from tests.support.orthanc_folder import file_of
from tests.support.processes import ROOT, Gateway, Peer, free_port, orthanc

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(120)]
STUDIES, SERIES, INSTANCES = 24, 2, 3
TOTAL = STUDIES * SERIES * INSTANCES


def files() -> Iterator[bytes]:
    """Studies over three years, six of them on one day, one without a date."""
    for number in range(STUDIES):
        day = f"{2021 + number % 3}{1 + number % 12:02}{1 + number:02}" if number % 4 else "20220505"
        for series in range(SERIES):
            for at in range(INSTANCES):
                yield file_of(
                    instance(
                        PatientID=f"P{number // 2}",
                        StudyInstanceUID=f"1.2.3.{number}",
                        SeriesInstanceUID=f"1.2.3.{number}.{series}",
                        SOPInstanceUID=f"1.2.3.{number}.{series}.{at}",
                        StudyDate=day if number else "",
                        StudyTime=f"{number:02}1500",
                        Modality="CT" if series else "MR",
                    )
                )


def upload(url: str) -> None:
    for content in files():
        with urllib.request.urlopen(urllib.request.Request(url + "/instances", content, method="POST"), timeout=30):
            pass


def migrate(*arguments: str, data: Path, code: int = 0) -> dict[str, Any]:
    command = [sys.executable, "-m", "gateway", "migrate", *arguments, "--data", str(data), "--create", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == code, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def node(peer: Peer) -> str:
    return f"{peer.aet}@{peer.host}:{peer.port}"


@pytest.mark.parametrize("limit", [0, 5])
def test_orthanc_by_c_get(tmp_path: Path, limit: int) -> None:
    """Orthanc leaves out what is beyond its limit, and says nothing of it."""
    limits = {"LimitFindResults": limit, "LimitFindInstances": 1000}
    with orthanc(tmp_path / "orthanc", **limits) as peer:
        upload(peer.url)
        report = migrate("dicom", node(peer), data=tmp_path / "data", code=0)
        # The one without a date is found in an answer with all studies only.
        expected = STUDIES if not limit else STUDIES - 1
        assert report["studies"] in (expected, STUDIES)
        assert report["brought"] == report["instances"] == report["studies"] * SERIES * INSTANCES
        assert bool(report["doubts"]) == bool(limit)
        again = migrate("dicom", node(peer), data=tmp_path / "data")
        assert (again["brought"], again["studies"]) == (0, report["studies"])


def test_killed_and_started_again(tmp_path: Path) -> None:
    with orthanc(tmp_path / "orthanc") as peer:
        upload(peer.url)
        command = [sys.executable, "-m", "gateway", "migrate", "dicom", node(peer), "--data", str(tmp_path / "data")]
        for _ in range(3):
            with subprocess.Popen([*command, "--create", "--rate", "20", "--parallel", "1"], cwd=ROOT) as process:
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(1.6)
                process.kill()
        report = migrate("dicom", node(peer), data=tmp_path / "data")
        assert (report["studies"], report["lacking"]) == (STUDIES, 0)
        with Gateway(tmp_path / "data") as gateway:
            assert json.loads(gateway.get("/statistics")[1])["CountInstances"] == TOTAL


def test_orthanc_by_c_move_to_a_running_gateway(tmp_path: Path) -> None:
    port = free_port()
    with orthanc(tmp_path / "orthanc", DicomModalities={"gateway": ["GATEWAY", "127.0.0.1", port]}) as peer:
        upload(peer.url)
        with Gateway(tmp_path / "data", "--dicom-port", str(port)) as gateway:
            report = migrate("dicom", node(peer), "--to", "GATEWAY", data=tmp_path / "data")
            assert (report["studies"], report["brought"], report["lacking"]) == (STUDIES, TOTAL, 0)
            assert json.loads(gateway.get("/statistics")[1])["CountInstances"] == TOTAL
            said = migrate("dicom", node(peer), "--to", "NOBODY", data=tmp_path / "other", code=1)
            assert said["lacking"] == STUDIES
            assert "are not here" in said["problems"][0]
    # Whoever cannot be reached any more is an error, and no clean end.
    assert "no connection" in migrate_error("dicom", node(peer), data=tmp_path / "data")


def migrate_error(*arguments: str, data: Path) -> str:
    command = [sys.executable, "-m", "gateway", "migrate", *arguments, "--data", str(data), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    return line


def test_dicomweb_of_orthanc(tmp_path: Path) -> None:
    with orthanc(tmp_path / "orthanc", dicomweb=True) as peer:
        upload(peer.url)
        assert migrate("dicomweb", peer.dicomweb, "--dry-run", data=tmp_path / "data")["studies"] == STUDIES
        report = migrate("dicomweb", peer.dicomweb, data=tmp_path / "data")
        assert (report["studies"], report["brought"], report["problems"]) == (STUDIES, TOTAL, [])
        urllib.request.urlopen(urllib.request.Request(peer.url + "/studies/" + one_of(peer), method="DELETE")).close()
        assert migrate("dicomweb", peer.dicomweb, data=tmp_path / "data")["studies"] == STUDIES - 1


def one_of(peer: Peer) -> str:
    with urllib.request.urlopen(peer.url + "/studies") as answer:
        return str(json.loads(answer.read())[0])


def test_dicomweb_of_a_gateway(tmp_path: Path) -> None:
    environment = {"GATEWAY_HTTP__MAX_RESULTS": "7"}
    with Gateway(tmp_path / "source", environment=environment) as source:
        upload(source.url)
        began = time.monotonic()
        report = migrate("dicomweb", source.url + "/dicom-web", "--since", "2022-01-01", data=tmp_path / "data")
        assert time.monotonic() - began < 60
        assert 0 < report["studies"] < STUDIES
        report = migrate("dicomweb", source.url + "/dicom-web", data=tmp_path / "data")
        assert (report["studies"], report["lacking"], report["doubts"]) == (STUDIES, 0, [])
        said = migrate_error("dicomweb", source.url + "/nothing", data=tmp_path / "data")
        assert "no DICOMweb" in said
