"""/modalities/{name}/query and /queries: C-FIND with its answers kept. Where none are kept is `finding.py`'s."""

from __future__ import annotations

import functools
from typing import Any, Final

from aiohttp import web

from gateway.access.principals import ANYBODY
from gateway.dicom.dictionary import KEYWORDS, implicit_vr
from gateway.dicom.encode import Attribute, DataSet
from gateway.dicom.levels import LEVELS, Level
from gateway.errors import BadRequest
from gateway.systems.kept_queries import KeptQueries, KeptQuery
from gateway.systems.retrieve_jobs import Method
from gateway.web.accept import JSON
from gateway.web.authorization import PRINCIPAL
from gateway.web.errors import error_answer
from gateway.web.inputs import read_json, read_object, whole_number
from gateway.web.rest.answers import flag, json_answer, reference
from gateway.web.rest.asked import (
    CallBody,
    JobBody,
    ae_title,
    bad_file,
    converted,
    job_answer,
    read_text_or_json,
)
from gateway.web.rest.dimse import RETRIEVE_JOBS
from gateway.web.rest.modalities import DIRECTORY
from gateway.web.rest.names import level_named
from gateway.web.rest.tags import Format, from_tags, in_format
from gateway.web.route import ANSWER, EXPAND, FLAG, MODALITY, QUERY, TEXT, Parameter, Route
from gateway.web.schemas import KEYS, LEVEL, any_of, struct

