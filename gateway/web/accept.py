"""What a client will take: Accept headers (RFC 9110 §12.5.1) and the `accept` query parameter (PS3.18 §8.3.3.1).

Parsing and choosing only; what there is to send is known in `dicomweb/`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from aiohttp import web

from gateway.errors import BadRequest
from gateway.web.errors import NotAcceptable

_PARAMETER = re.compile(r';\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;,"]*)\s*')
_TYPE = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*")
_REMEMBERED = 1000
"""Characters of a header that is parsed once for all requests; longer ones each time, so that memory is bounded."""
_MOST = 100
"""Media ranges that are looked at in one header."""

DICOM_JSON = "application/dicom+json"
JSON = "application/json"
DICOM_XML = "application/dicom+xml"
"""Only ever in parts: an answer of it is multipart/related (PS3.18 §8.7.3.2)."""


class MediaRange(NamedTuple):
    """One alternative: `type/subtype` and the parameters' names in lower case, `q` taken out."""

    media_type: str
    parameters: dict[str, str]
    quality: float

    def covers(self, media_type: str) -> bool:
        """Whether the range includes the type, parameters aside."""
        main = media_type.partition("/")[0]
        return self.media_type in ("*/*", f"{main}/*", media_type)

    def takes(self, offer: str) -> bool:
        """The same for something that `choose` offers, which may come in parts. Whoever asks for parts without a
        type, or for the type without parts, is understood too."""
        if offer != DICOM_XML or self.media_type == DICOM_XML:
            return self.covers(offer)
        return self.media_type == "multipart/related" and self.parameters.get("type", offer).lower() == offer


def parse(text: str) -> list[MediaRange]:
    """The media ranges of an Accept value, best first, those with q=0 left out.

    Parameters may be quoted or not; `type=application/dicom` without quotes is common though RFC 2045 wants them.
    Raises BadRequest where it cannot be read.
    """
    ranges: list[MediaRange] = []
    position = 0
    while position < len(text) and len(ranges) < _MOST:
        found = _read(text, position)
        if found is None:
            if text[position] in ", ":
                position += 1
                continue
            raise BadRequest(f"Accept: cannot be read at {text[position : position + 40]!r}")
        media_type, parameters, position = found
        if position < len(text) and text[position] != ",":
            raise BadRequest(f"Accept: cannot be read at {text[position : position + 40]!r}")
        position += 1
        if ";" in parameters.get("type", ""):  # as Orthanc has it: type="image/jpeg; transfer-syntax=…"
            parameters["type"], inner = content_type(parameters["type"])
            parameters = inner | parameters
        ranges.append(MediaRange(media_type, parameters, _quality(parameters.pop("q", "1"))))
    return sorted((each for each in ranges if each.quality > 0), key=_preference)


_parsed_before = functools.lru_cache(maxsize=256)(parse)  # a client says the same each time


def content_type(text: str) -> tuple[str, dict[str, str]]:
    """A Content-Type value: `type/subtype` in lower case and its parameters; '' and none where it cannot be read."""
    found = _read(text, 0)
    return (found[0], found[1]) if found is not None else ("", {})


def _read(text: str, position: int) -> tuple[str, dict[str, str], int] | None:
    """A media type or range, its parameters, and where it ends."""
    match = _TYPE.match(text, position)
    if match is None:
        return None
    position = match.end()
    parameters: dict[str, str] = {}
    while (found := _PARAMETER.match(text, position)) is not None:
        value = found[2]
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        parameters[found[1].lower()] = value
        position = found.end()
    return match[1].lower(), parameters, position


def wanted(request: web.Request) -> list[MediaRange]:
    """What the request says it takes; the query parameter goes before the header. Nothing said is anything."""
    # An unescaped + in a query arrives as a blank.
    text = ",".join(request.query.getall("accept", [])).replace("/dicom ", "/dicom+")
    if not text:
        text = ",".join(request.headers.getall("Accept", []))
    if not text.strip():
        return [MediaRange("*/*", {}, 1.0)]
    return list(_parsed_before(text)) if len(text) <= _REMEMBERED else parse(text)


def choose(request: web.Request, offers: Sequence[str]) -> str:
    """The offered type that the client likes best; the first offer where it does not mind.

    Raises NotAcceptable.
    """
    for media_range in wanted(request):
        for offer in offers:
            if media_range.takes(offer):
                return offer
    kinds = (f'multipart/related; type="{offer}"' if offer == DICOM_XML else offer for offer in offers)
    raise NotAcceptable(f"this resource can be had as {listed(kinds)}")


def listed(words: Iterable[str]) -> str:
    return ", ".join(words)


def _quality(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        raise BadRequest(f"Accept: {text!r} is not a quality between 0 and 1") from None


def _preference(media_range: MediaRange) -> tuple[float, int]:
    wildcards = media_range.media_type.count("*")
    return -media_range.quality, wildcards
