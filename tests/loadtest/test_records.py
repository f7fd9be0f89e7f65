"""Results as files: that they come back whole, and that nothing in them names a place."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from gateway.errors import ConfigurationError
from loadtest import machine, peers, records
from loadtest.compare.table import Comparison, Goal, Measured, RowResult, entries, outcomes
from loadtest.machine import Machine
from loadtest.peers import about
from loadtest.report import html
from tests.loadtest.test_growth import growth

HERE = Machine(
    cpu="A processor",
    cpus=2,
    virtual=True,
    memory=8 << 30,
    system="Debian",
    kernel="6.1",
    python="3.11",
    file_system="ext4",
    load=0.1,
)


def comparison(trouble: str = "", began: str = "2026-11-30T02:00:00+00:00") -> Comparison:
    runs = {
        "gateway": [Measured(100), Measured(300)],
        "orthanc-tuned": [Measured(50), Measured(60, trouble)],
    }
    found = entries(runs, less_is_better=False)
    row = RowResult(
        name="store-8",
        title="8 associations, 512 KB",
        unit="instances/s",
        less_is_better=False,
        entries=found,
        outcomes=outcomes([Goal(4, "orthanc-tuned")], found),
    )
    versions = {"gateway": "gateway 1.2 at abc1234", "orthanc-tuned": "Orthanc 1.10.1"}
    return Comparison(
        began=began, rounds=2, scale=1, cpus=2, remarks=[trouble], rows=[row], machine=HERE, versions=versions
    )


def test_results_come_back_whole_and_the_newest_first(tmp_path: Path) -> None:
    first, last = comparison(), growth({"intake": 100}, {"intake": 99})
    file = records.write(tmp_path, first, [])
    assert file.name == "compare-20261130-020000.json"
    records.write(tmp_path, comparison(began="2026-12-01T00:00:00+00:00"), [])
    records.write(tmp_path, last, [])
    found = records.read(tmp_path)
    assert list(found) == ["compare-20261201-000000.json", "compare-20261130-020000.json", "growth-.json"]
    assert found["compare-20261130-020000.json"] == first
    assert found["growth-.json"] == last
    assert records.read(tmp_path / "none") == {}


def test_no_folder_and_no_host_is_named(tmp_path: Path) -> None:
    trouble = f"log at {tmp_path}/orthanc on {socket.gethostname()}, {Path.home()}/x, pacs.example:104 refused"
    text = records.write(tmp_path, comparison(trouble), [tmp_path, "pacs.example:104", ""]).read_text()
    assert str(tmp_path) not in text
    assert "pacs.example" not in text
    assert f"on {socket.gethostname()}" not in text
    assert f"{Path.home()}/x" not in text
    assert "refused" in text
    assert '"store-8"' in text


def test_a_file_that_is_no_result_is_named(tmp_path: Path) -> None:
    (tmp_path / "it.json").write_text('{"type": "other"}')
    with pytest.raises(ConfigurationError, match=r"it\.json is no result"):
        records.read(tmp_path)


def test_the_page_of_a_comparison_says_where_it_was_measured() -> None:
    page = html.comparison_page(comparison())
    assert "2 cores of A processor, virtual, 8 GiB, ext4; Debian, Linux 6.1, Python 3.11. Load" in page
    assert "<li>orthanc-tuned: Orthanc 1.10.1</li>" in page


def test_the_machine_is_described_without_its_name(tmp_path: Path) -> None:
    here = machine.describe(tmp_path)
    assert here.cpus == os.cpu_count()
    assert here.memory > 1 << 28
    assert here.file_system
    assert machine.file_system(Path("/proc/self")) == "proc"


def test_versions_of_servers_are_asked_for(tmp_path: Path) -> None:
    source = tmp_path / "before"
    (source / "gateway").mkdir(parents=True)
    (source / "gateway" / "__init__.py").write_text('__version__ = "0.7"\n')
    peer = peers.Peer("other-build", "A", 1, 1, None, source=source)
    assert about.version_of(peer) == "gateway 0.7"
    assert about.version_of(peers.Peer("pynetdicom", "A", 1, 1, None)).startswith("pynetdicom ")
    assert about.version_of(peers.Peer("theirs", "A", 1, 0, None)) == "reached by address"
    with peers.gateway(tmp_path / "it") as ours:
        assert about.version_of(ours).startswith("gateway ")
