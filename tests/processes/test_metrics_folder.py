"""Folders of metrics: one for each living gateway, none of the dead."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from gateway.processes.metrics_folder import MetricsFolder


@pytest.mark.case("broken 33 folders of metrics of killed gateways go")
def test_those_of_the_dead_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead = tmp_path / "dicom-gateway-metrics-dead"
    dead.mkdir()
    (dead / "counter_1.db").touch()
    living = MetricsFolder()
    (Path(living.path) / "counter_2.db").touch()
    other = MetricsFolder()
    assert sorted(tmp_path.iterdir()) == sorted(Path(folder.path) for folder in (living, other))
    living.close()
    other.close()
    assert list(tmp_path.iterdir()) == []
