"""WADO-URI (PS3.18 §9): one instance by query parameters, as a DICOM file or rendered.

Its parameters are translated to those of WADO-RS here; `wado.py` and `rendered.py` implement them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from aiohttp import web
from multidict import MultiMapping

from gateway.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from gateway.errors import BadRequest, NotFound
from gateway.index.locate import Located
from gateway.render.viewport import MAX_SIDE
from gateway.web.accept import parse
from gateway.web.dicomweb import rendered
from gateway.web.dicomweb.frames import FRAME_INDEX
from gateway.web.dicomweb.render_options import ANNOTATION, PROFILE, QUALITY_PARAMETER, read_options
from gateway.web.dicomweb.resources import RETRIEVAL, Target, frame_numbers, one_instance
from gateway.web.dicomweb.wado import DICOM, Representation, send_file
from gateway.web.errors import NotAcceptable
from gateway.web.route import NUMBER, UID, Parameter, Route, at_least, one_of

_REFUSED: Final = ("anonymize", "presentationUID", "presentationSeriesUID")
"""Parameters that are refused, since ignoring them would send another image than requested."""


async def uri(request: web.Request) -> web.StreamResponse:
    """One instance by its UIDs (WADO-URI): a DICOM file for contentType=application/dicom, otherwise rendered.

    Without contentType it is rendered, if it can be.
    """
    query = request.query
    target = _target(query)._replace(patient=request.match_info.get("patient", ""))
    content_type = ",".join(query.getall("contentType", [])).replace(" ", "+")  # an unescaped + arrives as a blank
    retrieval = request.app[RETRIEVAL]
    located = await one_instance(retrieval, target)
    if any(media_range.media_type == DICOM for media_range in parse(content_type)):
        return await _file(request, located)
    words = await _words(request, located)
    if content_type:
        words["accept"] = content_type
    translated = request.clone(rel_url=request.rel_url.with_query(words))
    if "frameNumber" in query:
        (number,) = frame_numbers(query["frameNumber"], 1)
        media_type, _ = rendered.choose(translated)
        return await rendered.picture(translated, located, number - 1, read_options(translated.query, media_type))
    try:
        return await rendered.show(translated, located)
    except NotAcceptable:
        if content_type:
            raise
        return await _file(request, located)


def _target(query: MultiMapping[str]) -> Target:
    """The instance of the parameters. Raises BadRequest for missing and unsupported ones."""
    if query.get("requestType") != "WADO":
        raise BadRequest("requestType: must be WADO")
    missing = [name for name in ("studyUID", "seriesUID", "objectUID") if not query.get(name)]
    if missing:
        raise BadRequest(f"{', '.join(missing)}: is required (PS3.18 §9.4.1)")
    for name in _REFUSED:
        if name in query:
            raise BadRequest(f"{name}: is not supported")
    charset = query.get("charset", "utf-8").lower()
    if charset not in ("utf-8", "utf8"):
        raise NotAcceptable(f"charset: {charset[:40]!r} is not available; utf-8 is")
    return Target(query["studyUID"], query["seriesUID"], query["objectUID"])


async def _file(request: web.Request, located: Located) -> web.StreamResponse:
    """Send a DICOM file, in the transfer syntax of transferSyntax (§9.4.2.2.2), by default Explicit VR Little
    Endian."""
    syntax = request.query.get("transferSyntax", "").strip()
    option = Representation(DICOM, syntax or EXPLICIT_VR_LITTLE_ENDIAN.uid, default=not syntax)
    return await send_file(request, located, [option], [option])


async def _words(request: web.Request, located: Located) -> dict[str, str]:
    """Translate the parameters of rendering (§9.4.3) to those of a rendered resource (§8.3.5)."""
    query = request.query
    words = {name: query[name] for name in ("annotation", "iccprofile") if name in query}
    if "imageQuality" in query:
        words["quality"] = query["imageQuality"]
    if ("windowCenter" in query) != ("windowWidth" in query):
        raise BadRequest("windowCenter, windowWidth: belong together")
    if "windowCenter" in query:
        words["window"] = f"{query['windowCenter']},{query['windowWidth']}"
    if "region" in query:
        across, down, region = await _region(request, located)
        if "rows" not in query and "columns" not in query:  # in its own size
            words["viewport"] = f"{min(across, MAX_SIDE)},{min(down, MAX_SIDE)}{region}"
            return words
    else:
        region = ""
    if region or "rows" in query or "columns" in query:
        words["viewport"] = f"{query.get('columns', MAX_SIDE)},{query.get('rows', MAX_SIDE)}{region}"
    return words


async def _region(request: web.Request, located: Located) -> tuple[int, int, str]:
    """Convert xmin, ymin, xmax, ymax, from 0 to 1, to pixels: width and height, and `,sx,sy,sw,sh` of a viewport."""
    try:
        left, top, right, bottom = (float(part) for part in request.query["region"].split(","))
    except ValueError:
        raise BadRequest("region: is not xmin,ymin,xmax,ymax") from None
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise BadRequest("region: the numbers are from 0 to 1, and the first of a pair is smaller")
    (pixels,) = await request.app[RETRIEVAL].map([located], request.app[FRAME_INDEX].find)
    if pixels is None:
        raise NotFound(f"instance {located.sop_uid} has no pixel data")
    across, down = pixels.image.columns, pixels.image.rows
    wide, high = (right - left) * across, (bottom - top) * down
    return max(1, round(wide)), max(1, round(high)), f",{left * across},{top * down},{wide},{high}"


ROUTES = (
    Route(
        "GET",
        "/wado",
        uri,
        "view",
        (
            Parameter("requestType", "WADO", one_of("WADO"), "WADO", required=True),
            Parameter("studyUID", "Study Instance UID", UID, required=True),
            Parameter("seriesUID", "Series Instance UID", UID, required=True),
            Parameter("objectUID", "SOP Instance UID", UID, required=True),
            Parameter("charset", "Character set of the answer", one_of("utf-8", "utf8"), "utf-8"),
            Parameter("contentType", "Media types", example="image/jpeg"),
            Parameter("transferSyntax", "Transfer syntax of a DICOM file", UID, EXPLICIT_VR_LITTLE_ENDIAN.uid),
            Parameter("frameNumber", "Number of a frame, from 1", at_least(1)),
            Parameter("rows", "Most pixels of the height", at_least(1, MAX_SIDE), "64"),
            Parameter("columns", "Most pixels of the width", at_least(1, MAX_SIDE), "64"),
            Parameter("region", "Left, top, right and bottom, from 0 to 1", example="0,0,0.5,0.5"),
            Parameter("windowCenter", "Center of the window", NUMBER, "40"),
            Parameter("windowWidth", "Width of the window", NUMBER, "400"),
            replace(QUALITY_PARAMETER, name="imageQuality"),
            ANNOTATION,
            PROFILE,
        ),
        answers=(DICOM, "image/*", "video/*", "application/pdf", "text/html"),
        errors=(404, 406, 409),
        name="wado-uri",
    ),
)
