"""The command as people and scripts use it: output, exit codes, the file of what was acknowledged."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import loadtest
from gateway.errors import ConfigurationError
from loadtest import peers
from loadtest.cli import app
from tests.support.waiting import wait_until

ROOT = Path(loadtest.__file__).parent


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[peers.Peer]:
    with peers.sink(tmp_path_factory.mktemp("sink")) as peer:
        yield peer


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


class TestSend:
    def test_it_says_how_fast_it_was(self, sink: peers.Peer, tmp_path: Path) -> None:
        file, page = tmp_path / "acknowledged", tmp_path / "report.html"
        code, out, _ = run(
            *("send", sink.host, sink.port, "-k", 2, "-n", 10, "--size", "8KB", "--acknowledged", file, "--html", page)
        )
        assert code == 0, out
        assert "20 of 20" in out
        assert "p99" in out
        assert len(set(file.read_text().splitlines())) == 20
        assert "2 associations, 8KB" in page.read_text()

    def test_as_json(self, sink: peers.Peer) -> None:
        code, out, _ = run("send", sink.host, sink.port, "-n", 5, "--size", "8KB", "--window", 4, "--json")
        result = json.loads(out)
        assert code == 0, out
        assert result["works"][0]["operations"] == 5
        assert result["verification"] is None

    def test_failures_are_exit_code_1_and_wrong_usage_2(self, sink: peers.Peer, tmp_path: Path) -> None:
        code, out, _ = run("send", "127.0.0.1", peers.free_port(), "-n", 5)
        assert code == 1
        assert "not begun 5" in out
        assert run("send", sink.host, sink.port, "--size", "huge")[0] == 2
        assert run("send", sink.host, sink.port, "--verify", "host")[0] == 2
        assert run("send", sink.host, sink.port, "--files", tmp_path / "none")[0] == 2

    def test_ctrl_c_ends_the_work_and_not_the_report(self, sink: peers.Peer, tmp_path: Path) -> None:
        file = tmp_path / "acknowledged"
        command = [sys.executable, "-m", "loadtest", "send", sink.host, str(sink.port), "-n", "1000000"]
        command += ["--size", "8KB", "--acknowledged", str(file), "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
            wait_until(lambda: file.exists() and file.stat().st_size > 0, 20)
            os.killpg(process.pid, signal.SIGINT)
            out, _ = process.communicate(timeout=20)
        result = json.loads(out)
        assert process.returncode == 1
        assert result["troubles"] == ["interrupted before its end"]
        assert result["works"][0]["operations"] > 0


class TestRun:
    def test_a_scenario_of_ones_own_against_the_gateway(self, tmp_path: Path) -> None:
        """Stored, found, moved to us, read over the web, verified, watched, and told in a page."""
        file, page = tmp_path / "mine.toml", tmp_path / "report.html"
        file.write_text(
            'title = "Mine"\nabout = "A bit of everything."\nduration = 1\n'
            '[data.ct]\nsize = "8KB"\nseries = 2\ninstances = 3\n[[prepare]]\ndata = "ct"\nstudies = 2\n'
            '[[work]]\ndo = "store"\ndata = "ct"\neach = "study"\nat_once = 2\nrate = 5\n'
            '[[work]]\ndo = "find"\ncount = 3\n[[work]]\ndo = "move"\ncount = 2\n[[work]]\ndo = "get"\ncount = 2\n'
            '[[work]]\ndo = "qido"\ncount = 3\nkeys = {StudyInstanceUID = "{study}"}\n'
            '[[work]]\ndo = "study"\ncount = 2\n[[work]]\ndo = "metadata"\ncount = 2\n'
        )
        code, out, err = run("run", file, "--start", "gateway", "--no-ceiling", "--html", page, "--json")
        result = json.loads(out)
        assert code == 0, out + err
        works = {work["name"]: work for work in result["works"]}
        assert works["store"]["operations"] == 5
        assert works["store"]["instances"] == 30
        assert works["move"]["instances"] == works["get"]["instances"] == 12
        assert works["move"]["bytes"] > 12 * 8192
        assert works["qido"]["instances"] == 3
        assert result["verification"]["asked"] == result["verification"]["found"] == 42
        assert result["verification"]["compared"] > 3
        assert result["usage"]["memory_peak"] > 10_000_000
        assert "Mine" in page.read_text()

    def test_the_generators_ceiling_is_measured_first(
        self, sink: peers.Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from loadtest import run as runs

        monkeypatch.setattr(runs, "_CEILING_SECONDS", 0.2)
        file = tmp_path / "mine.toml"
        file.write_text(
            'title = "Mine"\nabout = "Echo."\n[[work]]\ndo = "echo"\ncount = 200\n[[work]]\ndo = "qido"\ncount = 5\n'
        )
        to, url = f"{sink.aet}@{sink.host}:{sink.port}", sink.dicomweb
        code, out, _ = run("run", file, "--to", to, "--web", url, "--no-verify", "--json")
        result = json.loads(out)
        assert code == 0, out
        assert all(ceiling["operations_per_second"] > 50 for ceiling in result["ceilings"])

    @pytest.mark.parametrize(
        "arguments",
        [
            ("swarm",),
            ("swarm", "--to", "nowhere"),
            ("swarm", "--web", "nowhere"),
            ("swarm", "--start", "pacs"),
            ("swarm", "--start", "sink", "--to", "A@b:1"),
            ("swarm", "--to", "A@b:1", "--duration", "long"),
            ("swarm", "--to", "A@b:1", "--budget", "much"),
            ("swarm", "--to", "A@b:1", "--move-to", "X:y"),
        ],
    )
    def test_wrong_usage_is_exit_code_2(self, arguments: tuple[str, ...]) -> None:
        assert run("run", *arguments)[0] == 2

    def test_a_wrong_scenario_is_said_with_its_place(self, tmp_path: Path) -> None:
        file = tmp_path / "mine.toml"
        file.write_text('title = "t"\nabout = "a"\nspeed = 1\nwork = []\n')
        with pytest.raises(ConfigurationError, match=r"mine.toml: .*unknown field `speed`"):
            run("run", file, "--to", "A@b:1")


def test_scenarios_are_listed_and_shown() -> None:
    code, out, _ = run("scenarios")
    assert code == 0
    assert "morning " in out
    assert "swarm " in out
    assert "at_once = 500" in run("scenarios", "swarm")[1]
    assert "swarm" in json.loads(run("scenarios", "--json")[1])


def test_compare_as_people_call_it(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    folder = tmp_path / "data"
    folder.mkdir()
    code, out, _ = run(
        *("compare", "--rounds", 1, "--rows", "store-1", "--scale", "0.02", "--peers", "gateway,sink"),
        *("--folder", folder, "--html", page),
    )
    assert code == 0, out
    assert "1 association, 512 KB" in out
    assert "1 association, 512 KB" in page.read_text()
    assert list(folder.iterdir()) == []
    assert "growth" in run("compare", "--list")[1]
    assert run("compare", "--peers", "pacs")[0] == 2
    assert run("compare", "--rows", "everything")[0] == 2


def test_nothing_of_the_gateway_above_net_is_imported() -> None:
    allowed = ("gateway.errors", "gateway.dicom", "gateway.ul", "gateway.dimse", "gateway.net")
    files = sorted(ROOT.rglob("*.py"))
    assert len(files) > 30
    for file in files:
        for node in ast.walk(ast.parse(file.read_bytes())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert not name.startswith("gateway") or name.startswith(allowed), f"{file.name} imports {name}"
