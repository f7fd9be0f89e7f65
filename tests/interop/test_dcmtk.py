"""DCMTK's programs, unmodified, against the gateway as its own process."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import peers
from tests.support.datasets import read_sample, sample
from tests.support.processes import Gateway

pytestmark = pytest.mark.interop

FILES = {
    "CT_small.dcm": [],
    "MR_small.dcm": [],
    "rtplan.dcm": ["-xi"],
    "rtdose.dcm": ["-xi"],
    "test-SR.dcm": [],
    "waveform_ecg.dcm": [],
    "SC_rgb.dcm": [],
    "SC_rgb_jpeg_dcmtk.dcm": ["-xy"],
    "JPEG-LL.dcm": ["-xs"],
    "JPEG-lossy.dcm": ["-xx"],
    "MR_small_jpeg_ls_lossless.dcm": ["-xt"],
    "JPEG2000.dcm": ["-xw"],
    "MR_small_jp2klossless.dcm": ["-xv"],
    "MR_small_RLE.dcm": ["-xr"],
    "MR_small_bigendian.dcm": ["-xb"],
    "image_dfl.dcm": ["-xd"],
}
"""What a department sends, and storescu's option that proposes its transfer syntax."""


def identities() -> int:
    """How many instances they are: pydicom's compressed variants of one image share its UIDs."""
    found = [read_sample(sample(name)) for name in FILES]
    return len({(d.PatientID, d.StudyInstanceUID, d.SeriesInstanceUID, d.SOPInstanceUID) for d in found})


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def matches(gateway: Gateway, level: str) -> list[dict[str, object]]:
    code, body = gateway.get(f"/dicom-web/{level}?limit=1000")
    assert code == 200
    found: list[dict[str, object]] = json.loads(body)
    return found


def test_echoscu(tmp_path: Path) -> None:
    echoscu = peers.need("echoscu")
    with Gateway(tmp_path / "data") as gateway:
        run(echoscu, "-aec", gateway.aet, gateway.host, str(gateway.port))


def test_storescu_with_what_a_department_sends(tmp_path: Path) -> None:
    storescu = peers.need("storescu")
    with Gateway(tmp_path / "data") as gateway:
        for name, options in FILES.items():
            run(storescu, *options, "-aec", gateway.aet, gateway.host, str(gateway.port), str(sample(name)))
        assert len(matches(gateway, "instances")) == identities()
        assert gateway.stop() == 0


def test_dcmsend_with_a_folder(tmp_path: Path) -> None:
    dcmsend = peers.need("dcmsend")
    folder = tmp_path / "files"
    folder.mkdir()
    for name in FILES:
        shutil.copy(sample(name), folder)
    with Gateway(tmp_path / "data") as gateway:
        run(dcmsend, "--scan-directories", "--no-uid-checks", gateway.host, str(gateway.port), str(folder))
        assert len(matches(gateway, "instances")) == identities()


@pytest.mark.parametrize("max_pdu", ["4096", "16384", "131072"])
def test_every_size_of_pdu(tmp_path: Path, max_pdu: str) -> None:
    storescu = peers.need("storescu")
    with Gateway(tmp_path / "data") as gateway:
        for name in ("CT_small.dcm", "rtdose.dcm"):
            run(storescu, "--max-send-pdu", max_pdu, gateway.host, str(gateway.port), str(sample(name)))
        assert len(matches(gateway, "instances")) == 2


def test_termscu_does_not_end_us(tmp_path: Path) -> None:
    """It asks DCMTK's own servers to shut down, in a SOP class of its own."""
    termscu = peers.need("termscu")
    with Gateway(tmp_path / "data") as gateway:
        done = subprocess.run([termscu, gateway.host, str(gateway.port)], capture_output=True, text=True, timeout=20)
        assert "No Acceptable Presentation Contexts" in done.stdout + done.stderr
        run(peers.need("echoscu"), gateway.host, str(gateway.port))
        assert gateway.stop() == 0
