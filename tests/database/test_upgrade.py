"""The data folder of an older release: opened with all that was in it, and migrated as a whole or not at all.

`releases/COMMIT.tar.xz` are such folders, with what that release answered over them; `releases/make.py` has made them.
Whatever migrations there are by now are run on them, and one more, so that there is always one to be killed in.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.database.migrations import Migration, migrations
from gateway.database.sqlite import SQLite
from tests.database.releases.make import DELETED, DESTINATIONS, STUDIES, ask, listening, read, settings
from tests.support.processes import ROOT, Gateway
from tests.support.waiting import wait_until

RELEASES = Path(__file__).with_name("releases")
INDEX, LOG = "database.sqlite", "database.sqlite-wal"
LATER = Migration(
    len(migrations()) + 1,
    "later",
    "CREATE TABLE later (id {key}, name TEXT NOT NULL); INSERT INTO later (name) SELECT public_id FROM instances;"
    "CREATE INDEX later_name ON later (name); UPDATE instances SET extras = extras || ' '; CREATE INDEX later_key ON"
    " instances (size, key)",
)
DIES_IN_A_MIGRATION = """
import asyncio, os, signal, sys
from pathlib import Path
from gateway.database import migrations, sqlite
from tests.database.test_upgrade import LATER

known, connect, step, last = migrations.migrations(), sqlite.connect, 0, int(sys.argv[2])

def count():
    global step
    step += 1
    if step == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return 0

def watched(path):
    connection = connect(path)
    connection.set_progress_handler(count, 1)
    return connection

migrations.migrations = lambda: (*known, LATER)
sqlite.connect = watched

