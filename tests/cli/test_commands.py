"""The command line as a person or a script uses it: real processes, exit codes, one clear line for an error."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.data import get_testdata_file
from typer.testing import CliRunner

from gateway.access import passwords
from gateway.cli.main import app
from tests.support.processes import ROOT, Gateway, free_port
from tests.support.waiting import wait_until

COMMANDS = ("serve", "status", "check-config", "hash-password", "import", "backup", "restore", "reindex")
COMMANDS += ("echo", "send", "find", "move", "get", "commit", "install-ohif")


def run(*arguments: str, code: int = 0, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command; its exit code must be `code`, and it must never show a traceback."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("GATEWAY_")}
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=ROOT,
        env={**clean, "COLUMNS": "100", "TERM": "dumb", **environment},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The error of a command: one line on standard error."""
    (line,) = done.stderr.splitlines()
    assert line.startswith("dicom-gateway: ")
    return line


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("cli") / "data") as started:
        run("import", get_testdata_file("CT_small.dcm"), "--data", str(started.data))
        yield started


class TestHelp:
    def test_it_is_there_at_once(self):
        """No command's own imports are loaded for it: neither the loop nor HTTP nor DICOM."""
        program = "import sys, gateway.cli.main; print(*sorted(sys.modules))"
        loaded = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout.split()
        assert {"uvloop", "aiohttp", "pydicom", "sqlite3", "msgspec", "gateway.config", "rich"} & set(loaded) == set()

    def test_every_command_is_listed_and_has_its_own(self):
        text = run("--help").stdout
        for command in COMMANDS:
            assert command in text
        assert "--dicom-port" in run("serve", "--help").stdout

    @pytest.mark.case("help texts show what stands in brackets")
    def test_brackets_are_shown(self):
        shown = " ".join(run("modify", "--help").stdout.split()) + " ".join(run("serve", "--help").stdout.split())
        assert "[changes]" in shown
        assert "[default: GATEWAY]" in shown

    def test_version(self):
        assert re.fullmatch(r"dicom-gateway \d+\.\d+\.\d+\n", run("--version").stdout)


class TestServe:
    def test_first_lines_say_where_to_send_and_look(self, gateway: Gateway):
        dicom, web = gateway.lines
        assert (
            dicom
            == f"DICOM  GATEWAY@127.0.0.1:{gateway.port}   storescu -aec GATEWAY 127.0.0.1 {gateway.port} file.dcm"
        )
        assert web == f"Web    {gateway.url}/ui/"
        assert gateway.get("/ui/")[0] == 200

    def test_flags_win_and_sigterm_ends_it_well(self, tmp_path: Path):
        environment = {"GATEWAY_DICOM__AET": "ENV"}
        started = Gateway(tmp_path / "data", "--aet", "FLAG ONE", environment=environment)
        started.start()
        assert "storescu -aec 'FLAG ONE'" in started.lines[0]
        assert started.stop() == 0

    @pytest.mark.case("a reload says every mistake with its line")
    def test_sighup_reads_the_configuration_again(self, tmp_path: Path):
        file = tmp_path / "gateway.toml"
        file.write_text('[log]\nlevel = "info"\n')
        with Gateway(tmp_path / "data", "--config", str(file)) as started:
            file.write_text('[dicom]\nmax_associations = 0\ntls_prot = 1\n[tokens]\nkeys = "no.json"\n')
            started.signal(signal.SIGHUP)
            said = (f"{file}:2: dicom.max_associations", f"{file}:3: dicom.tls_prot", f"{file}:5: tokens.keys no.json")
            wait_until(lambda: all(text in started.log for text in said), 10, "not everything that is wrong is said")
            file.write_text("[dicom]\nmax_associations = 3\n")
            started.signal(signal.SIGHUP)
            wait_until(lambda: "read again" in started.log, 10, "a right one is not said")
            assert started.get("/readyz")[0] == 200

    def test_taken_port(self, gateway: Gateway, tmp_path: Path):
        arguments = ("serve", "--data", str(tmp_path / "data"), "--http-port", "0")
        assert "--dicom-port" in one_line_of_log(run(*arguments, "--dicom-port", str(gateway.port), code=2))

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("--config", "nowhere.toml"), "nowhere.toml"),
            (("--aet", "ABCDEFGHIJKLMNOPQ"), "dicom.aet"),
            (("--data", "/proc/no"), "storage.path"),
        ],
    )
    def test_used_wrongly(self, arguments: tuple[str, ...], words: str):
        assert words in one_line(run("serve", *arguments, "--dicom-port", "0", "--http-port", "0", code=2))

    @pytest.mark.case("a wrong configuration is exit code 2 for every command")
    def test_everything_that_is_wrong_is_said(self):
        lines = run("serve", "--host", "0.0.0.0", "--dicom-port", "0", code=2).stderr.splitlines()
        assert [word in line for word, line in zip(("[modalities.NAME]", "[[http.users]]"), lines, strict=True)] == [
            True
        ] * 2

    @pytest.mark.case("a wrong configuration is exit code 2 for every command")
    @pytest.mark.parametrize(
        "arguments",
        [
            ("check-config",),
            ("check-config", "-c"),
            ("routes", "check"),
            ("serve", "-c"),
            ("routes", "explain", "x", "-c"),
            ("echo", "x", "-c"),
            ("import", ".", "-c"),
            ("backup", "x", "-c"),
        ],
    )
    def test_one_exit_code(self, tmp_path: Path, arguments: tuple[str, ...]):
        (tmp_path / "wrong.toml").write_text("[dicom]\nprot = 1\n")
        assert "wrong.toml:2: dicom.prot" in one_line(run(*arguments, str(tmp_path / "wrong.toml"), code=2))

    def test_unknown_flag(self):
        assert "--dicom-prot" in run("serve", "--dicom-prot", "1", code=2).stderr


