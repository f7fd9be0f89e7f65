"""`dicom-gateway migrate` as a person or a script uses it, with an Orthanc made by hand."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from gateway.cli.migrate import phases
from tests.cli.test_commands import one_line, run
from tests.support.datasets import instance
from tests.support.orthanc_folder import OrthancFolder
from tests.support.processes import Gateway


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
    assert "\nproved: 3 instances by the MD5 of Orthanc, metadata of 1 resource, 1 attachment\n" in said
    assert said.splitlines()[-1] == f"{toml} written; start: dicom-gateway serve -c {toml}"
    run("check-config", str(toml))
    text = toml.read_text()
    assert tomllib.loads(text)["storage"]["path"] == data
    again = json.loads(migrate(orthanc, "--toml", str(toml), "--data", data, "--json"))
    assert toml.read_text() == text
    assert again["report"]["clean"]
    assert again["report"]["outcomes"] == {}
    assert {"setting": "UserMetadata", "taken": True}.items() <= again["settings"][0].items()


def test_the_start_finds_what_was_brought(orthanc: OrthancFolder, tmp_path: Path) -> None:
    data, toml = str(tmp_path / "data"), tmp_path / "gateway.toml"
    run("migrate", "orthanc", str(orthanc.folder / "orthanc.json"), "--settings-only", "--toml", str(toml))
    said = migrate(orthanc, "--toml", str(toml), "--data", data, "--create")
    assert said.splitlines()[-1] == f"start: dicom-gateway serve -c {toml} --data {data}"
    here = str(tmp_path.relative_to(tmp_path.parent) / "data")
    other = migrate(orthanc, "--toml", str(tmp_path / "other.toml"), "--data", here, "--dry-run")
    assert other.splitlines()[-1] == f"{tmp_path / 'other.toml'} written"
    assert Path(tomllib.loads((tmp_path / "other.toml").read_text())["storage"]["path"]).is_absolute()


def test_further_attributes_are_in_the_index(orthanc: OrthancFolder, tmp_path: Path) -> None:
    orthanc.add(instance(PatientID="P7", BodyPartExamined="KNEE"))
    (orthanc.folder / "orthanc.json").write_text(
        '{"StorageDirectory": ".", "ExtraMainDicomTags": {"Study": ["BodyPartExamined"]}}'
    )
    data, toml = tmp_path / "data", tmp_path / "gateway.toml"
    migrate(orthanc, "--toml", str(toml), "--data", str(data), "--create")
    with (
        Gateway(data, "--config", str(toml)) as gateway,
        urllib.request.urlopen(f"{gateway.url}/studies?expand", timeout=10) as answer,
    ):
        studies = json.load(answer)
    tags = [each["MainDicomTags"].get("BodyPartExamined") for each in studies]
    assert sorted(filter(None, tags)) == ["KNEE"]


def test_names_that_people_type(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"RemoteAccessAllowed": true, "RegisteredUsers": {"alice": "secret"}}')
    said = run("migrate", "orthanc", str(tmp_path), "--settings-only", "--toml", str(tmp_path / "g.toml")).stdout
    assert "RemoteAccessAllowed = true: http.host = 0.0.0.0; name in http.hosts what people type" in said
    text = (tmp_path / "g.toml").read_text()
    assert "\n[http]\n# hosts = []" in text
    (tmp_path / "g.toml").write_text(text.replace("# hosts = []", 'hosts = ["pacs.example.org"]'))
    run("check-config", str(tmp_path / "g.toml"))


def test_what_is_missing_is_said_and_an_error(orthanc: OrthancFolder, tmp_path: Path) -> None:
    row = orthanc.add(instance(PatientID="P9"))
    row.path.unlink()
    done = run(
        *("migrate", "orthanc", str(orthanc.folder / "orthanc.json")),
        *("--data", str(tmp_path / "data"), "--create"),
        code=1,
    )
    assert f"instance {row.public_id}: it is not here: its file" in done.stderr
    assert "NOT all proved: 4 problems; proved: 3 instances by the MD5" in done.stdout


def test_settings_only(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"DicomAet": "${AET:-OLD}", "Name": "x"}')
    said = run("migrate", "orthanc", str(tmp_path), "--settings-only", "--toml", str(tmp_path / "g.toml"), AET="NEW")
    assert 'Name = "x": not taken: ' in said.stdout
    assert 'aet = "NEW"' in (tmp_path / "g.toml").read_text()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"StorageDirectory": "nowhere"}', "no storage area here"),
        ('{"StorageDirectory": ".", "PostgreSQL": {"EnableStorage": true}}', "files are in the database"),
        ('{"StorageDirectory": "nowhere"}', "alone with --settings-only"),
        ('{"StorageDirectory": "."}', "there is no index of Orthanc here; name its folder with --index"),
        ("{", "not valid JSON"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "orthanc.json").write_text(text)
    done = run("migrate", "orthanc", str(tmp_path / "orthanc.json"), "--data", str(tmp_path / "data"), code=2)
    assert words in one_line(done)


def test_an_index_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "orthanc.json").write_text('{"StorageDirectory": "."}')
    (tmp_path / "index").write_bytes(b"no database" * 1000)
    line = one_line(
        run("migrate", "orthanc", str(tmp_path / "orthanc.json"), "--data", str(tmp_path / "data"), "--create", code=1)
    )
    assert f"{tmp_path / 'index'}: it cannot be read as the index of an Orthanc" in line
    assert "--index" in line


def test_what_nobody_decided_is_counted(orthanc: OrthancFolder, tmp_path: Path) -> None:
    file = orthanc.folder / "orthanc.json"
    file.write_text('{"StorageDirectory": ".", "DicomPort": 4242, "StableAge": 60, "HttpPort": 81}')
    said = migrate(orthanc, "--dry-run", "--data", str(tmp_path / "data"))
    assert "HttpPort = 81: http.port\n2 more are at Orthanc's defaults" in said.replace(
        'StorageDirectory = ".": where the migration reads\n', ""
    )
    assert "DicomPort" not in said
    every = run("migrate", "orthanc", str(file), "--settings-only").stdout
    assert "DicomPort = 4242: dicom.port" in every
    assert "more are" not in every


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


def test_a_node_that_does_not_know_us(tmp_path: Path) -> None:
    """Orthanc answers so."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answering = threading.Thread(target=aborting, args=(listener,))
        answering.start()
        node = f"ARCHIVE@127.0.0.1:{listener.getsockname()[1]}"
        try:
            done = run(
                *("migrate", "dicom", node, "--aet", "US", "--timeout", "5", "--data", str(tmp_path / "data")),
                "--create",
                code=1,
            )
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            answering.join()
    line = one_line(done)
    assert "aborted the association" in line
    assert "does it know our AE title US (--aet)?" in line


def aborting(listener: socket.socket) -> None:
    """Answer every association request by A-ABORT (PS3.8 9.3.8), until the listener is shut down."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"\x07\0\0\0\0\x04\0\0\0\0")


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
