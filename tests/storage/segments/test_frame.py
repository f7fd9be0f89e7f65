"""gateway/storage/segments/frame.py: what is made is parsed, and nothing else is."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.storage.segments.frame import (
    BLOCK_BYTES,
    FRAME_HEADER_BYTES,
    FrameHeader,
    FrameKind,
    encode_segment_header,
    frame_length,
    parse_frame_header,
    segment_id_of,
)

NAME, ID = "01ABCDEFGHJKMNPQ", bytes(range(16))
HEADERS = st.builds(
    FrameHeader,
    st.sampled_from(FrameKind),
    st.just(ID),
    st.integers(1, 1 << 20).map(lambda block: block * BLOCK_BYTES),
    st.integers(0, 1 << 20),
    st.integers(0, 1 << 40),
    st.integers(0, 1 << 40),
    st.floats(0, 4e9),
    st.integers(0, (1 << 32) - 1),
)


@given(HEADERS)
@settings(deadline=None)
def test_a_header_is_parsed_as_it_was_made(header: FrameHeader) -> None:
    data = header.encode()
    assert len(data) == FRAME_HEADER_BYTES
    assert parse_frame_header(data + b"more", ID, header.offset) == header
    assert header.end - header.offset == header.length == frame_length(header.notes_length, header.object_length)
    assert header.length % BLOCK_BYTES == 0
    assert (
        header.object_offset + header.object_length <= header.end < header.object_offset + header.object_length + 4096
    )


@given(HEADERS, st.data())
@settings(deadline=None)
def test_a_changed_byte_makes_it_none(header: FrameHeader, data: st.DataObject) -> None:
    made = bytearray(header.encode())
    at = data.draw(st.integers(0, len(made) - 1))
    made[at] ^= data.draw(st.integers(1, 255))
    assert parse_frame_header(bytes(made), ID, header.offset) is None


def test_a_frame_elsewhere_is_none() -> None:
    """A copy of it, as in the pixel data of an instance: at another place, or in another segment."""
    made = FrameHeader(FrameKind.INSTANCE, ID, 4096, 2, 10, 4096, 1.0, 7).encode()
    assert parse_frame_header(made, ID, 4096) is not None
    assert parse_frame_header(made, ID, 8192) is None
    assert parse_frame_header(made, bytes(16), 4096) is None
    assert parse_frame_header(made[:-1], ID, 4096) is None


def test_the_header_of_a_segment() -> None:
    made = encode_segment_header(NAME, ID)
    assert len(made) == BLOCK_BYTES
    assert segment_id_of(made, NAME) == ID
    assert segment_id_of(made, NAME[:-1] + "R") is None, "a spare file that still has its old header"
    assert segment_id_of(made[:20], NAME) is None
    for at in range(46):
        assert segment_id_of(made[:at] + bytes([made[at] ^ 1]) + made[at + 1 :], NAME) is None


@pytest.mark.parametrize("size", [0, 1, 4096, 100_000])
def test_the_checksums_are_those_of_zlib(size: int) -> None:
    """So that whoever has nothing but the standard library can check a segment."""
    from isal import isal_zlib

    data = bytes(range(256)) * (size // 256 + 1)
    assert isal_zlib.crc32(data[:size]) == zlib.crc32(data[:size])