def one_line_of_log(done: subprocess.CompletedProcess[str]) -> str:
    """The error, where log lines may stand before it."""
    return done.stderr.splitlines()[-1]


class TestStatus:
    def test_of_a_running_gateway(self, gateway: Gateway):
        text = run("status", "--url", gateway.url).stdout
        assert f"{gateway.url}: ready" in text
        assert "1 patient, 1 study, 1 series, 1 instance; " in text

    def test_as_json(self, gateway: Gateway):
        answer = json.loads(run("status", "--json", GATEWAY_URL=gateway.url).stdout)
        assert answer["ready"] is True
        assert answer["statistics"]["CountInstances"] == 1
        assert answer["associations"] == []

    def test_nobody_there(self):
        assert "no answer" in one_line(run("status", "--url", f"http://127.0.0.1:{free_port()}", code=1))

    @pytest.mark.case("status at a port that is not HTTP says so in a line")
    def test_a_port_that_is_not_http(self, gateway: Gateway):
        line = one_line(run("status", "--url", f"http://127.0.0.1:{gateway.port}", code=1))
        assert "does not speak HTTP" in line

    def test_not_a_url(self):
        run("status", "--url", "gateway:8042", code=2)

    def test_with_a_password(self, tmp_path: Path):
        file = tmp_path / "gateway.toml"
        file.write_text(f'[[http.users]]\nname = "ann"\npassword = "{passwords.hash_password("secret")}"\n')
        with Gateway(tmp_path / "data", "--config", str(file)) as started:
            assert "--user" in one_line(run("status", "--url", started.url, code=1))
            run("status", "--url", started.url, "--user", "ann:secret")
            run("status", "--url", started.url, "--user", "ann", GATEWAY_PASSWORD="secret")


