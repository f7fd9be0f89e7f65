"""How many workers, and what each may have."""

from __future__ import annotations

import pytest

from gateway import config
from gateway.workers import sizing


@pytest.mark.parametrize(("cpus", "workers"), [(1, 1), (2, 1), (3, 1), (4, 2), (16, 8), (96, 8)])
def test_as_the_machine_gives(monkeypatch: pytest.MonkeyPatch, cpus: int, workers: int) -> None:
    monkeypatch.setattr(sizing, "cpus", lambda: cpus)
    assert sizing.number_of_workers(config.load(environment={})) == workers
    asked = config.load(environment={"GATEWAY_SERVER__WORKERS": "5"})
    assert sizing.number_of_workers(asked) == 5


def test_budgets_are_divided_and_limits_are_not() -> None:
    whole = config.load(environment={})
    part = sizing.share(whole, 4)
    assert part.storage.buffer_memory * 4 == whole.storage.buffer_memory
    assert part.storage.sync_threads * 4 == whole.storage.sync_threads
    assert part.imaging.cache_memory * 4 == whole.imaging.cache_memory
    assert part.rest.answer_cache * 4 == whole.rest.answer_cache
    assert part.imaging.threads == 1
    assert part.dicom == whole.dicom
    config.load(environment={"GATEWAY_STORAGE__BUFFER_MEMORY": str(sizing.share(whole, 1000).storage.buffer_memory)})
