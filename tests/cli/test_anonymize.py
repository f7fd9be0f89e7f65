"""`dicom-gateway anonymize` and `reidentify`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.main import app
from tests.support.certificates import Authority, needs_openssl
from tests.support.datasets import read_sample, sample


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    (tmp_path / "key").write_text("0123456789abcdef0123456789abcdef\n")
    file = tmp_path / "gateway.toml"
    file.write_text(f'[changes.research]\nkey_file = "{tmp_path}/key"\n[changes.research.deidentify]\noptions = []\n')
    return file


def run(settings: Path, *arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*map(str, arguments), *(("--config", str(settings)) if settings else ())])
    return done.exit_code, done.output


def test_files_come_out_without_the_patient(settings: Path, tmp_path: Path) -> None:
    ct = sample("CT_small.dcm")
    code, text = run(settings, "anonymize", ct, ct, "--changes", "research", "-o", tmp_path / "out")
    assert (code, "2 instances de-identified" in text) == (0, True)
    (file,) = (tmp_path / "out").iterdir()
    after, before = read_sample(file), read_sample(ct)
    assert file.name == f"{after.SOPInstanceUID}.dcm"
    assert after.PatientID != before.PatientID
    assert after.PixelData == before.PixelData


def test_a_dry_run_writes_nothing_and_shows_both(settings: Path, tmp_path: Path) -> None:
    ct = sample("CT_small.dcm")
    code, text = run(settings, "anonymize", ct, "--changes", "research", "--dry-run", "--json")
    assert code == 0
    (one,) = json.loads(text)["instances"]
    changes = {change["path"]: change for change in one["changes"]}
    assert changes["PatientID"]["before"] == read_sample(ct).PatientID
    assert len(changes["PatientID"]["after"]) == 12
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gateway.toml", "key"]


def test_a_stored_study(settings: Path, tmp_path: Path) -> None:
    ct = sample("CT_small.dcm")
    data = ("--data", tmp_path / "data")
    assert run(settings, "import", ct, *data)[0] == 0
    study = read_sample(ct).StudyInstanceUID
    code, text = run(settings, "anonymize", "--study", study, "--changes", "research", "-o", tmp_path / "out", *data)
    assert (code, "1 instance de-identified" in text) == (0, True)
    (file,) = (tmp_path / "out").iterdir()
    assert read_sample(file).PatientIdentityRemoved == "YES"
    code, text = run(settings, "anonymize", "--study", "1.2", "--changes", "research", "--dry-run", *data)
    assert (code, "no such study" in text) == (1, True)


@pytest.mark.parametrize(
    "arguments", [["--dry-run"], ["FILE"], ["FILE", "--dry-run", "-o", "out"], ["none", "--dry-run"]]
)
def test_used_wrongly(settings: Path, arguments: list[str]) -> None:
    given = [str(sample("CT_small.dcm")) if each == "FILE" else each for each in arguments]
    assert run(settings, "anonymize", "--changes", "research", *given)[0] == 2


def test_what_may_not_pass_is_named(settings: Path, tmp_path: Path) -> None:
    code, text = run(settings, "anonymize", sample("SC_rgb.dcm"), "--changes", "research", "-o", tmp_path / "out")
    assert code == 1
    assert "no rectangles match" in text
    assert not (tmp_path / "out").exists()


def test_a_set_that_is_not_there(settings: Path, tmp_path: Path) -> None:
    code, _ = run(settings, "anonymize", sample("CT_small.dcm"), "--changes", "other", "--dry-run")
    assert code != 0


def test_check_config_names_what_is_wrong_in_a_set(settings: Path) -> None:
    settings.write_text(settings.read_text() + 'pseudonyms = "/nowhere.csv"\n')
    done = CliRunner().invoke(app, ["check-config", str(settings)])
    assert done.exit_code == 1
    assert "changes.research.deidentify.pseudonyms: /nowhere.csv cannot be read" in done.output


@needs_openssl
def test_what_is_sealed_comes_back(settings: Path, tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue("broker", rsa=True)
    settings.write_text(settings.read_text() + f'sealed_for = ["{issued.certificate}"]\n')
    ct = sample("CT_small.dcm")
    assert run(settings, "anonymize", ct, "--changes", "research", "-o", tmp_path / "out")[0] == 0
    (file,) = (tmp_path / "out").iterdir()
    done = CliRunner().invoke(
        app,
        [
            "reidentify",
            str(file),
            "--key",
            issued.key,
            "--certificate",
            issued.certificate,
            "-o",
            str(tmp_path / "back"),
        ],
    )
    assert done.exit_code == 0, done.output
    after, before = read_sample(tmp_path / "back" / f"{read_sample(ct).SOPInstanceUID}.dcm"), read_sample(ct)
    assert after.PatientName == before.PatientName
    assert after.PixelData == before.PixelData
