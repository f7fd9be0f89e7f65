"""QIDO-RS, the search transaction (PS3.18 §10.6): a URL in, a search, its matches as DICOM JSON out.

Here live the query parameters and the shape of the answer. Which rows match is in `index/`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import msgspec
from aiohttp import web
from multidict import MultiMapping

from gateway.archive.query import search_page
from gateway.errors import BadRequest
from gateway.index.search import Match, Search, unsupported
from gateway.web.accept import DICOM_JSON, JSON, choose
from gateway.web.context import CONTEXT
from gateway.web.dicomweb.attributes import is_uid, tag_of
from gateway.web.urls import url_template

Level = Literal["study", "series", "instance"]
_SERVICE = "dicom-gateway"
_RETRIEVE_URL = "00081190"
_LONGEST = 10_000_000


@dataclass(slots=True)
class Asked:
    """What a query string asks for."""

    filters: list[tuple[int, str]] = field(default_factory=list)
    include: set[int] | None = field(default_factory=set)
    """None: all."""
    limit: int | None = None
    offset: int = 0
    warnings: list[str] = field(default_factory=list)


def read_query(query: MultiMapping[str]) -> Asked:
    """Raises BadRequest with the parameter that makes no sense; what is merely not supported becomes a warning."""
    asked = Asked()
    for name, value in query.items():
        match name:
            case "limit":
                asked.limit = _count(name, value) or None  # 0 is no limit, as in Orthanc
            case "offset":
                asked.offset = _count(name, value)
            case "includefield":
                _include(asked, value)
            case "fuzzymatching":
                if _truth(name, value):
                    asked.warnings.append(
                        "The fuzzymatching parameter is not supported. Only literal matching has been performed."
                    )
            case "emptyvaluematching" | "multiplevaluematching":
                if _truth(name, value):
                    asked.warnings.append(f"The {name} parameter is not supported.")
            case "accept":
                pass
            case _:
                _filter(asked, name, value)
    return asked


def _filter(asked: Asked, name: str, value: str) -> None:
    tag = tag_of(name)
    if tag is None:
        asked.warnings.append(f"The attribute {_quoted(name)} is not supported and was ignored.")
        return
    if "\0" in value:
        raise BadRequest(f"{name}: the value holds a zero byte")
    if is_uid(tag):
        value = value.replace(",", "\\")  # PS3.18 §8.3.4.1 lists with commas, PS3.4 with backslashes
    if tag in (known for known, _value in asked.filters):
        raise BadRequest(f"{name}: given twice")
    asked.filters.append((tag, value))


def _include(asked: Asked, value: str) -> None:
    for name in value.split(","):
        name = name.strip()
        tag = tag_of(name)
        if name == "all":
            asked.include = None
        elif tag is None:
            asked.warnings.append(f"The includefield {_quoted(name)} is not supported and was ignored.")
        elif asked.include is not None:
            asked.include.add(tag)


def _count(name: str, value: str) -> int:
    if not value.isascii() or not value.isdigit() or int(value[:20]) > _LONGEST:
        raise BadRequest(f"{name}: {value[:40]!r} is not a number from 0 to {_LONGEST}")
    return int(value)


def _truth(name: str, value: str) -> bool:
    if value not in ("true", "false"):
        raise BadRequest(f"{name}: {value[:40]!r} is neither true nor false")
    return value == "true"


def _quoted(name: str) -> str:
    """A client's word, made harmless for a header."""
    return "'" + "".join(c if c.isascii() and c.isprintable() and c not in "\"\\'" else "?" for c in name[:64]) + "'"


async def handle(request: web.Request, level: Level) -> web.Response:
    """One search. The path may name a study and a series to look in."""
    context = request.app[CONTEXT]
    media_type = choose(request, (DICOM_JSON, JSON))
    asked = read_query(request.query)
    most = context.settings().http.max_results
    limit = most if asked.limit is None else min(asked.limit, most)
    page = await search_page(
        context.database,
        Search(
            level=level,
            filters=asked.filters,
            study_uid=request.match_info.get("study"),
            series_uid=request.match_info.get("series"),
            limit=limit,
            offset=asked.offset,
            include="all" if asked.include is None else frozenset(asked.include),
        ),
    )
    warnings = asked.warnings + [
        f"The attribute {tag:08X} is not supported for matching and was ignored."
        for tag in unsupported(asked.filters, level)
    ]
    if page.more and (asked.limit is None or asked.limit > most):
        warnings.append("There are additional results that can be requested.")
    url = url_template(request, level)
    body = msgspec.json.encode([_as_json(match, url) for match in page.matches])
    response = web.Response(body=body, content_type=media_type)
    for text in warnings:
        response.headers.add("Warning", f'299 {_SERVICE} "{text}"')
    return response


def _as_json(match: Match, url: str) -> dict[str, msgspec.Raw]:
    uri = url.format(study=match.study_uid, series=match.series_uid, instance=match.sop_uid)
    retrieve = msgspec.Raw(msgspec.json.encode({"vr": "UR", "Value": [uri]}))
    return dict(sorted({**match.attributes, _RETRIEVE_URL: retrieve}.items()))
