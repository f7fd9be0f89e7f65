"""/tools/…: the time, new identifiers, and what is accepted over DICOM, as Orthanc has them."""

from __future__ import annotations

import asyncio
import datetime
import time
import uuid
from typing import Final

from aiohttp import web

from gateway.dicom.levels import LEVELS
from gateway.web.context import CONTEXT
from gateway.web.errors import error_answer
from gateway.web.rest.answers import json_answer, timestamp
from gateway.web.rest.names import parse_level
from gateway.web.route import SERVED, SIGNED_IN, Parameter, Route, one_of


async def tools(request: web.Request) -> web.StreamResponse:
    """The names of the calls below this path."""
    root = request.path.rstrip("/") + "/"
    below = [route.path.removeprefix(root) for route in request.app[SERVED] if route.path.startswith(root)]
    return json_answer(sorted({path.partition("/")[0] for path in below}))


async def now(_request: web.Request) -> web.StreamResponse:
    """The time in UTC."""
    return web.Response(text=timestamp(time.time()))


async def now_local(_request: web.Request) -> web.StreamResponse:
    """The time in the zone of the gateway's machine."""
    return web.Response(text=datetime.datetime.now().astimezone().strftime("%Y%m%dT%H%M%S"))


async def generate_uid(request: web.Request) -> web.StreamResponse:
    """A new identifier for a `level`: a Patient ID, or a Study, Series or SOP Instance UID (PS3.5 §B.2)."""
    level = parse_level(request.query.get("level", ""))
    if level is None:
        return error_answer(request, 404, f"level: one of {', '.join(LEVELS)} is needed")
    made = uuid.uuid4()
    return web.Response(text=str(made) if level == "patient" else f"2.25.{made.int}")


async def default_encoding(_request: web.Request) -> web.StreamResponse:
    """The encoding assumed for text that names no character set and is no UTF-8."""
    return web.Response(text="Latin1")


async def dicom_conformance(request: web.Request) -> web.StreamResponse:
    """The DICOM Conformance Statement (PS3.2) for the settings as they are."""
    return web.Response(text=await asyncio.to_thread(request.app[CONTEXT].accepted.conformance))


async def accepted_transfer_syntaxes(request: web.Request) -> web.StreamResponse:
    """The transfer syntaxes in which instances are taken over DICOM."""
    return json_answer(request.app[CONTEXT].accepted.transfer_syntaxes())


async def accepted_sop_classes(request: web.Request) -> web.StreamResponse:
    """The storage SOP classes that are taken over DICOM."""
    return json_answer(request.app[CONTEXT].accepted.sop_classes())


async def unknown_sop_class_accepted(request: web.Request) -> web.StreamResponse:
    """Whether SOP classes are taken that the standard does not name: 1 or 0."""
    return web.Response(text="1" if request.app[CONTEXT].settings().dicom.accept_unknown_sop_classes else "0")


_TEXT: Final = ("text/plain",)
ROUTES = (
    Route("GET", "/tools", tools, SIGNED_IN),
    Route("GET", "/tools/now", now, SIGNED_IN, answers=_TEXT),
    Route("GET", "/tools/now-local", now_local, SIGNED_IN, answers=_TEXT),
    Route(
        "GET",
        "/tools/generate-uid",
        generate_uid,
        SIGNED_IN,
        (Parameter("level", "What the identifier is for", one_of(*LEVELS), "study", required=True),),
        answers=_TEXT,
        errors=(404,),
    ),
    Route("GET", "/tools/default-encoding", default_encoding, SIGNED_IN, answers=_TEXT),
    Route("GET", "/tools/dicom-conformance", dicom_conformance, SIGNED_IN, answers=_TEXT),
    Route("GET", "/tools/accepted-transfer-syntaxes", accepted_transfer_syntaxes, SIGNED_IN),
    Route("GET", "/tools/accepted-sop-classes", accepted_sop_classes, SIGNED_IN),
    Route("GET", "/tools/unknown-sop-class-accepted", unknown_sop_class_accepted, SIGNED_IN, answers=_TEXT),
)
