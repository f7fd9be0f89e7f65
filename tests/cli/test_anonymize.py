"""`dicom-gateway anonymize` and `reidentify`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.main import app
from gateway.dicom import part10
from gateway.errors import ConfigurationError
from tests.support.certificates import Authority, needs_openssl
from tests.support.datasets import read_sample, sample


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    (tmp_path / "key").write_text("0123456789abcdef0123456789abcdef\n")
    file = tmp_path / "gateway.toml"
    file.write_text(f'[changes.research]\nkey_file = "{tmp_path}/key"\n[changes.research.deidentify]\noptions = []\n')
    return file


def run(settings: Path | None, *arguments: object) -> tuple[int, str]:
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
    assert run(settings, "import", ct, "--create", *data)[0] == 0
    study = read_sample(ct).StudyInstanceUID
    code, text = run(settings, "anonymize", "--study", study, "--changes", "research", "-o", tmp_path / "out", *data)
    assert (code, "1 instance de-identified" in text) == (0, True)
    (file,) = (tmp_path / "out").iterdir()
    assert read_sample(file).PatientIdentityRemoved == "YES"
    code, text = run(settings, "anonymize", "--study", "1.2", "--changes", "research", "--dry-run", *data)
    assert (code, "no such study" in text) == (1, True)


def test_a_stored_study_that_two_patients_have(settings: Path, tmp_path: Path) -> None:
    """Nobody's is taken: what is meant cannot be known from its UID."""
    copy = read_sample(sample("CT_small.dcm"))
    copy.PatientID = "COPY"
    copy.save_as(tmp_path / "copy.dcm")
    data = ("--data", tmp_path / "data")
    assert run(settings, "import", sample("CT_small.dcm"), tmp_path / "copy.dcm", "--create", *data)[0] == 0
    study = ("--study", copy.StudyInstanceUID)
    code, text = run(settings, "anonymize", *study, "--changes", "research", "--dry-run", "--json", *data)
    assert (code, json.loads(text)["instances"]) == (1, [])
    assert "2 patients have" in text


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
    assert done.exit_code == 2
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


class TestSeveralFilesOfOneInstance:
    """An original beside an edited copy of it, or two exports: no output is ever replaced."""

    @staticmethod
    def inputs(folder: Path) -> Path:
        folder.mkdir()
        data_set = read_sample(sample("CT_small.dcm"))
        for number, patient in enumerate(("A", "B", "B"), 1):
            data_set.PatientID = patient
            data_set.save_as(folder / f"{number}.dcm")
        return folder

    @pytest.mark.case("file 06 two files of one SOP Instance UID come out as two files")
    def test_all_come_out(self, settings: Path, tmp_path: Path) -> None:
        files, out = self.inputs(tmp_path / "in"), tmp_path / "out"
        code, text = run(settings, "anonymize", files, "--changes", "research", "-o", out)
        assert code == 0
        assert "3 files in, 3 instances de-identified, 2 files out, 0 refused, 0 not DICOM" in text
        assert "1 file equal to an existing one" in text
        found = sorted(out.iterdir())
        uid = read_sample(found[0]).SOPInstanceUID
        data = found[1].read_bytes()
        meta = part10.read_header(lambda offset, length: data[offset : offset + length])
        digest = hashlib.sha256(data[meta.data_set_offset :])
        assert [each.name for each in found] == [f"{uid}.dcm", f"{uid}~{digest.hexdigest()[:8]}.dcm"]
        assert len({read_sample(each).PatientID for each in found}) == 2
        before = {each.name: each.read_bytes() for each in found}
        code, text = run(settings, "anonymize", files, "--changes", "research", "-o", out, "--json")
        assert {each.name: each.read_bytes() for each in out.iterdir()} == before
        told = json.loads(text)
        assert (told["files_in"], told["files_out"]) == (3, 0)
        assert [each["output"] for each in told["instances"]] == [found[0].name, found[1].name, found[1].name]

    @pytest.mark.case("file 06 nothing in the folder of the results is replaced, whoever wrote it")
    def test_what_is_there_stays(self, settings: Path, tmp_path: Path) -> None:
        files, out = self.inputs(tmp_path / "in"), tmp_path / "out"
        run(settings, "anonymize", files / "1.dcm", "--changes", "research", "-o", out)
        (first,) = out.iterdir()
        first.write_bytes(b"another's")
        assert run(settings, "anonymize", files / "1.dcm", "--changes", "research", "-o", out)[0] == 0
        assert first.read_bytes() == b"another's"
        assert len(list(out.iterdir())) == 2


class TestWithoutSettings:
    @pytest.mark.case("anonymize works without settings, with a key that is made and kept")
    def test_a_key_is_made_and_kept(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
        monkeypatch.chdir(tmp_path)
        ct = sample("CT_small.dcm")
        code, text = run(None, "anonymize", ct, "--dry-run")
        assert (code, list(tmp_path.iterdir())) == (0, [])
        code, text = run(None, "anonymize", ct, "-o", "out")
        key = tmp_path / "home" / "dicom-gateway" / "anonymize.key"
        assert code == 0
        assert f"the key in {key}, which is new" in text
        assert key.stat().st_mode & 0o777 == 0o600
        assert len(key.read_text().strip()) == 64
        (file,) = Path("out").iterdir()
        assert read_sample(file).DeidentificationMethodCodeSequence[0].CodeValue == "113100"
        code, text = run(None, "anonymize", ct, "-o", "out")
        assert (code, "0 files out" in text, "which is new" in text) == (0, True, False)
        assert run(None, "anonymize", ct, "--key", "other.key", "-o", "out")[0] == 0
        assert len(list(Path("out").iterdir())) == 2
        assert not Path("gateway-data").exists()

    def test_where_no_key_can_be_kept(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        done = CliRunner().invoke(
            app, ["anonymize", str(sample("CT_small.dcm")), "--key", f"{tmp_path}/file/key", "-o", f"{tmp_path}/out"]
        )
        assert isinstance(done.exception, ConfigurationError)
        assert "give --key FILE" in str(done.exception)

    def test_a_set_has_a_key_of_its_own(self, settings: Path) -> None:
        arguments = ("anonymize", sample("CT_small.dcm"), "--changes", "research", "--key", "k", "--dry-run")
        assert run(settings, *arguments)[0] == 2


@pytest.mark.case("a word that identifies is nowhere in a de-identified file, nor in its name")
def test_a_known_word_around_the_data_set(settings: Path, tmp_path: Path) -> None:
    word = b"QUXLEAKS"
    data_set = read_sample(sample("CT_small.dcm"))
    meta = data_set.file_meta
    meta.SourceApplicationEntityTitle = meta.SendingApplicationEntityTitle = word.decode()
    meta.ReceivingApplicationEntityTitle = meta.ImplementationVersionName = word.decode()
    meta.PrivateInformationCreatorUID, meta.PrivateInformation = "1.2.77.88", word
    meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
    data_set.preamble = word * 16
    file = tmp_path / word.decode() / f"{word.decode()}.dcm"
    file.parent.mkdir()
    data_set.save_as(file)
    assert file.read_bytes().count(word) > 16
    file.write_bytes(file.read_bytes() + bytes(8) + word * 8)
    assert run(settings, "anonymize", file, "--changes", "research", "-o", tmp_path / "out")[0] == 0
    (out,) = (tmp_path / "out").iterdir()
    assert word not in out.read_bytes()
    assert b"1.2.77.88" not in out.read_bytes()
    assert str(data_set.SOPInstanceUID).encode() not in out.read_bytes()
    assert word.decode() not in out.name
