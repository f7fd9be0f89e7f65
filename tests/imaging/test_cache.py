"""Kept within its bytes, made once however many ask."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import REGISTRY

from gateway.imaging.cache import OVERHEAD_BYTES, FrameCache

SIZE = 1000


def cache(entries: int) -> FrameCache:
    return FrameCache(entries * (SIZE + OVERHEAD_BYTES))


def never() -> bytes:
    raise AssertionError("made again")


def test_what_was_used_last_stays() -> None:
    frames = cache(4)
    for key in "abcd":
        frames.get(key, lambda: bytes(SIZE))
    frames.get("a", never)
    frames.get("e", lambda: bytes(SIZE))
    assert frames.used == frames.capacity
    assert REGISTRY.get_sample_value("gateway_cache_bytes", {"cache": "pictures"}) == frames.used
    for key in "acde":
        frames.get(key, never)
    with pytest.raises(AssertionError):
        frames.get("b", never)


def test_one_that_is_put_in_place_of_another() -> None:
    frames = cache(4)
    for size in (SIZE, SIZE // 2):
        frames.put("a", bytes(size))
        assert frames.used == size + OVERHEAD_BYTES
    assert "a" in frames
    assert frames.peek("a") == bytes(SIZE // 2)
    frames.put("a", bytes(4 * SIZE))
    assert "a" not in frames
    assert frames.used == 0


def test_one_that_is_too_large_is_not_kept() -> None:
    frames = cache(4)
    assert len(frames.get("a", lambda: bytes(4 * SIZE))) == 4 * SIZE
    assert len(frames) == frames.used == 0


def test_the_budget_holds_for_small_ones_too() -> None:
    frames = FrameCache(100 * OVERHEAD_BYTES)
    for key in range(1000):
        frames.get(key, lambda: b"")
    assert len(frames) == 100


def test_many_ask_at_once() -> None:
    frames = cache(4)
    entered, go = threading.Event(), threading.Event()
    made = []

    def make() -> bytes:
        entered.set()
        assert go.wait(10)
        made.append(1)
        return b"frame"

    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(frames.get, "a", make)
        assert entered.wait(10)
        rest = [threads.submit(frames.get, "a", never) for _ in range(7)]
        go.set()
        assert {each.result(10) for each in (first, *rest)} == {b"frame"}
    assert made == [1]


def test_an_error_reaches_all_and_is_not_kept() -> None:
    frames = cache(4)
    entered, go = threading.Event(), threading.Event()

    def fail() -> bytes:
        entered.set()
        assert go.wait(10)
        raise ValueError("broken")

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(frames.get, "a", fail)
        assert entered.wait(10)
        second = threads.submit(frames.get, "a", never)
        while not second.running():
            pass
        go.set()
        for each in (first, second):
            with pytest.raises((ValueError, AssertionError)):
                each.result(10)
    assert frames.get("a", lambda: b"whole") == b"whole"


def test_other_keys_do_not_wait() -> None:
    frames = cache(4)
    entered, go = threading.Event(), threading.Event()

    def slow() -> bytes:
        entered.set()
        assert go.wait(10)
        return b"slow"

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(frames.get, "a", slow)
        assert entered.wait(10)
        assert frames.get("b", lambda: b"quick") == b"quick"
        go.set()
        assert first.result(10) == b"slow"
