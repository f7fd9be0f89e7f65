"""Multipart bodies, parsed as they arrive (RFC 2046 §5.1): bytes in, heads, contents and tails out. No I/O.

aiohttp's reader is not used: it reads no body whose lines end with LF and none that begins with a long
line, trusts a part's Content-Length, and passes contents on in copies. Neither is slow (200 parts of 512 KB from
memory: 73 ms there, 52 here).

Tolerated are: CRLF or anything else before the first boundary, anything after the last, no line end there, LF
throughout instead of CRLF, blanks after a boundary, folded header lines, no header at all. Contents are found by the
boundary alone. The contents of a part are not interpreted here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.errors import BadRequest

MAX_BOUNDARY_LENGTH: Final = 256
"""Characters of a boundary. RFC 2046 allows 70."""
MAX_HEAD_BYTES: Final = 16 << 10
"""Bytes of the header of a part."""
MAX_PREAMBLE_BYTES: Final = 64 << 10
"""Bytes before the first boundary."""
_MAX_PADDING_BYTES: Final = 256
"""Blanks after a boundary."""
_AFTER: Final = re.compile(rb"(--)|[ \t]*(\r?\n)")
"""The bytes behind a boundary: of the last one, or of another part."""
_AFTER_BEGUN: Final = re.compile(rb"-?|[ \t]*\r?")
_HEAD_END: Final = re.compile(rb"(?:\A|\n)\r?\n")


class Malformed(BadRequest):
    """The body is not a multipart body with this boundary, or ends in the middle of a part."""


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of a part. Names of headers are in lower case."""

    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a part."""


Event = Head | Tail | memoryview


class Parser:
    """Parses one body. `feed` it until its end, then `close`."""

    def __init__(self, boundary: str) -> None:
        if not 1 <= len(boundary) <= MAX_BOUNDARY_LENGTH:
            raise Malformed(f"a boundary of {len(boundary)} characters; 1 to {MAX_BOUNDARY_LENGTH} are allowed")
        self._dashes = b"--" + boundary.encode("utf-8", "surrogateescape")
        self._delimiter = b""
        """The dashes with a line end before them, the one that follows the first boundary."""
        self._read = self._preamble
        self._pending = b""
        self._position = 0
        self._passed = 0
        """Bytes before the first boundary that have been skipped."""
        self._searched = 0
        """Bytes of a header in which no end was found."""
        self._events: list[Event] = []

    def feed(self, data: bytes) -> list[Event]:
        """Parse the next bytes; returns their events. Contents are views of `data`. Raises: Malformed."""
        self._events = []
        if self._pending:
            data, self._pending = self._pending + data, b""
        self._position = 0
        while self._position < len(data) and self._read(data):
            pass
        return self._events

    def close(self) -> list[Event]:
        """End the body. Raises: Malformed if it is incomplete."""
        self._events = []
        if self._read == self._preamble:
            raise Malformed("the boundary that Content-Type names does not occur in the body")
        inside = self._read in (self._begin, self._content)
        if inside and self._pending in (self._delimiter, self._dashes):
            self._events.append(Tail())  # the last boundary, without the dashes behind it
        elif inside or self._pending:
            raise Malformed("the body ends in the middle of a part")
        self._pending = b""
        return self._events

    # Each state consumes `data` from `_position`; it returns False when it needs more, having stored the rest.

    def _preamble(self, data: bytes) -> bool:
        at = data.find(self._dashes)
        while at >= 0:
            if data[at - 1] == 0x0A if at else not self._passed:
                after = at + len(self._dashes)
                match = _AFTER.match(data, after)
                if match is not None and self._passed + at <= MAX_PREAMBLE_BYTES:
                    self._delimiter = (match[2] or b"\r\n") + self._dashes
                    self._behind(match)
                    return True
                if len(data) - after < _MAX_PADDING_BYTES and _AFTER_BEGUN.fullmatch(data, after):
                    break
            at = data.find(self._dashes, at + 1)
        # Bytes are searched again only where a boundary may have begun, and the byte before: in small pieces, searching
        # all of a long preamble again each time cost 20 s for 64 KiB.
        rest = max(0, (at if at >= 0 else len(data) - len(self._dashes) + 1) - 1)
        self._passed += rest
        if self._passed > MAX_PREAMBLE_BYTES:
            raise Malformed(f"no boundary within the first {MAX_PREAMBLE_BYTES} bytes of the body")
        return self._wait(data, rest)

    def _behind(self, match: re.Match[bytes]) -> None:
        self._position = match.end()
        self._read = self._epilogue if match[1] else self._head

    def _head(self, data: bytes) -> bool:
        start = self._position
        block = data[start : start + MAX_HEAD_BYTES]
        match = _HEAD_END.search(block, max(0, self._searched - 2))
        if match is None:
            self._searched = len(block)
            if len(block) == MAX_HEAD_BYTES:
                raise Malformed(f"the header of a part has more than {MAX_HEAD_BYTES} bytes")
            return self._wait(data, start)
        self._events.append(Head(_headers(block[: match.end()])))
        self._position, self._searched = start + match.end(), 0
        self._read = self._begin
        return True

    def _begin(self, data: bytes) -> bool:
        """Begin the contents; the empty line may end with the line end of the next boundary: then the part is empty."""
        start, dashes = self._position, self._dashes
        if data.startswith(dashes, start):
            found = self._end(data, start + len(dashes))
            if found is True:
                return self._wait(data, start)
            if found is not False:
                self._events.append(Tail())
                self._behind(found)
                return True
        elif dashes.startswith(data[start : start + len(dashes)]):
            return self._wait(data, start)
        self._read = self._content
        return True

    def _content(self, data: bytes) -> bool:
        start = look = self._position
        while (at := data.find(self._delimiter, look)) >= 0:
            found = self._end(data, at + len(self._delimiter))
            if found is False:
                look = at + 1  # the boundary is the beginning of another word
                continue
            self._emit(data, start, at)
            if found is True:
                return self._wait(data, at)
            self._events.append(Tail())
            self._behind(found)
            return True
        at = self._unsure(data, start)
        self._emit(data, start, at)
        return self._wait(data, at)

    def _end(self, data: bytes, after: int) -> re.Match[bytes] | bool:
        """The bytes behind a boundary that ends before `after`; True if more are needed, False if it is no boundary."""
        match = _AFTER.match(data, after)
        if match is not None:
            return match
        return len(data) - after < _MAX_PADDING_BYTES and _AFTER_BEGUN.fullmatch(data, after) is not None

    def _unsure(self, data: bytes, start: int) -> int:
        """The offset at the end of `data` where a delimiter may have begun; the end of `data` if there is none."""
        delimiter = self._delimiter
        at = data.find(delimiter[:1], max(start, len(data) - len(delimiter) + 1))
        while at >= 0:
            if delimiter.startswith(data[at:]):
                return at
            at = data.find(delimiter[:1], at + 1)
        return len(data)

    def _epilogue(self, data: bytes) -> bool:
        self._position = len(data)
        return True

    def _emit(self, data: bytes, start: int, end: int) -> None:
        if start < end:
            self._events.append(memoryview(data)[start:end])

    def _wait(self, data: bytes, at: int) -> bool:
        self._pending = data[at:]
        return False


def _headers(block: bytes) -> dict[str, str]:
    """Header lines, folded ones joined (RFC 5322 §2.2.3); other lines are skipped; the first of equal names counts."""
    headers: dict[str, str] = {}
    name = ""
    for line in block.decode("utf-8", "replace").splitlines():
        if line[:1] in (" ", "\t"):
            if name:
                headers[name] = f"{headers[name]} {line.strip()}"
            continue
        name, colon, value = line.partition(":")
        name = name.strip().lower() if colon else ""
        if name in headers:
            name = ""
        if name:
            headers[name] = value.strip()
    return headers
