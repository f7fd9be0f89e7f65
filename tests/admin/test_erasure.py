"""gateway/admin/erasure.py: all of a patient, nothing of others, and the backups. The bytes on the disk are looked for
in tests/faults/test_erasure.py."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.admin.backup import backup
from gateway.admin.erasure import erase_patient
from gateway.cli.main import app
from gateway.database.database import Query
from gateway.storage.layout import new_key
from tests.admin.test_export import keep
from tests.ingest.test_replay import opened, storage
from tests.support.datasets import EXPLICIT, IMPLICIT, ct_header, encode

PATIENTS = Query("patients", "SELECT patient_id FROM patients ORDER BY patient_id")


async def fill(path: Path) -> None:
    async with opened(path) as (_, ingest):
        for patient, study in (("P1", "1.2"), ("P1", "1.3"), ("P10", "1.4")):
            await keep(ingest, study, 1, PatientID=patient)
            await keep(ingest, study, 2, 900_000, PatientID=patient)


async def patients(path: Path) -> list[str]:
    async with opened(path) as (folder, _):
        return [patient for (patient,) in await folder.database.fetch(PATIENTS)]


async def test_one_patient_alone(tmp_path: Path) -> None:
    await fill(tmp_path)
    report = await erase_patient(storage(tmp_path), "P1")
    assert (report.instances, report.log, report.backups) == (4, True, {})
    assert await patients(tmp_path) == ["P10"]
    assert len([each for each in (tmp_path / "store").rglob("*") if each.is_file()]) == 1
    assert (await erase_patient(storage(tmp_path), "P1")).is_empty


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
async def test_what_lies_aside(tmp_path: Path, syntax: str) -> None:
    """Known by the value of the Patient ID, or by a study: P1 is not P10."""
    await fill(tmp_path)
    for patient, study in (("P1", "1.9"), ("P10", "1.9"), ("", "1.2.840.99.1"), ("P1", "1.8")):
        path = tmp_path / "rejected" / f"{new_key(1)}.dcm"
        path.write_bytes(encode(ct_header(PatientID=patient, StudyInstanceUID=study), syntax))
        path.with_suffix(".json").write_text("{}")
    report = await erase_patient(storage(tmp_path), "P1")
    assert report.aside == 2
    assert len(list((tmp_path / "rejected").iterdir())) == 4


async def test_backups_are_named(tmp_path: Path) -> None:
    await fill(tmp_path / "data")
    for name in ("linked", "gone", "older"):
        await backup(storage(tmp_path / "data"), tmp_path / name)
    shutil.rmtree(tmp_path / "gone")
    report = await erase_patient(storage(tmp_path / "data"), "P1")
    assert report.backups == {
        str(tmp_path / "gone"): "cannot be read",
        str(tmp_path / "linked"): "has it",
        str(tmp_path / "older"): "has it",
    }
    assert await patients(tmp_path / "linked") == ["P1", "P10"]
    await backup(storage(tmp_path / "data"), tmp_path / "newer")
    assert str(tmp_path / "newer") not in (await erase_patient(storage(tmp_path / "data"), "P1")).backups


def test_the_command(tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path))

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["erase", "P1", *arguments, "--data", str(tmp_path)])
        return result.exit_code, result.output

    assert run()[0] == 2, "nobody has said yes"
    assert run("--yes") == (0, "P1: 4 instances erased\n")
    assert run("--yes") == (1, "P1: there was nothing\n")
