"""The command as people and scripts use it: output, exit codes, the file of what was acknowledged."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import loadtest
from loadtest import peers
from loadtest.cli import app
from tests.support.peers import need

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


def test_send_says_how_fast_it_was(sink: peers.Peer, tmp_path: Path) -> None:
    file = tmp_path / "acknowledged"
    code, out, _ = run("send", sink.host, sink.port, "-k", 2, "-n", 10, "--size", "8KB", "--acknowledged", file)
    assert code == 0, out
    assert "20 of 20" in out
    assert "p99" in out
    assert len(set(file.read_text().splitlines())) == 20


def test_send_as_json(sink: peers.Peer) -> None:
    code, out, _ = run("send", sink.host, sink.port, "-n", 5, "--size", "8KB", "--window", 4, "--json")
    result = json.loads(out)
    assert code == 0, out
    assert result["summary"]["acknowledged"] == 5
    assert result["verification"] is None


def test_failures_are_exit_code_1_and_wrong_usage_2(sink: peers.Peer, tmp_path: Path) -> None:
    code, out, _ = run("send", "127.0.0.1", peers.free_port(), "-n", 5)
    assert code == 1
    assert "not sent 5" in out
    assert run("send", sink.host, sink.port, "--size", "huge")[0] == 2
    assert run("compare", "--peers", "pacs")[0] == 2
    assert run("compare", "--associations", "many")[0] == 2
    assert run("send", sink.host, sink.port, "--files", tmp_path / "none")[0] == 2


def test_compare_with_what_always_is_there(tmp_path: Path) -> None:
    code, out, _ = run(
        *("compare", "--rounds", 2, "--associations", "1,3", "--count", 6, "--size", "8KB", "--work", "store"),
        *("--peers", "gateway,sink", "--folder", tmp_path, "--json"),
    )
    result = json.loads(out)
    assert code == 0, out
    assert [work["name"] for work in result["works"]] == ["1 association, 8KB", "3 associations, 8KB"]
    for work in result["works"]:
        assert [row["peer"] for row in work["rows"]] == ["gateway", "sink"]
        assert all(len(row["runs"]) == 2 for row in work["rows"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.interop
def test_compare_with_orthanc_and_storescp(tmp_path: Path) -> None:
    for name in ("storescu", "storescp", "orthanc", "orthanc-dicomweb"):
        need(name)
    code, out, _ = run(
        *("compare", "--rounds", 1, "--associations", "2", "--count", 4, "--size", "8KB", "--folder", tmp_path),
        *("--peers", "orthanc-tuned,storescp-tuned"),
    )
    assert code == 0, out
    assert "storescu, 4 x 8KB" in out
    assert out.count("orthanc-tuned") == out.count("storescp-tuned") == 2


def test_a_peer_that_is_not_installed_is_left_out_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_PATH", str(tmp_path))
    code, out, _ = run("compare", "--count", 2, "--size", "8KB", "--associations", "1", "--peers", "storescp,sink")
    assert code == 0, out
    assert "left out: storescp is not installed: apt-get install dcmtk" in out
    assert "left out: storescu is not installed" in out


def test_a_peer_that_does_not_start_is_told_with_its_log(tmp_path: Path) -> None:
    with pytest.raises(peers.NotStarted, match="No such option"), peers.gateway(tmp_path, "--no-such"):
        pass


def test_nothing_of_the_gateway_above_net_is_imported() -> None:
    allowed = ("gateway.errors", "gateway.dicom", "gateway.ul", "gateway.dimse", "gateway.net")
    for file in sorted(ROOT.glob("*.py")):
        for node in ast.walk(ast.parse(file.read_bytes())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert not name.startswith("gateway") or name.startswith(allowed), f"{file.name} imports {name}"
