"""Servers that are started to be compared: another build, Orthanc with PostgreSQL, and what each is told of others."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from loadtest import peers
from loadtest.cli import common
from loadtest.compare.measures import store_study
from loadtest.peers import postgres
from tests.loadtest.test_cli import run
from tests.support.peers import need

FAKE = """
import sys, time
print("DICOM  FAKE@127.0.0.1:11112")
print("Web    http://127.0.0.1:8042/ui/", flush=True)
time.sleep(60)
"""


def checkout(folder: Path) -> Path:
    """A checkout of a gateway that says where it listens, and does not."""
    package = folder / "gateway"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(FAKE)
    return folder


class TestOtherBuild:
    def test_the_code_of_the_checkout_runs_and_not_ours(self, tmp_path: Path) -> None:
        source = checkout(tmp_path / "before")
        with peers.other_build(source)(tmp_path / "data", peers.Wiring({"SINK": 104}, "SINK")) as peer:
            assert (peer.name, peer.aet, peer.port) == ("other-build", "FAKE", 11112)
            assert peer.is_gateway
            assert peer.source == source
        settings = (tmp_path / "data" / "gateway.toml").read_text()
        assert '[destinations.sink]\nkind = "dicom"\nmodality = "sink"' in settings

    def test_its_own_environment_is_used_where_it_has_one(self, tmp_path: Path) -> None:
        source = checkout(tmp_path / "before")
        python = source / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(
            '#!/bin/sh\necho "DICOM  OWN@127.0.0.1:1"; echo "Web    http://127.0.0.1:2/"; exec sleep 60\n'
        )
        python.chmod(0o755)
        with peers.other_build(source)(tmp_path / "data", peers.ALONE) as peer:
            assert peer.aet == "OWN"

    def test_what_is_no_checkout_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(peers.NotInstalled, match="no checkout of the gateway"):
            run("compare", "--against", tmp_path)


def test_names_of_servers_by_address_are_new(tmp_path: Path) -> None:
    for wrong in (("orthanc=127.0.0.1:104,A",), ("a=127.0.0.1:104,A", "a=127.0.0.1:105,A"), ("a=nowhere",)):
        code, _, err = run("compare", *(word for text in wrong for word in ("--peer", text)))
        assert code == 2, wrong
        assert "--peer" in err


def test_a_server_by_address_gets_its_part_of_the_work(tmp_path: Path) -> None:
    with peers.sink(tmp_path / "theirs") as theirs:
        code, out, _ = run(
            *("compare", "--rows", "store-1,swarm", "--rounds", 1, "--scale", "0.01", "--peers", "gateway"),
            *("--peer", f"theirs=127.0.0.1:{theirs.port},{theirs.aet}", "--json"),
        )
    assert code == 0, out
    assert [line.strip() for line in out.splitlines() if '"peer": "theirs"' in line] == ['"peer": "theirs",'] * 1


@pytest.mark.interop
def test_orthanc_keeps_its_index_in_postgresql(capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("orthanc", "orthanc-dicomweb", "orthanc-postgresql", "postgresql"):
        need(name)
    with common.room(None) as folder, peers.PEERS["orthanc-postgresql-tuned"](folder / "it", peers.ALONE) as peer:
        assert peer.name == "orthanc-postgresql-tuned"
        assert len(store_study(peer, "8KB", 3)) == 3
        assert (folder / "it" / "postgresql" / "data" / "PG_VERSION").is_file()
        assert not list((folder / "it").glob("storage/index*"))
    assert not folder.exists()


@pytest.mark.interop
@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")
def test_a_folder_that_postgresql_may_not_enter_is_said() -> None:
    need("postgresql")
    with (
        tempfile.TemporaryDirectory() as folder,  # Nobody else may enter it.
        pytest.raises(peers.NotInstalled, match="choose another folder"),
        postgres.cluster(Path(folder) / "it", "someone"),
    ):
        pass
