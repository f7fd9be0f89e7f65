"""gateway/storage/segments/keys.py."""

from __future__ import annotations

import pytest

from gateway.storage.layout import is_key, new_key
from gateway.storage.segments.keys import MAX_SEGMENT_BYTES, is_in_segment, is_name, key_at, new_name, place_of


def test_a_key_says_where() -> None:
    name = new_name(1000)
    for offset in (4096, 8192, 256 << 20, MAX_SEGMENT_BYTES - 4096):
        key = key_at(name, offset)
        assert place_of(key) == (name, offset)
        assert is_in_segment(key)
        assert not is_key(key)
    assert not is_in_segment(new_key(1000))


def test_keys_sort_as_they_were_written() -> None:
    names = [new_name(milliseconds) for milliseconds in (1, 2, 1 << 40)]
    keys = [key_at(name, offset) for name in names for offset in (4096, 8192, 1 << 28)]
    assert keys == sorted(keys)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "-",
        new_key(1),
        "../../etc/passwd-00001",
        f"{new_name(1)}-0001",
        f"{new_name(1)}-GGGGG",
        f"{new_name(1)}-1_001",
        "01abc-00001",
    ],
)
def test_what_is_none(key: str) -> None:
    with pytest.raises(ValueError, match="is not a key"):
        place_of(key)


def test_names() -> None:
    assert is_name(new_name(5))
    assert not is_name(f"spare-{new_key(5)}")
    assert not is_name("../01ABCDEFGHJKM")
