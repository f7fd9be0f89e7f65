"""The reserve: held while there is room, given up where the disk is full but for it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from gateway.storage.layout import Layout
from gateway.storage.reserve import MAX_RESERVE_BYTES, Reserve

MIB = 1 << 20


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


def held(layout: Layout) -> int:
    """Bytes that are really allocated."""
    return layout.reserve.stat().st_blocks * 512


def test_held_and_released(layout: Layout) -> None:
    reserve = Reserve(layout)
    reserve.hold(1 << 40)
    assert held(layout) >= MAX_RESERVE_BYTES
    assert not reserve.release_when_full(100 * MIB)
    assert reserve.release_when_full(MIB)
    assert held(layout) == 0
    reserve.hold(1 << 40)
    assert held(layout) >= MAX_RESERVE_BYTES


def test_four_mebibytes_are_enough_to_delete(layout: Layout) -> None:
    reserve = Reserve(layout)
    reserve.hold(1 << 40)
    assert not reserve.release_when_full(4 * MIB)
    assert held(layout) >= MAX_RESERVE_BYTES
    assert reserve.release_when_full(4 * MIB - 1)
    assert held(layout) == 0


def test_of_a_small_disk_a_part(layout: Layout) -> None:
    Reserve(layout).hold(32 * MIB)
    assert layout.reserve.stat().st_size == 2 * MIB


def test_a_full_disk_has_none_and_says_nothing(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    Reserve(layout).hold(1 << 40)
    assert held(layout) == 0
