"""STOW-RS, the store transaction (PS3.18 §10.5): a body in, instances into the archive, a receipt for each.

Here live the media types and what becomes of a request whose body is wrong. Taking parts apart is `multipart.py`,
what a part is and whom it goes to `stow_parts.py`, the answer `receipts.py`; when an instance is safe is
`archive/ingest.py`.
"""

from __future__ import annotations

import time
from contextlib import aclosing

import msgspec
from aiohttp import web

from gateway.dicom.xml import to_xml
from gateway.errors import BadRequest
from gateway.index.store import Origin
from gateway.web.accept import DICOM_JSON, JSON, choose, content_type
from gateway.web.context import CONTEXT
from gateway.web.dicomweb.receipts import Receipt, as_model, status_of
from gateway.web.dicomweb.stow_parts import DICOM, DICOM_XML, METADATA, Parts
from gateway.web.errors import NotAcceptable, TooLarge, error_answer
from gateway.web.multipart import Event, Head, Malformed, Parser, Tail
from gateway.web.receiving import TURNS, Broken, body
from gateway.web.urls import url_template

Trouble = Malformed | Broken | TooLarge
_KINDS = METADATA | {DICOM, "application/octet-stream", ""}
_RETRY_AFTER = "30"


async def store(request: web.Request) -> web.Response:
    """Store instances: DICOM files, or metadata and bulk data; only in the study of the path, where it names one."""
    media_type, parameters = content_type(request.headers.get("Content-Type", ""))
    kind = parameters.get("type", "").lower()
    single = media_type == DICOM or media_type in METADATA
    if not single and not (media_type.startswith("multipart/") and kind in _KINDS):
        return error_answer(
            request,
            415,
            f'instances come as multipart/related; type="{DICOM}", "{DICOM_JSON}" or "{DICOM_XML}", or as {DICOM}; '
            f"this is {media_type or 'what is not said'}{kind and '; type=' + kind}",
        )
    parser = None if single else Parser(parameters.get("boundary", ""))
    context = request.app[CONTEXT]
    origin = Origin(
        calling_aet="",
        called_aet=context.settings().dicom.aet,
        peer=request.remote or "",
        received_at=time.time(),
        via="stow",
    )
    study = request.match_info.get("study", "")
    async with request.app[TURNS].turn():
        parts = Parts(context.ingest, origin, study, str(request.url))
        try:
            trouble = await _read(request, parts, parser, media_type if single else kind)
        finally:
            await parts.close()
    return _answer(request, parts.receipts, study, trouble)


async def _read(request: web.Request, parts: Parts, parser: Parser | None, default: str) -> Trouble | None:
    """The whole body into `parts`; what was wrong with it where it could not be read to its end."""
    try:
        if parser is None:
            await parts.begin({}, default)
        async with aclosing(body(request)) as chunks:
            async for chunk in chunks:
                if parser is None:
                    await parts.write(memoryview(chunk))
                else:
                    await _hand_over(parser.feed(chunk), parts, default)
        if parser is None:
            await parts.end()
        else:
            await _hand_over(parser.close(), parts, default)
        await parts.finish()
    except (Malformed, Broken, TooLarge) as error:
        parts.cut(error)
        return error
    return None


async def _hand_over(events: list[Event], parts: Parts, default: str) -> None:
    for event in events:
        match event:
            case Head():
                await parts.begin(event.headers, default)
            case Tail():
                await parts.end()
            case _:
                await parts.write(event)


def _answer(request: web.Request, receipts: list[Receipt], study: str, trouble: Trouble | None) -> web.Response:
    status = 413 if isinstance(trouble, TooLarge) else status_of(receipts)
    if not any(receipt.sop_instance_uid for receipt in receipts):
        text = str(trouble) if trouble is not None else receipts[0].comment if receipts else "there is nothing in it"
        response = error_answer(request, status if receipts else 400, text)
    else:
        try:
            media_type = choose(request, (DICOM_JSON, JSON, DICOM_XML))
        except (NotAcceptable, BadRequest):
            media_type = DICOM_JSON  # instances are stored: that is no time to be particular
        model = as_model(receipts, url_template(request, "study"), url_template(request, "instance"), study)
        encoded = to_xml(model) if media_type == DICOM_XML else msgspec.json.encode(model)
        response = web.Response(status=status, body=encoded, headers={"Content-Type": media_type})
    if status == 503:
        response.headers["Retry-After"] = _RETRY_AFTER
    if trouble is not None:
        response.force_close()  # the rest of the body is not read
    return response
