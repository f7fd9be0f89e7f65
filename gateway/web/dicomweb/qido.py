"""QIDO-RS, the search transaction (PS3.18 §10.6): a URL in, a search, its matches as DICOM JSON or XML out.

Here live the shape of the answer and its warnings. Query parameters are in `search_query.py`; which entities match is
decided in `archive/query.py`, the same for C-FIND.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Literal

import msgspec
from aiohttp import web

from gateway.archive.query import Finder, Page
from gateway.dicom.xml import to_xml
from gateway.index.search import Match
from gateway.web.accept import DICOM_JSON, DICOM_XML, JSON, choose
from gateway.web.context import CONTEXT
from gateway.web.dicomweb.search_query import Asked, key_name, read_query
from gateway.web.urls import url_template

Level = Literal["study", "series", "instance"]
_SERVICE = "dicom-gateway"
_RETRIEVE_URL = "00081190"


async def handle(request: web.Request, level: Level) -> web.Response:
    """One search. The path may name a study and a series to look in.

    A query that would have to read too many files is answered 413: "the query was too broad" (§10.6.3.1).
    """
    context = request.app[CONTEXT]
    media_type = choose(request, (DICOM_JSON, JSON, DICOM_XML))
    asked = read_query(request.query)
    settings = context.settings()
    most = settings.http.max_results
    finder = Finder(
        context.database,
        context.store,
        level,
        asked.keys,
        most_read=settings.query.max_instances_read,
        include="all" if asked.include is None else frozenset(asked.include),
        study_uid=request.match_info.get("study"),
        series_uid=request.match_info.get("series"),
        fuzzy=asked.fuzzy,
        empty=asked.empty,
    )
    page = await finder.page(asked.offset, most if asked.limit is None else min(asked.limit, most))
    response = await _answer(page, url_template(request, level), media_type)
    for text in _warnings(asked, finder, page, most):
        response.headers.add("Warning", f'299 {_SERVICE} "{text}"')
    return response


def _warnings(asked: Asked, finder: Finder, page: Page, most: int) -> list[str]:
    """What was asked for and not done (§10.6.3.2), each as the text of a Warning header."""
    for tag in sorted(finder.unknown):
        asked.warn(f"The attribute {key_name(tag)} is not supported and was ignored.")
    for tag in sorted(finder.unread):
        asked.warn(f"The attribute {key_name(tag)} is not returned for so many instances.")
    if page.more and (asked.limit is None or asked.limit > most):
        return [*asked.warnings, "There are additional results that can be requested."]
    return asked.warnings


async def _answer(page: Page, url: str, media_type: str) -> web.Response:
    objects = [_as_json(match, url) for match in page.matches]
    if media_type != DICOM_XML:
        return web.Response(body=msgspec.json.encode(objects), content_type=media_type)
    if not objects:
        return web.Response(status=204)  # multipart/related has at least one part (RFC 2387)
    boundary = uuid.uuid4().hex
    body = await asyncio.to_thread(_as_xml, objects, boundary)
    content_type = f'multipart/related; type="{DICOM_XML}"; boundary={boundary}'
    return web.Response(body=body, headers={"Content-Type": content_type})


def _as_json(match: Match, url: str) -> dict[str, msgspec.Raw]:
    uri = url.format(study=match.study_uid, series=match.series_uid, instance=match.sop_uid)
    retrieve = msgspec.Raw(msgspec.json.encode({"vr": "UR", "Value": [uri]}))
    return dict(sorted({**match.attributes, _RETRIEVE_URL: retrieve}.items()))


def _as_xml(objects: list[dict[str, msgspec.Raw]], boundary: str) -> bytes:
    head = f"--{boundary}\r\nContent-Type: {DICOM_XML}\r\n\r\n".encode()
    parts = []
    for each in objects:
        parts += [head, to_xml({key: msgspec.json.decode(raw) for key, raw in each.items()}), b"\r\n"]
    return b"".join([*parts, f"--{boundary}--\r\n".encode()])
