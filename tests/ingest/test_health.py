"""gateway/ingest/health.py: once data cannot be vouched for, that stays so and is said once."""

from __future__ import annotations

import logging

import pytest
from prometheus_client import REGISTRY

from gateway.ingest.health import Health


def test_sound_until_something_fails(caplog: pytest.LogCaptureFixture) -> None:
    health = Health()
    assert health.sound
    health.fail("a sync has failed")
    assert not health.sound
    (record,) = caplog.records
    assert record.levelno == logging.CRITICAL
    assert "NOT READY: a sync has failed" in record.getMessage()


def test_each_reason_is_said_once_and_all_are_kept() -> None:
    said: list[str] = []
    health = Health(on_failure=said.append)
    for reason in ("one", "two", "one"):
        health.fail(reason)
    assert said == health.failures == ["one", "two"]


def test_what_another_process_has_found_counts_here_and_is_not_said_again() -> None:
    theirs, said = ["one"], []
    health = Health(theirs, said.append)
    assert not health.sound
    health.fail("one")
    health.fail("two")
    assert said == ["two"]
    assert theirs == ["one"], "each process has a list of its own"


def test_the_metrics_say_so() -> None:
    def failed() -> float | None:
        return REGISTRY.get_sample_value("gateway_store_failed")

    health = Health()
    assert failed() == 0
    health.fail("one")
    assert failed() == 1
    Health(["one"])
    assert failed() == 1
    Health()
    assert failed() == 0
