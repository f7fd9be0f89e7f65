"""Bodies that come compressed: whole ones in any pieces, and what is none."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import BadRequest
from gateway.http.content_coding import ContentDecoder


def packed(coding: str, data: bytes) -> bytes:
    """`bare` is deflate without zlib's header."""
    if coding == "bare":
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return packer.compress(data) + packer.flush()
    return zlib.compress(data) if coding == "deflate" else gzip.compress(data)


def unpacked(coding: str, pieces: list[bytes]) -> bytes:
    decoder = ContentDecoder("deflate" if coding == "bare" else coding)
    found = [part for piece in pieces for part in decoder.feed(piece)]
    decoder.finish()
    return b"".join(found)


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate", "bare"])
@given(data=st.binary(max_size=2000), size=st.integers(1, 700))
@settings(deadline=None, max_examples=50)
def test_in_any_pieces(coding: str, data: bytes, size: int) -> None:
    body = packed(coding, data)
    assert unpacked(coding, [body[at : at + size] for at in range(0, len(body), size)]) == data


def test_several_members() -> None:
    """As `cat a.gz b.gz` makes them."""
    assert unpacked("gzip", [gzip.compress(b"one ") + gzip.compress(b"two")]) == b"one two"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "bare"])
def test_one_that_ends_early_is_none(coding: str) -> None:
    body = packed(coding, bytes(range(256)) * 40)
    for cut in (0, 1, 5, len(body) // 2, len(body) - 1):
        with pytest.raises(BadRequest, match="in the middle"):
            unpacked(coding, [body[:cut]])


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", b"no gzip"),
        ("gzip", gzip.compress(b"one") + b"more"),
        ("deflate", zlib.compress(b"one") + b"more"),
        ("deflate", b"\xff\xff\xff"),
    ],
)
def test_what_is_none(coding: str, body: bytes) -> None:
    with pytest.raises(BadRequest):
        unpacked(coding, [body])


def test_pieces_are_bounded() -> None:
    decoder = ContentDecoder("gzip")
    assert max(map(len, decoder.feed(gzip.compress(bytes(8 << 20))))) <= 256 << 10
    decoder.finish()


def test_other_codings_are_refused() -> None:
    with pytest.raises(BadRequest, match="'br' is not taken"):
        ContentDecoder("br")