class TestConfiguration:
    def test_right(self, tmp_path: Path):
        file = tmp_path / "gateway.toml"
        file.write_text('[dicom]\naet = "PACS"\n[modalities.ct]\naet = "CT"\n')
        text = run("check-config", str(file), GATEWAY_DICOM__PORT="104").stdout
        assert 'aet = "PACS"' in text
        assert "port = 104" in text
        # What it prints is a configuration itself.
        (tmp_path / "again.toml").write_text(text)
        assert run("check-config", str(tmp_path / "again.toml")).stdout.splitlines()[:-1] == text.splitlines()[:-1]

    def test_wrong(self, tmp_path: Path):
        file = tmp_path / "gateway.toml"
        file.write_text("[dicom]\nprot = 104\n")
        assert "prot" in one_line(run("check-config", str(file), code=2))
        assert json.loads(run("check-config", str(file), "--json", code=2).stdout)["valid"] is False

    def test_one_file_is_named_once(self, tmp_path: Path):
        one, other = str(tmp_path / "a.toml"), str(tmp_path / "b.toml")
        Path(one).write_text('[dicom]\naet = "A"\n')
        Path(other).write_text('[dicom]\naet = "B"\n')
        assert "name one file" in run("check-config", one, "-c", other, code=2).stderr
        done = run("check-config", one, GATEWAY_CONFIG=other)
        assert 'aet = "A"' in done.stdout

    def test_a_password_in_clear_is_found(self, tmp_path: Path):
        file = tmp_path / "gateway.toml"
        file.write_text('[[http.users]]\nname = "ann"\npassword = "secret"\n')
        line = one_line(run("check-config", str(file), code=2))
        assert "ann" in line
        assert "hash-password" in line

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ('[dicom]\nrefused_transfer_syntaxes = ["Nonsense"]', "Nonsense"),
            ('[dicom]\ntls_port = 0\ntls_certificate = "no.pem"\ntls_key = "no.key"', "dicom.tls_certificate no.pem"),
            ('[http]\ncertificate = "no.pem"\nkey = "no.key"', "http.certificate no.pem"),
            (
                '[dicom]\ntls_ca = "no.pem"\n[modalities.ct]\naet = "CT"\nhost = "ct"\nport = 104\ntls = true',
                "dicom.tls_ca no.pem",
            ),
            ('[tokens]\nkeys = "no.json"', "tokens.keys no.json: No such file"),
            ('[modalities.ct]\naet = "CT"\nidentity_token_file = "no.jwt"', "modalities.ct.identity_token_file no.jwt"),
        ],
    )
    def test_what_only_the_rooms_can_see(self, tmp_path: Path, text: str, words: str):
        file = tmp_path / "gateway.toml"
        file.write_text(text)
        assert words in one_line(run("check-config", str(file), code=2))

    def test_hash_password(self):
        stored = run("hash-password", stdin="secret\n").stdout.strip()
        assert passwords.verify("secret", passwords.parse(stored))
        run("hash-password", stdin="\n", code=2)


class TestImport:
    def test_files_folders_and_zips(self, tmp_path: Path):
        source = tmp_path / "source"
        source.mkdir()
        (source / "ct.dcm").write_bytes(Path(get_testdata_file("CT_small.dcm")).read_bytes())
        (source / "notes.txt").write_text("not DICOM")
        with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
            archive.write(get_testdata_file("MR_small.dcm"), "deep/mr.dcm")
        arguments = ("import", str(source), str(tmp_path / "more.zip"), "--create", "--data", str(tmp_path / "data"))
        answer = json.loads(run(*arguments, "--json").stdout)
        assert answer == {"outcomes": {"stored": 2}, "skipped": 1, "refused": [], "incomplete": []}
        assert "2 same" in run(*arguments).stdout

    def test_beside_a_running_gateway(self, gateway: Gateway):
        before = run("status", "--url", gateway.url).stdout
        run("import", get_testdata_file("MR_small.dcm"), "--data", str(gateway.data))
        assert run("status", "--url", gateway.url).stdout != before

    @pytest.mark.case("import makes no archive where none was asked for")
    @pytest.mark.parametrize(
        "arguments",
        [
            ("import", get_testdata_file("CT_small.dcm")),
            ("get", "A@127.0.0.1:104", "StudyInstanceUID=1.2", "--archive"),
            ("reindex",),
            ("backup", "nowhere"),
        ],
    )
    def test_a_folder_without_an_archive(self, tmp_path: Path, arguments: tuple[str, ...]):
        assert "there is no " in one_line(run(*arguments, "--data", str(tmp_path / "mispelt"), code=2))
        assert not (tmp_path / "mispelt").exists()

    def test_what_cannot_be_taken_in_is_named(self, tmp_path: Path):
        broken = tmp_path / "broken.dcm"
        broken.write_bytes(Path(get_testdata_file("CT_small.dcm")).read_bytes()[:1000])
        assert str(broken) in one_line(run("import", str(broken), "--create", "--data", str(tmp_path / "data"), code=1))

    def test_no_such_file(self, tmp_path: Path):
        line = one_line(run("import", str(tmp_path / "nowhere"), "--data", str(tmp_path / "data"), code=2))
        assert "nowhere" in line
        assert not (tmp_path / "data").exists()


