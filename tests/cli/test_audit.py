"""`dicom-gateway audit`, and what other commands leave in the log."""

from __future__ import annotations

import asyncio
import getpass
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli.main import app
from gateway.database.database import Query, Script
from gateway.database.sqlite import SQLite
from gateway.storage.layout import Layout
from tests.support.datasets import sample
from tests.support.processes import Gateway

CONFIG = "[audit]\nenabled = true\n"


class Folder:
    def __init__(self, path: Path) -> None:
        self.data = path / "data"
        self._config = path / "gateway.toml"
        self._config.write_text(CONFIG)

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments, "--config", str(self._config), "--data", str(self.data)])

    def write(self, statement: str) -> None:
        async def run() -> None:
            def script() -> Script[None]:
                yield Query("tamper", statement), ()

            layout = Layout(self.data)
            database = await SQLite.open(layout.database, lock_path=layout.write_lock)
            await database.write(script)
            await database.close()

        asyncio.run(run())


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path)
    assert made.run("import", "--create", str(sample("CT_small.dcm"))).exit_code == 0
    return made


def test_an_import_is_in_the_log(folder: Folder) -> None:
    (one,) = json.loads(folder.run("audit", "list", "--json").stdout)
    assert (one["action"], one["outcome"], one["origin"]) == ("import", "success", "command line")
    assert one["user"] == getpass.getuser()
    assert one["detail"]["stored"] == 1
    assert "import" in folder.run("audit", "list").stdout
    assert json.loads(folder.run("audit", "list", "--user", "nobody", "--json").stdout) == []


def test_a_reindex_keeps_it(folder: Folder) -> None:
    assert folder.run("reindex").exit_code == 0
    assert [one["action"] for one in json.loads(folder.run("audit", "list", "--json").stdout)] == ["reindex", "import"]
    assert folder.run("audit", "verify").exit_code == 0


def imports(folder: Folder) -> list[tuple[str, str, int | None]]:
    found = json.loads(folder.run("audit", "list", "--action", "import", "--json").stdout)
    return [(each["outcome"], each["detail"].get("source", ""), each["detail"].get("studies")) for each in found]


@pytest.mark.slow
def test_what_is_brought_from_another_archive(folder: Folder, tmp_path: Path) -> None:
    before = imports(folder)
    with Gateway(tmp_path / "other") as other:
        node, url = f"{other.aet}@{other.host}:{other.port}", f"{other.url}/dicom-web"
        assert folder.run("migrate", "dicom", node, "--dry-run").exit_code == 0
        assert imports(folder) == before
        assert folder.run("migrate", "dicom", node).exit_code == 0
        assert folder.run("migrate", "dicomweb", url).exit_code == 0
    assert folder.run("migrate", "dicomweb", url).exit_code != 0
    assert imports(folder) == [("failure", url, None), ("success", url, 0), ("success", node, 0), *before]


def test_verify(folder: Folder) -> None:
    first = folder.run("audit", "verify")
    assert first.exit_code == 0
    noted = first.stdout.split("note ")[1].strip()
    assert folder.run("audit", "verify", "--noted", noted).exit_code == 0
    assert folder.run("audit", "verify", "--noted", "1:00").exit_code == 1
    assert folder.run("audit", "verify", "--noted", "x").exit_code == 2
    folder.write("UPDATE audit_log SET user_name = 'nobody'")
    found = folder.run("audit", "verify", "--json")
    assert found.exit_code == 1
    assert "entry 1" in json.loads(found.stdout)["problem"]


def test_without_an_archive(tmp_path: Path) -> None:
    assert Folder(tmp_path).run("audit", "verify").exit_code != 0
