"""Entity tags and byte ranges (RFC 9110 §8.8.3, §13, §14): answers 304, and partial answers.

A handler that knows everything that its answer depends on before producing it:

    tag = entity_tag(located.key, media_type, …)        # everything that the bytes depend on
    if (answer := unchanged(request, tag)) is not None:
        return answer                                   # 304
    response = web.StreamResponse(headers={**validators(tag), …})

and, where the length is known and a part can be produced:

    start, stop = sent_span(request, response, length, tag)     # 206 with Content-Range, or all of it

The handler produces and sends the bytes.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple

from aiohttp import web

from gateway.errors import BadRequest, GatewayError
from gateway.index.precondition import Precondition

_TAG: Final = re.compile(r'(?:W/)?("[^"]*")')
_ELEMENT: Final = re.compile(r'[ \t]*+(?:(W/)?"([^"]*)"|([^\s,"*]++))?[ \t]*+(?:,|\Z)')
"""An element of a list of tags, which may be empty."""
_RANGE: Final = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*\Z")
_CACHING: Final = "private, no-cache"
"""A private cache may store the answer and revalidates it each time, which also checks the user again."""


class RangeNotSatisfiable(GatewayError):
    """The range begins beyond the `length` bytes of the resource (416)."""

    def __init__(self, length: int) -> None:
        super().__init__(f"the range begins beyond the {length} bytes of the resource")
        self.length = length


class ByteRange(NamedTuple):
    """The bytes from `start` to before `stop`."""

    start: int
    stop: int

    def describe(self, response: web.StreamResponse, length: int) -> None:
        """Turn `response` into the 206 for this part of `length` bytes."""
        response.set_status(206)
        response.headers["Content-Range"] = f"bytes {self.start}-{self.stop - 1}/{length}"
        response.content_length = self.stop - self.start


def entity_tag(*parts: object) -> str:
    """A strong, quoted tag of everything that the bytes of an answer depend on: storage keys, media type, host, …"""
    return f'"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"'


def validators(tag: str) -> dict[str, str]:
    """The headers of an answer with a tag: the tag, and how to cache it.

    Answers to one URL may vary with the Accept header.
    """
    return {"ETag": tag, "Cache-Control": _CACHING, "Vary": "Accept"}


def unchanged(request: web.Request, tag: str) -> web.Response | None:
    """The answer 304 if the client has this very answer (If-None-Match), otherwise None."""
    known = ",".join(request.headers.getall("If-None-Match", []))
    # "A recipient MUST use the weak comparison function" (RFC 9110 §13.1.2).
    if known.strip() == "*" or tag in _TAG.findall(known):
        return web.Response(status=304, headers=validators(tag))
    return None


def precondition(request: web.Request) -> Precondition:
    """Read the precondition of a change from If-Match and If-None-Match.

    As to Orthanc, a tag may come without quotes. Raises: BadRequest for what is no list of tags.
    """
    matches, exists = _listed(request, "If-Match")
    excluded, absent = _listed(request, "If-None-Match")
    return Precondition(
        # "An origin server MUST use the strong comparison function" (RFC 9110 §13.1.1): a weak tag matches nothing.
        None if matches is None else [tag for is_weak, tag in matches if not is_weak],
        exists,
        [tag for _is_weak, tag in excluded or ()],
        absent,
    )


def _listed(request: web.Request, name: str) -> tuple[list[tuple[bool, str]] | None, bool]:
    """The tags of a header without their quotes, and whether each is weak, None without any; whether it is `*`."""
    if name not in request.headers:
        return None, False
    text = ",".join(request.headers.getall(name)).strip()
    if text == "*":
        return None, True
    found, at = list[tuple[bool, str]](), 0
    while at < len(text):
        element = _ELEMENT.match(text, at)
        if element is None:
            raise BadRequest(f"{name} is '*', or entity tags in quotes with commas between them, not {text[:80]}")
        weak, quoted, bare = element.groups()
        if quoted is not None or bare is not None:
            found.append((weak is not None, quoted if quoted is not None else bare))
        at = element.end()
    if not found:
        raise BadRequest(f"{name} is empty; it is '*', or entity tags in quotes with commas between them")
    return found, False


class RangeRequest(NamedTuple):
    """A request for a part of an answer, as a value that a reading thread may hold."""

    wanted: str
    """The Range header of a GET; empty for none."""
    version: str | None
    """The If-Range header."""

    @classmethod
    def of(cls, request: web.Request) -> RangeRequest:
        wanted = request.headers.get("Range", "") if request.method == "GET" else ""
        return cls(wanted, request.headers.get("If-Range"))

    def within(self, length: int, tag: str) -> ByteRange | None:
        """The single range within `length` bytes; None to send all of them.

        All is also the answer to several ranges, other units, invalid syntax, and an If-Range of another version (RFC
        9110 §14.2, §13.1.5). Raises RangeNotSatisfiable.
        """
        match = _RANGE.match(self.wanted)
        # A date in If-Range never matches: no Last-Modified is ever sent.
        if match is None or self.version not in (None, tag):
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


def wanted_range(request: web.Request, length: int, tag: str) -> ByteRange | None:
    """The part that a request asks for of an answer whose length and tag are known: see RangeRequest."""
    return RangeRequest.of(request).within(length, tag)


def sent_span(request: web.Request, response: web.StreamResponse, length: int, tag: str) -> tuple[int, int]:
    """Choose the bytes to send of an answer whose length and tag are known, from the first to before the last.

    `response` says which these are, and that parts are to be had. Raises RangeNotSatisfiable.
    """
    response.headers["Accept-Ranges"] = "bytes"
    part = wanted_range(request, length, tag)
    if part is None:
        response.content_length = length
        return 0, length
    part.describe(response, length)
    return part.start, part.stop