KEPT_QUERIES: web.AppKey[KeptQueries] = web.AppKey("kept_queries", KeptQueries)
_OUT_OF_RANGE: Final = (3, "Parameter out of range")
_BAD_TYPE: Final = (5, "Bad type for a parameter")
_ADDED: Final[dict[Level, tuple[str, ...]]] = {
    "patient": ("PatientID",),
    "study": ("PatientID", "AccessionNumber", "StudyInstanceUID"),
    "series": ("PatientID", "AccessionNumber", "StudyInstanceUID", "SeriesInstanceUID"),
    "instance": ("PatientID", "AccessionNumber", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
}
"""Keys that are asked for beside those of the request, so that each answer can be retrieved: Orthanc's."""
_RETRIEVED_BY: Final = tuple(KEYWORDS[name] for name in _ADDED["instance"])
_LEVEL: Final = KEYWORDS["QueryRetrieveLevel"]
_BELOW: Final[dict[Level, tuple[str, ...]]] = {
    "patient": ("query-studies", "query-series", "query-instances"),
    "study": ("query-series", "query-instances"),
    "series": ("query-instances",),
    "instance": (),
}
_LEVEL_OF: Final[dict[str, Level]] = {
    "query-studies": "study",
    "query-series": "series",
    "query-instances": "instance",
}


class _QueryBody(CallBody):
    level: Any = None
    query: Any = None


class _RetrieveBody(JobBody):
    target_aet: str = ""
    full: bool = False
    simplify: bool = False
    retrieve_method: str = "SystemDefault"


async def query(request: web.Request) -> web.Response:
    """Ask a modality by C-FIND: `{"Level", "Query": {"PatientID": "*"}}`. The answers are kept at /queries."""
    try:
        body = converted(await read_object(request, "Must provide a JSON object"), _QueryBody)
        if body.level is None:
            raise BadRequest("The JSON body must contain field Level")
        level, options = level_named(body.level), body.options()
        keys = asked_keys(body.query)
    except BadRequest as error:
        return bad_file(request, error)
    added = without_values(_ADDED[level])
    return _kept(await request.app[KEPT_QUERIES].ask(request.match_info["name"], level, keys, options, added=added))


async def all_queries(request: web.Request) -> web.Response:
    """The queries that are kept: their ids. The newest hundred are; who may not view everything sees their own."""
    return json_answer(await request.app[KEPT_QUERIES].listed(whose(request)))


async def one(request: web.Request) -> web.Response:
    """List the operations below a query."""
    await _query(request)
    return json_answer(["answers", "level", "modality", "query", "retrieve"])


async def remove(request: web.Request) -> web.Response:
    """Forget a query and its answers."""
    await request.app[KEPT_QUERIES].remove(request.match_info["id"], whose(request))
    return json_answer({})


async def level_of_query(request: web.Request) -> web.Response:
    """The level of a query: Patient, Study, Series or Instance."""
    return web.Response(text=(await _query(request)).level.capitalize())


async def modality(request: web.Request) -> web.Response:
    """The modality that was asked."""
    return web.Response(text=(await _query(request)).modality)


async def keys_of_query(request: web.Request) -> web.Response:
    """The keys that were asked for."""
    form = _form(request)
    return json_answer(in_format((await _query(request)).keys, form))


async def answers(request: web.Request) -> web.Response:
    """The answers to a query: their numbers from 0; with `expand`, all of them."""
    expanded, form = flag(request, "expand"), _form(request)
    found = await _query(request)
    numbers = range(len(found.answers))
    if expanded:
        return json_answer([in_format(found.answer(number), form) for number in numbers])
    return json_answer([str(number) for number in numbers])


async def answer(request: web.Request) -> web.Response:
    """List the operations below an answer."""
    found = await _query(request)
    if isinstance(number := _number(request, found), web.Response):
        return number
    return json_answer(["content", "retrieve", *_BELOW[found.level]])


async def content(request: web.Request) -> web.Response:
    """One answer, with names and types; `simplify` by keyword, `short` by tag."""
    form = _form(request)
    found = await _query(request)
    if isinstance(number := _number(request, found), web.Response):
        return number
    return json_answer(in_format(found.answer(number), form))


async def query_below(request: web.Request, level: Level) -> web.Response:
    """Ask the same modality about what is below an answer, with further keys in `Query`."""
    found = await _query(request)
    if isinstance(number := _number(request, found), web.Response):
        return number
    if LEVELS.index(level) <= LEVELS.index(found.level):
        return error_answer(request, 404, f"a {level} is not below a {found.level}")
    try:
        members = await read_json(request)
        body = converted(members if isinstance(members, dict) else {}, _QueryBody)
        wanted, options = asked_keys(body.query), body.options()
    except BadRequest as error:
        return bad_file(request, error)
    above = found.answer(number)
    unique = {KEYWORDS[name]: above[KEYWORDS[name]] for name in _ADDED[found.level] if KEYWORDS[name] in above}
    keys = {**wanted, **{tag: each for tag, each in unique.items() if each.values}}
    added = without_values(_ADDED[level])
    return _kept(await request.app[KEPT_QUERIES].ask(found.modality, level, keys, options, added=added))


async def retrieve_all(request: web.Request) -> web.Response:
    """Have the modality send all answers to `TargetAet`, by C-MOVE, or to us by C-GET (`RetrieveMethod`).

    The body may be the AE title alone. Synchronous unless told otherwise.
    """
    found = await _query(request)
    return await _retrieve(request, found, range(len(found.answers)))


async def retrieve_one(request: web.Request) -> web.Response:
    """Have the modality send one answer, as `retrieve` of the query does for all."""
    found = await _query(request)
    if isinstance(number := _number(request, found), web.Response):
        return number
    return await _retrieve(request, found, range(number, number + 1))


async def _retrieve(request: web.Request, found: KeptQuery, numbers: range) -> web.Response:
    try:
        said = await read_text_or_json(request) if request.can_read_body else ""
        body = converted(said if isinstance(said, dict) else {"TargetAet": said}, _RetrieveBody)
        form: Format = "full" if body.full else "simplify" if body.simplify else "short"
        shown = [_shown(found.level, found.answer(number)) for number in numbers]
        known = await request.app[DIRECTORY].system("modality", found.modality)
        job = await request.app[RETRIEVE_JOBS].add(
            found.modality,
            found.level,
            [in_format(each, "short") for each in shown],
            body.options(),
            method=_method(body.retrieve_method, known.fields["RetrieveMethod"]),
            target_aet=ae_title("TargetAet", body.target_aet),
            shown=[in_format(each, form) for each in shown],
            permissive=body.permissive,
            priority=body.rank,
            user_data=body.user_data,
        )
    except BadRequest as error:
        return bad_file(request, error)
    return await job_answer(request, job, waits=body.waits)


async def _query(request: web.Request) -> KeptQuery:
    return await request.app[KEPT_QUERIES].get(request.match_info["id"], whose(request))


def whose(request: web.Request) -> str:
    """The user whose queries a request may see; '' for all: as with jobs, for those who may view everything."""
    who = request.get(PRINCIPAL, ANYBODY)
    return "" if any(not role.has_conditions for role in who.granting(("view",))) else who.name


def _number(request: web.Request, found: KeptQuery) -> int | web.Response:
    """The number of an answer in the path, or the answer where there is none such."""
    text = request.match_info["number"]
    number = whole_number(text)
    if number is None:
        return error_answer(request, 400, f"{text[:40]!r} is no number of an answer", orthanc=_BAD_TYPE)
    if number >= len(found.answers):
        return error_answer(request, 400, f"the answers are 0 to {len(found.answers) - 1}", orthanc=_OUT_OF_RANGE)
    return number


def _form(request: web.Request) -> Format:
    simplify, short = "simplify" in request.query, "short" in request.query
    return "simplify" if simplify else "short" if short else "full"


def _kept(public_id: str) -> web.Response:
    return json_answer(reference("queries", public_id))


def asked_keys(query: Any) -> DataSet:
    """The keys in a body, without a level. Raises BadRequest."""
    if query is None:
        return {}
    if not isinstance(query, dict):
        raise BadRequest("The field Query must contain a JSON object")
    return {tag: each for tag, each in from_tags(query).items() if tag != _LEVEL}


def without_values(names: tuple[str, ...]) -> DataSet:
    """Keys, by keyword, that ask for the value of each."""
    return {KEYWORDS[name]: Attribute(implicit_vr(KEYWORDS[name])) for name in names}


def _shown(level: Level, answer: DataSet) -> DataSet:
    """What a job says of an answer: what it is retrieved by, and its accession number."""
    found = {tag: answer[tag] for tag in _RETRIEVED_BY if tag in answer}
    return {_LEVEL: Attribute("CS", ["IMAGE" if level == "instance" else level.upper()]), **found}


def _method(asked: str, known: str) -> Method:
    said = asked if asked != "SystemDefault" else known
    if said in ("SystemDefault", "C-MOVE"):
        return "C-MOVE"
    if said == "C-GET":
        return "C-GET"
    raise BadRequest(f"RetrieveMethod: {said[:40]!r} is none of SystemDefault, C-MOVE, C-GET")


_SIMPLIFY: Final = Parameter("simplify", "Values by keyword", FLAG)
_SHORT: Final = Parameter("short", "Values by tag", FLAG)
_QUERY_BELOW: Final = struct(_QueryBody, Level=LEVEL, Query=KEYS)
_RETRIEVE: Final = any_of(TEXT, struct(_RetrieveBody))
ROUTES = (
    Route(
        "POST",
        f"{MODALITY}/query",
        query,
        "q-r-remote-modalities",
        takes=struct(_QueryBody, "Level", Level=LEVEL, Query=KEYS),
        body=(JSON,),
        errors=(404,),
    ),
    Route("GET", "/queries", all_queries, "q-r-remote-modalities"),
    Route("GET", QUERY, one, "q-r-remote-modalities", errors=(404,)),
    Route("DELETE", QUERY, remove, "q-r-remote-modalities"),
    Route("GET", f"{QUERY}/level", level_of_query, "q-r-remote-modalities", answers=("text/plain",), errors=(404,)),
    Route("GET", f"{QUERY}/modality", modality, "q-r-remote-modalities", answers=("text/plain",), errors=(404,)),
    Route("GET", f"{QUERY}/query", keys_of_query, "q-r-remote-modalities", (_SIMPLIFY, _SHORT), errors=(404,)),
    Route("GET", f"{QUERY}/answers", answers, "q-r-remote-modalities", (EXPAND, _SIMPLIFY, _SHORT), errors=(404,)),
    Route(
        "POST",
        f"{QUERY}/retrieve",
        retrieve_all,
        "q-r-remote-modalities",
        takes=_RETRIEVE,
        body=(JSON, "text/plain"),
        errors=(404,),
    ),
    Route("GET", ANSWER, answer, "q-r-remote-modalities", errors=(404,)),
    Route("GET", f"{ANSWER}/content", content, "q-r-remote-modalities", (_SIMPLIFY, _SHORT), errors=(404,)),
    Route(
        "POST",
        f"{ANSWER}/retrieve",
        retrieve_one,
        "q-r-remote-modalities",
        takes=_RETRIEVE,
        body=(JSON, "text/plain"),
        errors=(404,),
    ),
    *(
        Route(
            "POST",
            f"{ANSWER}/{path}",
            functools.partial(query_below, level=level),
            "q-r-remote-modalities",
            takes=_QUERY_BELOW,
            body=(JSON,),
            errors=(404,),
        )
        for path, level in _LEVEL_OF.items()
    ),
)