async def main():
    await sqlite.SQLite.open(Path(sys.argv[1]))
    print(step, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
"""Opens the database and is gone at that step of SQLite's, or once it is open, when it has said how many there were."""
VOLATILE = frozenset({"Due", "PausedUntil"})
LINK = "00081190"


@pytest.fixture(params=sorted(path.name for path in RELEASES.glob("*.tar.xz")))
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Holds `data` and `answers.json` of a release."""
    made = tmp_path / "release"
    with tarfile.open(RELEASES / request.param) as archive:
        archive.extractall(made, filter="data")
    (made / "data").chmod(0o700)
    return made


def started(folder: Path, **ports: int) -> Gateway:
    config = folder / "gateway.toml"
    # What is over is not forgotten here, however long ago the folder was made.
    text = settings(dict.fromkeys(DESTINATIONS, 1) | ports)
    config.write_text(text + "[jobs]\nkeep_days = 100000\nkeep_deliveries_days = 100000\n")
    return Gateway(folder / "data", "--config", str(config))


def missing(was: Any, now: Any, at: str = "") -> list[str]:
    """What the older answer said and this one does not. More may be said than then, and NUL may be gone from names."""
    if isinstance(was, dict) and isinstance(now, dict):
        named = [name for name in was if name not in VOLATILE and name != LINK]
        return [each for name in named for each in missing(was[name], now.get(name), f"{at}/{name}")]
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        return [each for one, other in zip(was, now, strict=True) for each in missing(one, other, at + "[]")]
    if isinstance(was, str) and isinstance(now, str):
        # The port was another one.
        was, now = (re.sub(r"127\.0\.0\.1:\d+", "HOST", text).strip("\0 ") for text in (was, now))
    return [] if was == now else [f"{at}: {json.dumps(was)[:300]} became {json.dumps(now)[:300]}"]


class TestFolder:
    """What a folder made by an older release answers, and what becomes of what was under way in it."""

    def test_answers_as_before(self, folder: Path) -> None:
        answers = json.loads((folder / "answers.json").read_text())
        with started(folder) as gateway:
            gateway.wait_ready()
            lost = [each for path, was in answers.items() for each in missing(was, read(gateway.url + path), path)]
            assert not lost, "\n".join(lost)
            assert len(read(f"{gateway.url}/dicom-web/studies?PatientName=Padded*")) == 1

    def test_goes_on_with_what_it_was_at(self, folder: Path) -> None:
        with listening(0) as (port,), started(folder, resting=port) as gateway:
            kept = f"{gateway.url}/dicom-web/studies/{STUDIES[0]}/series/{STUDIES[0]}.1/instances/{STUDIES[0]}.1.1"
            assert ask(kept, "DELETE")[0] == 409  # storage commitment has promised it
            assert ask(f"{gateway.url}/destinations/resting/release", "POST")[0] == 200

            def waiting() -> list[dict[str, Any]]:
                page = read(f"{gateway.url}/deliveries?destination=resting&limit=1000")["Deliveries"]
                return [each for each in page if each["State"] in ("Waiting", "Sending", "Held")]

            wait_until(lambda: not waiting(), 30, "all that waited is delivered")
            done = read(f"{gateway.url}/deliveries?destination=resting&limit=1000")["Deliveries"]
            delivered = {each["SOPInstanceUID"] for each in done if each["State"] == "Delivered"}
            stored = read(f"{gateway.url}/dicom-web/instances")
            assert delivered == {each["00080018"]["Value"][0] for each in stored}
            assert f"{DELETED}.1.1" not in delivered
            (closed,) = [each for each in read(f"{gateway.url}/destinations?expand") if each["Name"] == "closed"]
            assert closed["State"] == "Held"

    def test_gives_its_files_to_another(self, folder: Path, tmp_path: Path) -> None:
        """The way back from an upgrade, as deploy/README.md has it: the files of a store are imported elsewhere."""
        command = [sys.executable, "-m", "gateway", "import", str(folder / "data" / "store"), "--json"]
        command += ["--create", "--data", str(tmp_path / "back")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50)
        assert done.returncode == 0, done.stderr
        files = [path for path in (folder / "data" / "store").rglob("*") if path.is_file()]
        assert json.loads(done.stdout)["outcomes"] == {"stored": len(files)}


def migrate(path: Path, last: int) -> int:
    """How many steps the migrations of the database took in a process that was killed at step `last`, or after them."""
    command = [sys.executable, "-c", DIES_IN_A_MIGRATION, str(path), str(last)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return int(done.stdout or "0")


def copied(data: Path, target: Path) -> Path:
    """The index in a folder of its own, with its log and without what a dead process leaves beside them."""
    target.mkdir()
    for name in (INDEX, LOG):
        shutil.copy(data / name, target)
    return target / INDEX


def content(path: Path) -> list[str]:
    """Schema and rows, as text."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        # But for the moment of each migration.
        return [line for line in connection.iterdump() if 'INTO "schema_version"' not in line]


async def open_and_close(path: Path) -> None:
    await (await SQLite.open(path)).close()


@pytest.mark.slow
@pytest.mark.timeout(240)
class TestKilledInAMigration:
    """Whenever it is: the database is the old one or the new one, and opens."""

    @pytest.fixture(autouse=True)
    def _later(self, monkeypatch: pytest.MonkeyPatch) -> None:
        known = migrations()
        monkeypatch.setattr("gateway.database.migrations.migrations", lambda: (*known, LATER))

    def test_by_a_signal(self, folder: Path, tmp_path: Path) -> None:
        old = content(copied(folder / "data", tmp_path / "old"))
        path = copied(folder / "data", tmp_path / "new")
        steps = migrate(path, 0)
        new = content(path)
        assert new != old
        found = []
        for number in range(12):
            path = copied(folder / "data", tmp_path / f"{number}")
            assert migrate(path, 1 + (steps - 1) * number // 11) == 0
            found.append(content(path))
            assert found[-1] in (old, new)
            asyncio.run(open_and_close(path))
            assert content(path) == new
        assert old in found

    def test_while_the_log_is_written(self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What had been written of the log when the power went, at fifty lengths."""
        old = content(copied(folder / "data", tmp_path / "old"))
        path = copied(folder / "data", tmp_path / "dead")
        before = path.with_name(LOG).stat().st_size
        migrate(path, 0)
        written = path.with_name(LOG).read_bytes()
        assert len(written) > before
        shutil.copytree(path.parent, tmp_path / "new")
        new = content(tmp_path / "new" / INDEX)
        found = []
        for number in range(50):
            cut = tmp_path / f"{number}"
            cut.mkdir()
            shutil.copy(path, cut)
            length = before + (len(written) - before) * number // 49
            (cut / LOG).write_bytes(written[:length])
            shutil.copytree(cut, tmp_path / "looked-at", dirs_exist_ok=True)
            found.append(content(tmp_path / "looked-at" / INDEX))
            assert found[-1] in (old, new)
            asyncio.run(open_and_close(cut / INDEX))
            assert content(cut / INDEX) == new
        assert found[0] == old
        assert found[-1] == new