class TestBackup:
    def test_backup_restore_reindex(self, gateway: Gateway, tmp_path: Path):
        backup, restored = str(tmp_path / "backup"), str(tmp_path / "restored")
        made = json.loads(run("backup", backup, "--data", str(gateway.data), "--json").stdout)
        assert made["instances"] >= 1
        again = json.loads(run("restore", backup, "--data", restored, "--json").stdout)
        assert again["instances"] == made["instances"]
        assert f"{made['instances']} instance" in run("reindex", "--data", restored).stdout
        assert "not empty" in one_line(run("restore", backup, "--data", restored, code=1))

    def test_reindex_not_beside_a_gateway(self, gateway: Gateway):
        assert "stop it first" in one_line(run("reindex", "--data", str(gateway.data), code=2))


class TestEcho:
    def test_answers(self, gateway: Gateway):
        node = f"GATEWAY@127.0.0.1:{gateway.port}"
        assert f"{node} answers" in run("echo", node).stdout
        assert json.loads(run("echo", node, "--json").stdout)["status"] == "0000"

    def test_a_modality_by_name(self, gateway: Gateway, tmp_path: Path):
        file = tmp_path / "gateway.toml"
        file.write_text(f'[modalities.ours]\naet = "GATEWAY"\nhost = "localhost"\nport = {gateway.port}\n')
        assert "ours (GATEWAY@localhost:" in run("echo", "ours", "--config", str(file)).stdout
        assert "ours" in one_line(run("echo", "theirs", "--config", str(file), code=2))

    def test_nobody_there(self):
        began = time.monotonic()
        assert "connection refused" in one_line(run("echo", f"ANY@127.0.0.1:{free_port()}", code=1))
        assert time.monotonic() - began < 10

    @pytest.mark.case("echo at a web port says what is there")
    def test_somebody_else_there(self, gateway: Gateway):
        http = gateway.url.rpartition(":")[2]
        assert "the peer speaks HTTP, not DICOM" in one_line(
            run("echo", f"ANY@127.0.0.1:{http}", "--timeout", "2", code=1)
        )


