"""`dicom-gateway migrate` as a person or a script uses it, with an Orthanc made by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from gateway.cli.migrate import phases
from tests.cli.test_commands import one_line, run
from tests.support.datasets import instance
from tests.support.orthanc_folder import OrthancFolder


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[OrthancFolder]:
    folder = OrthancFolder(tmp_path / "orthanc")
    for number in range(3):
        row = folder.add(instance(PatientID=f"P{number}"))
    folder.metadata(row.study, 1024, "urgent")
    folder.attach(row.study, b"a report", number=1030)
    yield folder
    folder.close()


def migrate(orthanc: OrthancFolder, *options: str, code: int = 0) -> str:
    return run("migrate", "orthanc", str(orthanc.folder / "orthanc.json"), *options, code=code).stdout


def test_a_dry_run_brings_nothing(orthanc: OrthancFolder, tmp_path: Path) -> None:
    said = migrate(orthanc, "--dry-run", "--data", str(tmp_path / "data"))
    assert "instance: 3;" in said
    assert "0 files missing" in said
    assert "1 attachment of the user's type 1030" in said
    assert "UserMetadata: metadata are brought" in said
    assert not (tmp_path / "data").exists()


def test_a_move_and_a_second_look(orthanc: OrthancFolder, tmp_path: Path) -> None:
    data, toml = str(tmp_path / "data"), tmp_path / "gateway.toml"
    said = migrate(orthanc, "--toml", str(toml), "--data", data, "--create")
    assert "brought in this run: 3 instances (3 stored), metadata of 1 resource, 1 attachment; 0 failed" in said
    assert "proved: 3 instances by the MD5 of Orthanc, metadata of 1 resource, 1 attachment, 0 problems" in said
    run("check-config", str(toml))
    text = toml.read_text()
    again = json.loads(migrate(orthanc, "--toml", str(toml), "--data", data, "--json"))
    assert toml.read_text() == text
    assert again["report"]["clean"]
    assert again["report"]["outcomes"] == {}
    assert {"setting": "UserMetadata", "taken": True}.items() <= again["settings"][0].items()


def test_what_is_missing_is_said_and_an_error(orthanc: OrthancFolder, tmp_path: Path) -> None:
    row = orthanc.add(instance(PatientID="P9"))
    row.path.unlink()
    done = run(
        *("migrate", "orthanc", str(orthanc.folder / "orthanc.json")),
        *("--data", str(tmp_path / "data"), "--create"),
        code=1,
    )
    assert f"instance {row.public_id}: it is not here: its file" in done.stderr
    assert "NOT proved: 3 instances" in done.stdout


def test_settings_only(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"DicomAet": "${AET:-OLD}", "Name": "x"}')
    said = run("migrate", "orthanc", str(tmp_path), "--settings-only", "--toml", str(tmp_path / "g.toml"), AET="NEW")
    assert "Name: not taken: " in said.stdout
    assert 'aet = "NEW"' in (tmp_path / "g.toml").read_text()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"StorageDirectory": "nowhere"}', "no storage area here"),
        ('{"StorageDirectory": ".", "PostgreSQL": {"EnableStorage": true}}', "files are in the database"),
        ("{", "not valid JSON"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "orthanc.json").write_text(text)
    done = run("migrate", "orthanc", str(tmp_path / "orthanc.json"), "--data", str(tmp_path / "data"), code=2)
    assert words in one_line(done)


def test_a_folder_without_an_index(tmp_path: Path) -> None:
    (tmp_path / "orthanc.json").write_text('{"StorageDirectory": "."}')
    done = run(
        *("migrate", "orthanc", str(tmp_path / "orthanc.json"), "--json"),
        *("--data", str(tmp_path / "data"), "--create"),
        code=1,
    )
    assert "there is no index of Orthanc here" in one_line(done)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("dicom", "NOBODY@127.0.0.1:1", "--timeout", "2"), "no connection"),
        (("dicomweb", "http://127.0.0.1:1/dicom-web"), "no connection"),
    ],
)
def test_nobody_there(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    done = run("migrate", *arguments, "--data", str(tmp_path / "data"), "--create", code=1)
    assert words in one_line(done)


@pytest.mark.parametrize(
    "arguments",
    [
        ("dicomweb", "nonsense"),
        ("dicomweb", "http://127.0.0.1:1/dicom-web", "--user", "alice"),
        ("dicomweb", "http://127.0.0.1:1/dicom-web", "--user", "alice:"),
        ("dicomweb", "http://archive.example.org/dicom-web", "--user", "alice:secret"),
        ("dicomweb", "http://[::1"),
        ("dicomweb", "http://127.0.0.1:99999/"),
        ("dicom", "nonsense"),
        ("dicom", "A@b:1", "--since", "2026-02-01", "--until", "2026-01-01"),
        ("dicom", "A@b:1", "--since", "yesterday"),
        ("orthanc", "/nonexistent/orthanc.json"),
    ],
)
def test_wrong_use(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    run("migrate", *arguments, "--data", str(tmp_path / "data"), "--create", code=2)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("scheme", ["http", "ftp"])
def test_a_password_in_a_url_is_not_shown(tmp_path: Path, scheme: str) -> None:
    url = f"{scheme}://alice:SECRET@127.0.0.1:1/"
    done = run("migrate", "dicomweb", url, "--data", str(tmp_path / "data"), "--create", code=2)
    assert "SECRET" not in done.stdout + done.stderr
    assert scheme == "ftp" or "--user NAME, and the password in SOURCE_PASSWORD" in one_line(done)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("nowhere/gateway.toml", "it cannot be written: No such file or directory; name a file in a folder"),
        ("a.json/gateway.toml", "it cannot be written: Not a directory; name a file in a folder"),
        (".", "it is a folder; name a new file"),
    ],
)
def test_a_translation_that_cannot_be_written(tmp_path: Path, file: str, words: str) -> None:
    (tmp_path / "a.json").write_text("{}")
    done = run("migrate", "orthanc", str(tmp_path), "--settings-only", "--toml", str(tmp_path / file), code=2)
    assert f"--toml {tmp_path / file}: {words}" in one_line(done)


def test_an_interrupt_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, phases(quiet=True):
        raise KeyboardInterrupt
    assert ended.value.exit_code == 130
    assert "the same command goes on where it was" in capsys.readouterr().err
