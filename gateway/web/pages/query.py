"""The page for searching other systems, and for retrieving what they have: query and retrieve.

Each source is searched by a request of its own, whose rows `static/query.js` puts into one list as they come; when the
browser ends the request early, the search is cancelled. Without scripts the form asks for the page with `run`, which
searches before it is answered. What is retrieved is a job.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web

from gateway.errors import BadRequest, ConfigurationError, GatewayError, NotFound, RequestFailed
from gateway.systems.calls import AS_KNOWN
from gateway.systems.remote_search import KnownRemoteSource, RemoteSource, parse_source
from gateway.systems.retrieve_jobs import Method
from gateway.web.context import CONTEXT
from gateway.web.inputs import read_fields
from gateway.web.pages.causes import ExplainedFailure, explained
from gateway.web.pages.frame import page_answer, part_of_page
from gateway.web.pages.job_rows import TITLE
from gateway.web.pages.query_form import PARAMETERS, QUERY_LEVELS, WHEN, QueryForm
from gateway.web.pages.query_parts import PART, gathered
from gateway.web.pages.query_results import Row, Wanted, parse_wanted, result_rows
from gateway.web.pages.reader import may, page_path
from gateway.web.pages.wording import Words, reader_words
from gateway.web.rest.asked import ae_title
from gateway.web.rest.dimse import RETRIEVE_JOBS
from gateway.web.rest.modalities import DIRECTORY
from gateway.web.rest.peers import WADO_JOBS
from gateway.web.route import FLAG, Parameter, Route
from gateway.web.security import PAGE
from gateway.web.sessions import check_form
from gateway.web.streaming import stream
from gateway.web.urls import path_template

MAX_ROWS: Final = 200
"""Answers of one source that are shown."""
MAX_RETRIEVED: Final = 50
"""Rows that are retrieved by one press of a button."""
_METHODS: Final = ("auto", "C-MOVE", "C-GET")
_MODALITIES: Final = (
    "CR",
    "CT",
    "DX",
    "ES",
    "IO",
    "MG",
    "MR",
    "NM",
    "OT",
    "PT",
    "PX",
    "RF",
    "SC",
    "SM",
    "SR",
    "US",
    "XA",
)


@dataclass(frozen=True, slots=True)
class SourceResults:
    """The outcome of the search of one source."""

    source: RemoteSource
    rows: list[Row] = field(default_factory=list)
    is_complete: bool = True
    why: ExplainedFailure | None = None
    count: int = 0
    """Rows of the source in all, in earlier parts too."""
    is_over: bool = True
    """Whether this is the last part."""


@dataclass(frozen=True, slots=True)
class EchoResult:
    """The outcome of the test of one source."""

    milliseconds: int = 0
    why: ExplainedFailure | None = None


async def query(request: web.Request) -> web.Response:
    """The page for searching other systems."""
    form, search = QueryForm.of(request.query), request.app[CONTEXT].use_cases.remote_search
    known = await search.sources()
    runs = "run" in request.query and bool(form.sources)
    results = list(await asyncio.gather(*(_searched(request, form, each) for each in form.sources))) if runs else []
    echoed = request.query.get("echo", "")
    echo_result = await _echoed(request, echoed) if echoed else None
    page = path_template(request, "query-page")
    settings = request.app[CONTEXT].settings()
    values: dict[str, Any] = {
        "action": page,
        "aets": sorted({each.aet.strip() for each in settings.modalities.values()}),
        "chosen": form.sources or _only(known),
        "echo_result": echo_result,
        "echo_url": path_template(request, "query-echo"),
        "echoed": echoed,
        "form": form,
        "jobs_url": path_template(request, "jobs-rows"),
        "levels": QUERY_LEVELS,
        "methods": _METHODS,
        "modalities_url": page_path(request, "modalities-page") if may(request, "settings") else "",
        "modalities": _MODALITIES,
        "page": page,
        "results": results,
        "results_url": path_template(request, "query-results"),
        "run_url": form.address(page, ("run", "1")),
        "runs": runs,
        "sources": known,
        "target": request.query.get("target", "")[:16] or settings.dicom.aet.strip(),
        "when": WHEN,
    }
    return page_answer(request, "query.html", values)


async def results(request: web.Request) -> web.StreamResponse:
    """Rows of the answers of one source alone, in parts as they arrive, for an open page, whose query it has."""
    form = QueryForm.of(request.query)
    if len(form.sources) != 1:
        raise BadRequest("source: name one")
    source = parse_source(form.sources[0])
    values = {"form": form, "page": path_template(request, "query-page")}

    async def parts() -> AsyncGenerator[bytes, None]:
        async with aclosing(_parts(request, form, source)) as found:
            async for each in found:
                yield part_of_page(request, "query_results.html", {**values, "results": [each]}).encode() + PART

    response = web.StreamResponse(headers={**PAGE, "Content-Type": "text/html; charset=utf-8"})
    return await stream(request, response, parts())


async def echo(request: web.Request) -> web.Response:
    """The outcome of a test of one source: its time, or why it has failed."""
    result = await _echoed(request, request.query.get("source", ""))
    return page_answer(request, "query_echo.html", {"echo_result": result})


async def retrieve(request: web.Request) -> web.StreamResponse:
    """Begin to retrieve the rows of a form, by a job each, and lead to the page of these jobs."""
    fields = await read_fields(request)
    form = dict(fields)
    check_form(request, form)
    texts = [value for name, value in fields if name == ("only" if "only" in form else "row")]
    if not 1 <= len(texts) <= MAX_RETRIEVED:
        raise BadRequest(f"choose 1 to {MAX_RETRIEVED} rows to retrieve")
    wanted = [parse_wanted(each) for each in texts]
    target, method = ae_title("target", form.get("target", "")), form.get("method", "auto")
    if method not in _METHODS:
        raise BadRequest(f"method: {method[:40]!r} is none of {', '.join(_METHODS)}")
    numbers = [await _add_job(request, each, target, method) for each in wanted]
    raise web.HTTPSeeOther(f"{path_template(request, 'jobs-page')}?{urlencode([('id', each) for each in numbers])}")


def _only(known: list[KnownRemoteSource]) -> tuple[str, ...]:
    return (str(known[0].source),) if len(known) == 1 else ()


async def _searched(request: web.Request, form: QueryForm, text: str) -> SourceResults:
    source, t = parse_source(text), reader_words(request)
    search = request.app[CONTEXT].use_cases.remote_search
    try:
        found = await search.find(source, form.level, form.keys(datetime.date.today()), limit=MAX_ROWS)
        rows = await result_rows(request, source, form, found.answers)
    except GatewayError as error:
        return SourceResults(source, why=_why(t, error))
    return SourceResults(source, rows, found.is_complete, count=len(rows))


async def _parts(request: web.Request, form: QueryForm, source: RemoteSource) -> AsyncGenerator[SourceResults, None]:
    """The outcome of the search of a source, in parts."""
    search, count, is_complete = request.app[CONTEXT].use_cases.remote_search, 0, True
    answers = search.stream(source, form.level, form.keys(datetime.date.today()), limit=MAX_ROWS + 1)
    try:
        async with aclosing(gathered(answers)) as batches:
            async for batch in batches:
                rows = await result_rows(request, source, form, batch[: MAX_ROWS - count])
                is_complete = len(rows) == len(batch)
                count += len(rows)
                yield SourceResults(source, rows, count=count, is_over=False)
    except GatewayError as error:
        yield SourceResults(source, why=_why(reader_words(request), error), count=count)
    else:
        yield SourceResults(source, [], is_complete, count=count)


async def _echoed(request: web.Request, text: str) -> EchoResult:
    source, t = parse_source(text), reader_words(request)
    try:
        seconds = await request.app[CONTEXT].use_cases.remote_search.echo(source)
    except GatewayError as error:
        return EchoResult(why=_why(t, error))
    return EchoResult(max(1, round(1000 * seconds)))


def _why(t: Words, error: GatewayError) -> ExplainedFailure:
    if isinstance(error, NotFound | ConfigurationError):
        return explained(t, str(error))
    return explained(t, str(error), error.status if isinstance(error, RequestFailed) else None)


async def _add_job(request: web.Request, wanted: Wanted, target: str, method: str) -> int:
    """Add the job that retrieves a row to an AE title; its number."""
    source = parse_source(wanted.source)
    ours = request.app[CONTEXT].settings().dicom.aet.strip()
    to_us = target in ("", ours)
    user_data = {TITLE: wanted.title} if wanted.title else None
    if source.kind == "server":
        if wanted.level == "patient":
            raise BadRequest("a DICOMweb server has no patients to retrieve; list the studies of the patient")
        if not to_us:
            raise BadRequest(f"a DICOMweb server sends to us alone, not to {target}; retrieve to {ours}, then send on")
        uids = tuple(each for each in (wanted.study, wanted.series) if each)
        return await request.app[WADO_JOBS].add(source.name, [uids], user_data=user_data)
    known = await request.app[DIRECTORY].system("modality", source.name)
    if method == "auto":
        method = "C-GET" if to_us and known.fields["RetrieveMethod"] == "C-GET" else "C-MOVE"
    if method == "C-GET" and not to_us:
        raise BadRequest(f"C-GET retrieves to us alone, not to {target}; choose C-MOVE")
    chosen: Method = "C-GET" if method == "C-GET" else "C-MOVE"
    return await request.app[RETRIEVE_JOBS].add(
        source.name,
        wanted.level,
        [wanted.keys],
        AS_KNOWN,
        method=chosen,
        target_aet="" if to_us else target,
        user_data=user_data,
    )


_PERMISSION: Final = "q-r-remote-modalities"
_HTML: Final = ("text/html",)
ROUTES: Final = (
    Route(
        "GET",
        "/ui/query",
        query,
        _PERMISSION,
        (
            *PARAMETERS,
            Parameter("run", "Search before answering, for browsers without scripts", FLAG),
            Parameter("echo", "A system to test", example="modality:pacs"),
            Parameter("target", "AE title to retrieve to", example="GATEWAY"),
        ),
        answers=_HTML,
        name="query-page",
        action="search",
    ),
    Route(
        *("GET", "/ui/query/results", results, _PERMISSION, PARAMETERS),
        answers=_HTML,
        name="query-results",
        action="search",
    ),
    Route(
        *("GET", "/ui/query/echo", echo, _PERMISSION),
        (Parameter("source", "A system to test", example="modality:pacs", required=True),),
        answers=_HTML,
        name="query-echo",
        action="",
    ),
    Route(
        *("POST", "/ui/query", retrieve, _PERMISSION),
        body=("application/x-www-form-urlencoded",),
        errors=(404,),
        leads_on=True,
    ),
)
