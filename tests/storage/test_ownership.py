"""gateway/storage/ownership.py: foreign folders are refused, and one gateway serves a folder at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.errors import ConfigurationError
from gateway.storage.layout import Layout
from gateway.storage.ownership import check_own, served


class TestForeignFolders:
    @pytest.mark.parametrize("names", [["notes.txt"], ["a", "b", "c", "d"], [".ssh"], ["store", "holiday.jpg"]])
    def test_are_refused(self, tmp_path: Path, names: list[str]) -> None:
        for name in names:
            (tmp_path / name).mkdir()
        with pytest.raises(ConfigurationError, match=r"is no data folder of a gateway; name an empty folder"):
            check_own(Layout(tmp_path))
        assert {each.name for each in tmp_path.iterdir()} == set(names)

    @pytest.mark.parametrize(
        "names",
        [
            [],
            ["lost+found"],
            ["ohif"],
            ["store", "incoming", "rejected"],
            ["database.sqlite", "write.lock", "notes.txt"],
            ["database.sqlite.partial", "store"],
            ["store", "incoming", "rejected", "reserve", "write.lock", "README"],
        ],
        ids=["empty", "mounted", "viewer first", "killed at once", "with a note", "half restored", "index lost"],
    )
    def test_own_ones_are_not(self, tmp_path: Path, names: list[str]) -> None:
        for name in names:
            (tmp_path / name).mkdir()
        check_own(Layout(tmp_path))
        check_own(Layout(tmp_path / "missing"))


class TestTheLock:
    def test_is_held_by_one(self, tmp_path: Path) -> None:
        layout = Layout(tmp_path)
        with served(layout):
            why = f"another gateway, process {os.getpid()}, serves"
            with pytest.raises(ConfigurationError, match=why), served(layout):
                pytest.fail("it is served twice")
            with served(Layout(tmp_path.parent)):
                pass
        with served(layout):
            pass

    def test_goes_with_its_process(self, tmp_path: Path) -> None:
        """Killed, it leaves the file and no lock."""
        program = (
            "import sys, time; from pathlib import Path; from gateway.storage.layout import Layout\n"
            "from gateway.storage.ownership import served\n"
            "with served(Layout(Path(sys.argv[1]))): print('held', flush=True); time.sleep(60)"
        )
        other = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"held\n"
            with pytest.raises(ConfigurationError, match=f"process {other.pid},"), served(Layout(tmp_path)):
                pytest.fail("it is served twice")
        finally:
            other.kill()
            other.communicate()
        with served(Layout(tmp_path)):
            assert (tmp_path / "serving.lock").read_text() == f"{os.getpid()}\n"
