"""Settings of the whole process."""

from __future__ import annotations

import resource

import pytest

from gateway.processes.process import RESERVED_DESCRIPTORS, connections_within


@pytest.mark.case("some descriptors are kept back from connections")
@pytest.mark.parametrize(
    ("limit", "expected"), [(65536, [800, 1000]), (2056, [800, 1000]), (1156, [400, 500]), (400, [88, 111])]
)
def test_connections_leave_descriptors_to_files(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, limit: int, expected: list[int]
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (limit, limit))
    found = connections_within(800, 1000)
    assert found == expected
    assert sum(found) <= max(limit - RESERVED_DESCRIPTORS, limit // 2)
    assert ("raise it" in caplog.text) is (sum(found) < 1800)
