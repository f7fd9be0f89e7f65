"""`dicom-gateway modify`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pydicom
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


@pytest.mark.skipif(shutil.which("dcmdump") is None, reason="needs dcmtk")
@pytest.mark.case("case 04 dcmdump reads text that was changed under code extensions")
@pytest.mark.parametrize(
    ("terms", "text"),
    [
        ("\\ISO 2022 IR 149", "두부 CT"),
        ("\\ISO 2022 IR 58", "头部 CT"),
        ("ISO 2022 IR 6\\ISO 2022 IR 100", "größe"),
        ("ISO 2022 IR 100\\ISO 2022 IR 144", "öß Люкс ß"),
    ],
)
def test_dcmdump_reads_text_under_code_extensions(terms: str, text: str, tmp_path: Path) -> None:
    before = read_sample(CT)
    before.SpecificCharacterSet = terms.split("\\")
    before.save_as(tmp_path / "in.dcm")
    assert run(tmp_path / "in.dcm", "-s", f"StudyDescription={text}", "-o", tmp_path / "out")[0] == 0
    (file,) = (tmp_path / "out").iterdir()
    command = ["dcmdump", "+U8", "+P", "0008,1030", "+P", "0008,0005", file]
    dumped = subprocess.run(command, capture_output=True, text=True)
    assert f"LO [{text}]" in dumped.stdout
    assert "E:" not in dumped.stderr


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


@pytest.mark.case("modify writes no invalid value")
@pytest.mark.parametrize(
    "assignment",
    [
        "AccessionNumber=" + "x" * 17,
        "StudyDate=2026-01-01",
        "StudyDate=20261399",
        "StudyTime=25",
        "Rows=70000",
        "Nam=x",
    ],
)
def test_a_value_that_does_not_fit_is_named(assignment: str, tmp_path: Path) -> None:
    code, text = run(CT, "--set", assignment, "-o", tmp_path / "out")
    assert code == 2
    assert f"dicom-gateway: --set {assignment}: " in text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("uid", ["../../up", "/abs", "..", ".", "1.2/../../../up"])
def test_a_uid_that_is_none_names_no_file(tmp_path: Path, uid: str) -> None:
    with pydicom.config.disable_value_validation():
        one = read_sample(CT)
        one.SOPInstanceUID = uid
        one.save_as(tmp_path / "in.dcm")
    code, text = run(tmp_path / "in.dcm", "-s", "PatientID=New", "-o", tmp_path / "a" / "b")
    assert (code, "1 refused" in text) == (1, True)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["in.dcm"]


def test_others_do_not_read_what_comes_out(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert run(CT, "-s", "PatientID=New", "-o", tmp_path)[0] == 0
    finally:
        os.umask(before)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o640
