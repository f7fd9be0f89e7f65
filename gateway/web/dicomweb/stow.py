"""STOW-RS, the store transaction (PS3.18 §10.5): a body in, instances into the archive, a result for each.

Media types, and the answer to a malformed body, are here. `http/multipart.py` splits the body, `stow_parts.py` passes
its parts to the intake, `instance_results.py` encodes the answer; `ingest/ingest.py` says when an instance is safe.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator

import msgspec
from aiohttp import web

from gateway.database.view import tenant_of_task
from gateway.dicom.xml import to_xml
from gateway.errors import BadRequest
from gateway.http.multipart import Event, Head, Malformed, Parser, Tail
from gateway.http.multipart_writer import MULTIPART
from gateway.index.store import Origin
from gateway.web.accept import DICOM_JSON, JSON, choose, content_type
from gateway.web.auditing import uploaded
from gateway.web.context import CONTEXT
from gateway.web.dicomweb.instance_results import InstanceResult, as_model, status_of
from gateway.web.dicomweb.stow_parts import DICOM, DICOM_XML, METADATA, Parts
from gateway.web.errors import NotAcceptable, TooLarge, error_answer
from gateway.web.receiving import BodyError, receiving
from gateway.web.route import ACCEPT, STUDY, XML, Route
from gateway.web.schemas import DATA_SET, list_of
from gateway.web.urls import object_url

BodyFault = Malformed | BodyError | TooLarge
_KINDS = METADATA | {DICOM, "application/octet-stream", ""}
_RETRY_AFTER = "30"


async def store(request: web.Request) -> web.Response:
    """Store instances: DICOM files, or metadata and bulk data; only in the study of the path, if it names one."""
    media_type, parameters = content_type(request.headers.get("Content-Type", ""))
    kind = parameters.get("type", "").lower()
    single = media_type == DICOM or media_type in METADATA
    if not single and not (media_type.startswith("multipart/") and kind in _KINDS):
        return error_answer(
            request,
            415,
            f'instances must be sent as multipart/related; type="{DICOM}", "{DICOM_JSON}" or "{DICOM_XML}", or as '
            f"{DICOM}; this is {media_type or 'unspecified'}{kind and '; type=' + kind}",
        )
    parser = None if single else Parser(parameters.get("boundary", ""))
    context = request.app[CONTEXT]
    origin = Origin(
        calling_aet="",
        called_aet=context.settings().dicom.aet,
        peer=request.remote or "",
        received_at=time.time(),
        via="stow",
        tenant=tenant_of_task(),
    )
    study, patient = request.match_info.get("study", ""), request.match_info.get("patient", "")
    async with receiving(request) as body:
        parts = Parts(context.use_cases.ingest, origin, study, patient, str(request.url))
        try:
            fault = await _read(body, parts, parser, media_type if single else kind)
        finally:
            await parts.close()
    uploaded(request, [each.study_uid for each in parts.results if each.reason == 0])
    return _answer(request, parts.results, study, fault)


async def _read(
    body: AsyncGenerator[bytes, None], parts: Parts, parser: Parser | None, default: str
) -> BodyFault | None:
    """Read the whole body into `parts`; returns the error that ended it early, if any."""
    try:
        if parser is None:
            await parts.begin({}, default)
        async for chunk in body:
            if parser is None:
                await parts.write(memoryview(chunk))
            else:
                await _feed(parser.feed(chunk), parts, default)
        if parser is None:
            await parts.end()
        else:
            await _feed(parser.close(), parts, default)
        await parts.finish()
    except (Malformed, BodyError, TooLarge) as error:
        parts.cut(error)
        return error
    return None


async def _feed(events: list[Event], parts: Parts, default: str) -> None:
    for event in events:
        match event:
            case Head():
                await parts.begin(event.headers, default)
            case Tail():
                await parts.end()
            case _:
                await parts.write(event)


def _answer(request: web.Request, results: list[InstanceResult], study: str, fault: BodyFault | None) -> web.Response:
    status = 413 if isinstance(fault, TooLarge) else status_of(results)
    if not any(result.sop_instance_uid for result in results):
        text = str(fault) if fault is not None else results[0].comment if results else "the body is empty"
        response = error_answer(request, status if results else 400, text)
    else:
        try:
            media_type = choose(request, (DICOM_JSON, JSON, DICOM_XML))
        except (NotAcceptable, BadRequest):
            media_type = DICOM_JSON  # instances are stored: too late to refuse
        model = as_model(results, object_url(request, "study"), object_url(request, "instance"), study)
        encoded = to_xml(model) if media_type == DICOM_XML else msgspec.json.encode(model)
        response = web.Response(status=status, body=encoded, headers={"Content-Type": media_type})
    if status == 503:
        response.headers["Retry-After"] = _RETRY_AFTER
    if fault is not None:
        response.force_close()  # the rest of the body is unread
    return response


ROUTES = tuple(
    Route(
        "POST",
        path,
        store,
        "upload",
        (ACCEPT,),
        takes=list_of(DATA_SET),
        body=(*(f'{MULTIPART}; type="{kind}"' for kind in (DICOM, DICOM_JSON, DICOM_XML)), DICOM, *sorted(METADATA)),
        answers=(DICOM_JSON, JSON, XML),
        errors=(409, 413, 415, 503, 507),
    )
    for path in ("/studies", STUDY)
)
"""The resources of PS3.18 Table 10.5.1-1."""
