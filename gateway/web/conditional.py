"""Entity tags and byte ranges (RFC 9110 §8.8.3, §13, §14): answers that say "you have it", and parts of answers.

A handler that knows of what its answer is made before it makes it:

    tag = entity_tag(located.key, media_type, …)        # everything that the bytes depend on
    if (answer := unchanged(request, tag)) is not None:
        return answer                                   # 304
    response = web.StreamResponse(headers={**validators(tag), …})

and, where the length is known too and one part of it can be had:

    part = wanted_range(request, length, tag)           # None: all of it
    if part is not None:
        part.describe(response, length)                 # 206 with Content-Range

Making and sending the bytes is the handler's.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple

from aiohttp import web

from gateway.errors import GatewayError

_TAG: Final = re.compile(r'(?:W/)?("[^"]*")')
_RANGE: Final = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*\Z")
_CACHING: Final = "private, no-cache"
"""The client may keep it for itself and asks each time whether it still holds, which is when who asks is checked."""


class RangeNotSatisfiable(GatewayError):
    """The range begins past the end (416). `length`: bytes that there are."""

    def __init__(self, length: int) -> None:
        super().__init__(f"there are {length} bytes; the range begins past them")
        self.length = length


class ByteRange(NamedTuple):
    """The bytes from `start` to before `stop`."""

    start: int
    stop: int

    def describe(self, response: web.StreamResponse, length: int) -> None:
        """Make `response` the 206 that has this part of `length` bytes."""
        response.set_status(206)
        response.headers["Content-Range"] = f"bytes {self.start}-{self.stop - 1}/{length}"
        response.content_length = self.stop - self.start


def entity_tag(*parts: object) -> str:
    """A strong tag, quoted, of everything that the bytes of an answer depend on: storage keys, media type, host, …"""
    return f'"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"'


def validators(tag: str) -> dict[str, str]:
    """The headers of an answer that has a tag: the tag, and that it may be kept and asked about.

    Every answer to the same URL may differ with what the client takes.
    """
    return {"ETag": tag, "Cache-Control": _CACHING, "Vary": "Accept"}


def unchanged(request: web.Request, tag: str) -> web.Response | None:
    """The answer 304 where the client has this very answer already (If-None-Match), otherwise None."""
    known = ",".join(request.headers.getall("If-None-Match", []))
    # "A recipient MUST use the weak comparison function" (RFC 9110 §13.1.2).
    if known.strip() == "*" or tag in _TAG.findall(known):
        return web.Response(status=304, headers=validators(tag))
    return None


def wanted_range(request: web.Request, length: int, tag: str) -> ByteRange | None:
    """The one range that a GET asks for of an answer of `length` bytes; None where all of it is to be sent.

    That is also the answer to several ranges, to other units, to what cannot be read, and to an If-Range of another
    version (RFC 9110 §14.2, §13.1.5). Raises RangeNotSatisfiable.
    """
    match = _RANGE.match(request.headers.get("Range", ""))
    # A date in If-Range never matches: we send none.
    if match is None or request.method != "GET" or request.headers.get("If-Range", tag) != tag:
        return None
    first, last = match.groups()
    if first:
        start, stop = int(first), min(int(last) + 1, length) if last else length
        if last and int(last) < start:
            return None
    elif last:
        start, stop = max(length - int(last), 0), length
    else:
        return None
    if start >= length or start == stop:
        raise RangeNotSatisfiable(length)
    return ByteRange(start, stop)
