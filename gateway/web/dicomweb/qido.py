"""QIDO-RS, the search transaction (PS3.18 §10.6): a URL in, a search, its matches as DICOM JSON or XML out.

The form of the answer and its warnings are here. `search_query.py` parses parameters; `retrieve/query.py` finds the
matches, as for C-FIND.
"""

from __future__ import annotations

import asyncio
import functools

import msgspec
from aiohttp import web

from gateway.dicom.levels import Level
from gateway.dicom.xml import to_xml
from gateway.http.multipart_writer import Multipart
from gateway.index.attributes import PATIENT_ID
from gateway.index.locate import check_patient
from gateway.index.search import Match
from gateway.retrieve.query import Page, QueryExecution
from gateway.web.accept import DICOM_JSON, DICOM_XML, JSON, choose
from gateway.web.context import CONTEXT
from gateway.web.dicomweb.search_query import PARAMETERS, QueryParameters, key_name, read_query
from gateway.web.route import SERIES, STUDY, XML, Route
from gateway.web.urls import ObjectUrl, object_url

_SERVICE = "dicom-gateway"
_RETRIEVE_URL = "00081190"


async def handle(request: web.Request, level: Level) -> web.Response:
    """Search. The path may name a study and a series to search in.

    A query that would have to read too many files is answered 413: "the query was too broad" (§10.6.3.1). A query below
    a study that several patients share is answered 409 without a Patient ID, since a viewer would show them as one.
    """
    context = request.app[CONTEXT]
    media_type = choose(request, (DICOM_JSON, JSON, DICOM_XML))
    parameters = read_query(request.query)
    settings = context.settings()
    study, series = request.match_info.get("study"), request.match_info.get("series")
    most = settings.http.max_results
    execution = QueryExecution(
        context.database,
        context.use_cases.store,
        level,
        parameters.keys,
        most_read=settings.query.max_instances_read,
        include="all" if parameters.include is None else frozenset(parameters.include),
        study_uid=study,
        series_uid=series,
        patient=request.match_info.get("patient", ""),
        fuzzy=parameters.fuzzy,
        empty=parameters.empty,
    )
    page = await execution.page(parameters.offset, most if parameters.limit is None else min(parameters.limit, most))
    of_one = PATIENT_ID in parameters.keys or "patient" in request.match_info
    if study is not None and not of_one and page.matches and page.matches[0].clashing_patient:
        await check_patient(context.database, study, series)
    response = await _answer(page, object_url(request, level), media_type)
    for text in _warnings(parameters, execution, page, most):
        response.headers.add("Warning", f'299 {_SERVICE} "{text}"')
    return response


def _warnings(parameters: QueryParameters, execution: QueryExecution, page: Page, most: int) -> list[str]:
    """The parts of the request that were not carried out (§10.6.3.2), each as the text of a Warning header."""
    for tag in sorted(execution.unknown):
        parameters.warn(f"The attribute {key_name(tag)} is not supported and was ignored.")
    for tag in sorted(execution.unread):
        parameters.warn(f"The attribute {key_name(tag)} is not returned for so many instances.")
    if page.more and (parameters.limit is None or parameters.limit > most):
        return [*parameters.warnings, "There are additional results that can be requested."]
    return parameters.warnings


async def _answer(page: Page, url: ObjectUrl, media_type: str) -> web.Response:
    objects = [_as_json(match, url) for match in page.matches]
    if media_type != DICOM_XML:
        return web.Response(body=msgspec.json.encode(objects), content_type=media_type)
    if not objects:
        return web.Response(status=204)  # multipart/related has at least one part (RFC 2387)
    body = Multipart(DICOM_XML)
    data = await asyncio.to_thread(_as_xml, objects, body)
    return web.Response(body=data, headers={"Content-Type": body.content_type})


def _as_json(match: Match, url: ObjectUrl) -> dict[str, msgspec.Raw]:
    uri = url.of(match.clashing_patient, study=match.study_uid, series=match.series_uid, instance=match.sop_uid)
    retrieve = msgspec.Raw(msgspec.json.encode({"vr": "UR", "Value": [uri]}))
    return dict(sorted({**match.attributes, _RETRIEVE_URL: retrieve}.items()))


def _as_xml(objects: list[dict[str, msgspec.Raw]], body: Multipart) -> bytes:
    head = body.head(DICOM_XML)
    parts = []
    for each in objects:
        parts += [head, to_xml({key: msgspec.json.decode(raw) for key, raw in each.items()}), body.END]
    return b"".join([*parts, body.close()])


def _route(path: str, level: Level, name: str | None = None) -> Route:
    return Route(
        "GET",
        path,
        functools.partial(handle, level=level),
        "view",
        PARAMETERS,
        answers=(DICOM_JSON, JSON, XML),
        errors=(406, 409, 413),
        name=name,
        subject=f"Search at the level of {level}.",
    )


ROUTES = (
    _route("/studies", "study", "studies"),
    _route("/series", "series"),
    _route("/instances", "instance"),
    _route(STUDY + "/series", "series"),
    _route(STUDY + "/instances", "instance"),
    _route(SERIES + "/instances", "instance"),
)
"""The resources of PS3.18 Table 10.6.1-2."""
