"""Content codings of bodies that come in (RFC 9110 §8.4.1), undone piece by piece in bounded memory. No I/O.

aiohttp's own way takes a gzip stream that ends early for a whole one, so that half a file was acknowledged.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from gateway.errors import BadRequest

_PIECE_BYTES: Final = 256 << 10
"""Decoded bytes that are made at once."""
_GZIP: Final = 16 + zlib.MAX_WBITS
_ZLIB_METHOD: Final = 8


class ContentDecoder:
    """Decodes one body of a coding: gzip (x-gzip), of one member or several, or deflate, with zlib's header or, as many
    clients send it, without."""

    def __init__(self, coding: str) -> None:
        """Raises BadRequest for any other coding."""
        if coding not in ("gzip", "x-gzip", "deflate"):
            raise BadRequest(
                f"Content-Encoding: {coding[:40]!r} is not taken; send gzip, deflate or nothing of the kind"
            )
        self._coding = coding
        self._stream: zlib._Decompress | None = None
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bytes that more of the body decodes to, in pieces. Raises BadRequest where it is corrupt."""
        while data:
            if self._stream is None:
                self._stream = self._opened(data[0])
            try:
                piece = self._stream.decompress(data, _PIECE_BYTES)
            except zlib.error as error:
                raise BadRequest(f"the body is no {self._coding}: {error}") from None
            data = self._stream.unconsumed_tail
            if self._stream.eof:
                data, self._stream = self._stream.unused_data, None
            if piece:
                yield piece

    def finish(self) -> None:
        """Check that the body has ended where its coding does. Raises BadRequest."""
        if self._stream is not None or not self._begun:
            raise BadRequest(f"the body ends in the middle of its {self._coding} stream")

    def _opened(self, first: int) -> zlib._Decompress:
        if self._begun and self._coding == "deflate":
            raise BadRequest("there are bytes behind the deflate stream of the body")
        self._begun = True
        if self._coding != "deflate":
            return zlib.decompressobj(_GZIP)
        return zlib.decompressobj(zlib.MAX_WBITS if first & 0xF == _ZLIB_METHOD else -zlib.MAX_WBITS)
