"""`make test`: each test runs in one half, and what one half fails at is not lost behind the other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import halves


@pytest.mark.timeout(180)
def test_each_runs_in_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.halves", "-q", "-o", f"cache_dir={tmp_path}"]
    command += ["tests/test_printable.py", "tests/access/test_hosts.py", "tests/cli/test_nodes.py"]
    done = subprocess.run(command, cwd=halves.TESTS.parent, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    rest, programs = done.stdout.split("=== Half of the tests: programs")
    assert "40 passed, 27 deselected" in rest
    assert "27 passed, 40 deselected" in programs


def test_names_of_folders() -> None:
    assert all((halves.TESTS / name / "__init__.py").exists() for name in halves.PROGRAMS)


@pytest.mark.parametrize(
    ("codes", "whole"),
    [
        ((0, 0), 0),
        ((0, 1), 1),
        ((1, 0), 1),
        ((0, 5), 0),
        ((5, 1), 1),
        ((5, 5), 5),
        ((1, 2), 2),
        ((4, 4), 4),
        ((0, -9), 3),
        ((-15, 1), 3),
    ],
)
def test_exit_code(codes: tuple[int, int], whole: int) -> None:
    assert halves.exit_code(codes) == whole
