"""Accept headers (RFC 9110 §12.5.1) and the `accept` query parameter (PS3.18 §8.3.3.1): parsing and choosing.

`dicomweb/` knows which types can be sent.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from aiohttp import web

from gateway.http.multipart_writer import MULTIPART
from gateway.web.errors import NotAcceptable

_PARAMETER = re.compile(r';\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;,"]*)\s*')
_TYPE = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*")
_NOTHING = re.compile(r";\s*(?=[;,]|\Z)")
"""An empty parameter: RFC 9110 §5.6.6 has senders omit it, and recipients accept it."""
_QUALITY = re.compile(r"[0-9]{1,3}(\.[0-9]*)?|\.[0-9]+")
_REMEMBERED = 1000
"""Characters of a header whose parsed form is cached; longer headers are parsed each time, to bound memory."""
_MAX_RANGES = 100
"""Media ranges that are read from one header."""


DICOM_JSON = "application/dicom+json"
JSON = "application/json"
DICOM_XML = "application/dicom+xml"
"""Only within multipart/related (PS3.18 §8.7.3.2)."""


class MediaRange(NamedTuple):
    """One alternative: `type/subtype` and parameters with names in lower case, without `q`."""

    media_type: str
    parameters: dict[str, str]
    quality: float
    narrower: tuple[str, ...] = ()
    """Narrower types and ranges that the header names as well, even to refuse them: for these types they take
    precedence (RFC 9110 §12.5.1: "the most specific reference has precedence")."""

    def covers(self, media_type: str) -> bool:
        """Whether this range decides about a type, parameters aside."""
        if not includes(self.media_type, media_type):
            return False
        return not self.narrower or not any(includes(each, media_type) for each in self.narrower)

    def accepts(self, offer: str) -> bool:
        """Whether this range accepts an offer of `choose`, which may be multipart. Multipart without a type, and a type
        without multipart, are accepted too."""
        if offer != DICOM_XML or self.media_type == DICOM_XML:
            return self.covers(offer)
        return self.covers(MULTIPART) and includes(self.parameters.get("type", "*/*").lower(), offer)


def includes(media_range: str, media_type: str) -> bool:
    """Whether a type, `type/*` or `*/*` includes a type or range."""
    if media_range == media_type or media_range == "*/*":
        return True
    return media_range.endswith("/*") and media_type.partition("/")[0] == media_range[:-2]


def parse(text: str) -> list[MediaRange]:
    """The media ranges of an Accept value, best first, without those of q=0.

    Parameters may be unquoted; `type=application/dicom` without quotes is common though RFC 2045 requires them. Invalid
    members are ignored, as by other servers: old Java clients send `text/html, *; q=.2, */*; q=.2`.
    """
    return sorted((each for each in _members(text) if each.quality > 0), key=_preference)


def _members(text: str) -> list[MediaRange]:
    """The media ranges in the order of the header."""
    ranges: list[MediaRange] = []
    position = 0
    while position < len(text) and len(ranges) < _MAX_RANGES:
        found = _read(text, position)
        end = text.find(",", position if found is None else found[2])
        end = len(text) if end < 0 else end
        if found is not None and (found[2] == len(text) or text[found[2]] == ","):
            media_type, parameters, _ = found
            if ";" in parameters.get("type", ""):  # Orthanc's form: type="image/jpeg; transfer-syntax=…"
                parameters["type"], inner = content_type(parameters["type"])
                parameters = inner | parameters
            quality = parameters.pop("q", "1")
            if _QUALITY.fullmatch(quality):
                ranges.append(MediaRange(media_type, parameters, min(float(quality), 1.0)))
        position = end + 1
    return [_with_narrower(each, ranges) for each in ranges]


def _with_narrower(media_range: MediaRange, ranges: Sequence[MediaRange]) -> MediaRange:
    if "*" not in media_range.media_type:
        return media_range
    # A range with parameters covers some forms of its type only, and the wider range the others.
    others = {each.media_type for each in ranges if not each.parameters and each.media_type != media_range.media_type}
    narrower = [other for other in sorted(others) if other != "*/*" and includes(media_range.media_type, other)]
    return media_range._replace(narrower=tuple(narrower))


def _understood(text: str) -> list[MediaRange]:
    """The media ranges like `parse`; a header without any valid range counts as `*/*`."""
    return parse(text) if _members(text) else [MediaRange("*/*", {}, 1.0)]


_understood_before = functools.lru_cache(maxsize=256)(_understood)  # clients repeat their headers


def content_type(text: str) -> tuple[str, dict[str, str]]:
    """Parse a Content-Type value: `type/subtype` in lower case, and its parameters; '' and none if invalid."""
    found = _read(text, 0)
    return (found[0], found[1]) if found is not None else ("", {})


def _read(text: str, position: int) -> tuple[str, dict[str, str], int] | None:
    """A media type or range, its parameters, and the position after them; None if invalid."""
    match = _TYPE.match(text, position)
    if match is None:
        return None
    position = match.end()
    parameters: dict[str, str] = {}
    while (found := _PARAMETER.match(text, position) or _NOTHING.match(text, position)) is not None:
        position = found.end()
        if found.re is _NOTHING:
            continue
        value = found[2]
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        parameters[found[1].lower()] = value
    return match[1].lower(), parameters, position


def wanted(request: web.Request) -> list[MediaRange]:
    """The media ranges of a request; the query parameter takes precedence over the header. Neither means `*/*`."""
    # An unescaped + in a query arrives as a blank.
    text = ",".join(request.query.getall("accept", [])).replace("/dicom ", "/dicom+")
    if not text:
        text = ",".join(request.headers.getall("Accept", []))
    return list(_understood_before(text)) if len(text) <= _REMEMBERED else _understood(text)


def choose(request: web.Request, offers: Sequence[str]) -> str:
    """The offered type that the client prefers; the first offer among equals. Raises NotAcceptable."""
    for media_range in wanted(request):
        for offer in offers:
            if media_range.accepts(offer):
                return offer
    kinds = (f'multipart/related; type="{offer}"' if offer == DICOM_XML else offer for offer in offers)
    raise NotAcceptable(f"this resource is available as {listed(kinds)}")


def listed(words: Iterable[str]) -> str:
    return ", ".join(words)


def _preference(media_range: MediaRange) -> tuple[float, int]:
    wildcards = media_range.media_type.count("*")
    return -media_range.quality, wildcards
