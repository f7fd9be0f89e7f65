"""`dicom-gateway modify`."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.main import app
from tests.support.datasets import read_sample, sample

CT = sample("CT_small.dcm")


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["modify", *map(str, arguments)])
    return done.exit_code, done.output


def test_files_come_out_changed(tmp_path: Path) -> None:
    code, text = run(CT, "--set", "PatientID=New", "-r", "PatientName", "--keep-originals", "-o", tmp_path)
    assert (code, "1 instance modified" in text) == (0, True)
    (file,) = tmp_path.iterdir()
    after, before = read_sample(file), read_sample(CT)
    assert file.name == f"{before.SOPInstanceUID}.dcm"
    assert (after.PatientID, "PatientName" in after, after.PixelData) == ("New", False, before.PixelData)
    (original,) = after.OriginalAttributesSequence[0].ModifiedAttributesSequence
    assert (original.PatientID, original.PatientName) == (before.PatientID, before.PatientName)


@pytest.mark.skipif(shutil.which("dcmdump") is None, reason="needs dcmtk")
def test_dcmdump_reads_what_was_set(tmp_path: Path) -> None:
    assert run(CT, "--new-uids", "-s", "InstitutionName=Here", "-s", "0018,1030=P", "-o", tmp_path)[0] == 0
    (file,) = tmp_path.iterdir()
    dumped = subprocess.run(["dcmdump", "+P", "0008,0080", "+P", "0018,1030", file], capture_output=True, text=True)
    assert "LO [Here]" in dumped.stdout
    assert "LO [P]" in dumped.stdout
    assert read_sample(file).StudyInstanceUID != read_sample(CT).StudyInstanceUID


def test_a_dry_run_shows_before_and_after(tmp_path: Path) -> None:
    code, text = run(CT, "--set", "PatientID=New", "--dry-run", "--json")
    assert code == 0
    (one,) = json.loads(text)["instances"]
    assert one["changes"] == [
        {"path": "PatientID", "before": read_sample(CT).PatientID, "after": "New", "why": "set"},
    ]


@pytest.mark.parametrize(
    "arguments",
    [("--dry-run",), ("--set", "PatientID", "--dry-run"), ("--set", "PatientID=1"), ("--changes", "x", "-r", "Rows")],
)
def test_what_makes_no_sense(arguments: tuple[str, ...]) -> None:
    assert run(CT, *arguments)[0] == 2


def test_a_value_that_does_not_fit_is_named(tmp_path: Path) -> None:
    code, text = run(CT, "--set", "AccessionNumber=" + "x" * 17, "-o", tmp_path / "out")
    assert code == 1
    assert "AccessionNumber" in text
    assert not (tmp_path / "out").exists()
