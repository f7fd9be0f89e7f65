"""`dicom-gateway install-ohif`: where the package comes from, what a person is told. Unpacking: tests/web/ohif."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from gateway.web.viewer.install import VERSION, integrity_of
from gateway.web.viewer.release import find_release
from tests.cli.test_commands import one_line, run
from tests.support.ohif import BUILD, package
from tests.support.processes import ROOT


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return package(tmp_path / "ohif.tgz", BUILD)


def npm(folder: Path, script: str) -> str:
    """A PATH on which `npm` is this Python script, and nothing else is."""
    folder.mkdir()
    program = folder / "npm"
    program.write_text(f"#!{sys.executable}\nimport json, shutil, sys\n{script}\n")
    program.chmod(0o755)
    return str(folder)


def test_from_a_file_into_the_data_folder(archive: Path, tmp_path: Path):
    done = run("install-ohif", "--data", str(tmp_path / "data"), "--from", str(archive))
    assert "OHIF 9.9.9" in done.stdout
    assert VERSION in done.stdout  # the one that is tested
    assert find_release(tmp_path / "data/ohif") is not None


def test_into_the_folder_of_the_settings(archive: Path, tmp_path: Path):
    where = tmp_path / "elsewhere"
    done = run("install-ohif", "--from", str(archive), "--json", GATEWAY_HTTP__OHIF=str(where))
    assert json.loads(done.stdout) == {"version": "9.9.9", "folder": str(where)}
    assert find_release(where) is not None


def test_by_npm(archive: Path, tmp_path: Path):
    answer = [{"integrity": integrity_of(archive), "filename": "x.tgz"}]
    script = (
        f"assert sys.argv[1:3] == ['pack', '@ohif/app@9.9.9'], sys.argv\n"
        f"shutil.copy({str(archive)!r}, 'ohif-app-9.9.9.tgz')\n"
        f"print(json.dumps({answer!r}))"
    )
    path = npm(tmp_path / "bin", script)
    run("install-ohif", "--data", str(tmp_path / "data"), "--version", "9.9.9", PATH=path)
    assert find_release(tmp_path / "data/ohif") is not None


def test_the_documents_name_the_version_that_is_tested():
    assert f"@ohif/app@{VERSION}" in (ROOT / "deploy/README.md").read_text()


class TestRefused:
    def refuse(self, tmp_path: Path, *arguments: str, **environment: str) -> str:
        done = run("install-ohif", "--data", str(tmp_path / "data"), *arguments, code=1, **environment)
        assert find_release(tmp_path / "data/ohif") is None
        return one_line(done)

    def test_no_npm(self, tmp_path: Path):
        line = self.refuse(tmp_path, PATH=str(tmp_path))
        assert "npm is not installed" in line
        assert "--from" in line

    def test_npm_reaches_nothing(self, tmp_path: Path):
        said = "npm error code EAI_AGAIN\\nnpm error network request failed, reason: getaddrinfo\\n"
        path = npm(tmp_path / "bin", f"sys.stderr.write({said!r}.encode().decode('unicode_escape')); sys.exit(1)")
        line = self.refuse(tmp_path, PATH=path)
        assert f"could not download @ohif/app {VERSION}: network request failed, reason: getaddrinfo" in line
        assert "--from" in line

    def test_not_what_npm_said_it_is(self, archive: Path, tmp_path: Path):
        script = f"shutil.copy({str(archive)!r}, 'x.tgz'); print(json.dumps([{{'integrity': 'sha512-AA=='}}]))"
        assert "has the integrity" in self.refuse(tmp_path, PATH=npm(tmp_path / "bin", script))

    def test_npm_says_nonsense(self, tmp_path: Path):
        assert "unexpected answer" in self.refuse(tmp_path, PATH=npm(tmp_path / "bin", "print('[]')"))

    def test_no_such_file(self, tmp_path: Path):
        assert "nothing.tgz" in self.refuse(tmp_path, "--from", str(tmp_path / "nothing.tgz"))

    def test_a_file_has_its_own_version(self, archive: Path):
        run("install-ohif", "--from", str(archive), "--version", "9.9.9", code=2)