class TestSendAndFind:
    def test_files_folders_zips_and_what_is_none(self, gateway: Gateway, tmp_path: Path):
        folder = tmp_path / "folder"
        folder.mkdir()
        (folder / "CT.dcm").write_bytes(Path(get_testdata_file("CT_small.dcm")).read_bytes())
        (folder / "note.txt").write_text("no image")
        with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
            for name in ("rtplan.dcm", "JPEG2000.dcm"):
                archive.write(get_testdata_file(name), name)
        node = f"GATEWAY@127.0.0.1:{gateway.port}"
        done = run("send", node, str(folder), str(tmp_path / "more.zip"))
        assert done.stdout == f"{node}: 3 instances stored, 0 failed, 1 not DICOM\n"
        report = json.loads(run("send", node, str(folder), "--json").stdout)
        assert (report["sent"], report["failed"], report["skipped"]) == (1, 0, 1)
        assert report["instances"][0]["status"] == "0000"

    @pytest.mark.case("send names a file that is cut short, and the place, and sends nothing of it")
    def test_what_is_not_stored_is_named(self, gateway: Gateway, tmp_path: Path):
        good = Path(get_testdata_file("CT_small.dcm")).read_bytes()
        (tmp_path / "cut.dcm").write_bytes(good[:1000])
        node = f"GATEWAY@127.0.0.1:{gateway.port}"
        done = run("send", node, str(tmp_path / "cut.dcm"), code=1)
        assert "cut.dcm: cannot be read: cut short in (0010,1002) at offset 646: 6 of 72 bytes" in one_line(done)
        assert "0 instances stored, 1 failed" in done.stdout

    def test_nothing_to_send(self, gateway: Gateway, tmp_path: Path):
        node = f"GATEWAY@127.0.0.1:{gateway.port}"
        assert "0 instances stored" in run("send", node, str(tmp_path), code=1).stdout
        assert "nowhere" in one_line(run("send", node, str(tmp_path / "nowhere"), code=2))

    def test_nobody_to_send_to(self):
        line = one_line(run("send", f"ANY@127.0.0.1:{free_port()}", get_testdata_file("CT_small.dcm"), code=1))
        assert "CT_small.dcm: ANY@127.0.0.1:" in line
        assert "connection refused" in line

    def test_find(self, gateway: Gateway):
        node = f"GATEWAY@127.0.0.1:{gateway.port}"
        shown = run("find", node, "PatientName=CompressedSamples^CT*").stdout
        assert "CompressedSamples^CT1" in shown
        assert "1 match" in shown
        (match,) = json.loads(run("find", node, "PatientID=1CT1", "--json").stdout)
        assert match["00100010"]["Value"] == [{"Alphabetic": "CompressedSamples^CT1"}]
        assert run("find", node, "PatientID=NOBODY", "--json").stdout == "[]\n"
        assert "0 matches" in run("find", node, "PatientID=NOBODY").stdout

    @pytest.mark.case("get of nothing is exit code 1 and a word")
    def test_nothing_to_get(self, gateway: Gateway, tmp_path: Path):
        node = f"GATEWAY@127.0.0.1:{gateway.port}"
        asked = ("get", node, "StudyInstanceUID=1.2.3.4", "--out", str(tmp_path / "out"))
        assert "nothing there matches" in one_line(run(*asked, code=1))
        assert json.loads(run(*asked, "--json", code=1).stdout)["completed"] == 0

    def test_a_key_that_is_none(self):
        assert "Nonsense" in run("find", "A@127.0.0.1:104", "Nonsense=1", code=2).stderr

    def test_a_retrieval_needs_to_know_what_and_where(self, tmp_path: Path):
        node = "A@127.0.0.1:104"
        assert "StudyInstanceUID" in run("move", node, "StudyDate=2026", "--to", "B", code=2).stderr
        assert "--out" in run("get", node, "StudyInstanceUID=1.2", code=2).stderr
        assert "--level" in run("get", node, "StudyInstanceUID=1.2", "--out", str(tmp_path), "-l", "x", code=2).stderr


@pytest.mark.case("deliveries of a destination that is none are exit code 1 and a word")
@pytest.mark.parametrize("action", ["list", "hold", "resend"])
def test_a_destination_that_is_none(gateway: Gateway, action: str):
    line = one_line(run("deliveries", action, "--destination", "typo", "--url", gateway.url, code=1))
    assert "no destination is called 'typo'" in line


@pytest.mark.case("item 9 A destination is held and released from the command line")
def test_a_destination_is_held_and_released(tmp_path: Path):
    kind = {"GATEWAY_DESTINATIONS__NAS__KIND": "folder", "GATEWAY_DESTINATIONS__NAS__PATH": str(tmp_path)}
    with Gateway(tmp_path / "data", environment=kind) as gateway:

        def here(*arguments: str) -> Any:
            return CliRunner().invoke(app, ["destinations", *arguments])

        def state() -> str:
            (found,) = json.loads(here("--json", "--url", gateway.url).stdout)
            return str(found["State"])

        before = state()
        assert here("hold", "nas", "--url", gateway.url).stdout == "hold: nas\n"
        assert (before, state()) == ("Active", "Held")
        assert here("release", "nas", "--url", gateway.url).stdout == "release: nas\n"
        assert state() == "Active"
        assert str(here("release", "nos", "--url", gateway.url).exception) == (
            "no destination is called 'nos'; did you mean 'nas'?"
        )
        assert "after release" in here("--url", gateway.url, "release", "nas").stderr
