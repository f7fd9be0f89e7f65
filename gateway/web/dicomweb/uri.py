"""WADO-URI (PS3.18 §9): one instance by query parameters, as a DICOM file or rendered.

Here live its parameters, which are put into the words of WADO-RS; what they mean is in `wado.py` and `rendered.py`.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web
from multidict import MultiMapping

from gateway.archive.retrieve import EXPLICIT_VR_LITTLE_ENDIAN
from gateway.errors import BadRequest, NotFound
from gateway.imaging.viewport import LARGEST_SIDE
from gateway.index.locate import Located
from gateway.web.accept import parse
from gateway.web.dicomweb import rendered
from gateway.web.dicomweb.frames import PLACES
from gateway.web.dicomweb.resources import RETRIEVAL, Target, frame_numbers, one_instance
from gateway.web.dicomweb.wado import DICOM, Representation, chooser, send_file
from gateway.web.dicomweb.wishes import read_wishes
from gateway.web.errors import NotAcceptable

_REFUSED: Final = ("anonymize", "presentationUID", "presentationSeriesUID")
"""What would give another picture than is asked for were it passed over."""


async def uri(request: web.Request) -> web.StreamResponse:
    """One instance by its UIDs (WADO-URI): a DICOM file for contentType=application/dicom, otherwise rendered.

    Without contentType it is rendered where that can be done.
    """
    query = request.query
    target = _target(query)
    content_type = ",".join(query.getall("contentType", [])).replace(" ", "+")  # an unescaped + arrives as a blank
    retrieval = request.app[RETRIEVAL]
    located = await one_instance(retrieval, target)
    if any(media_range.media_type == DICOM for media_range in parse(content_type)):
        return await _file(request, located)
    words = await _words(request, located)
    if content_type:
        words["accept"] = content_type
    asked = request.clone(rel_url=request.rel_url.with_query(words))
    if "frameNumber" in query:
        (number,) = frame_numbers(query["frameNumber"], 1)
        media_type, _ = rendered.choose(asked)
        return await rendered.picture(asked, located, number - 1, read_wishes(asked.query, media_type))
    try:
        return await rendered.show(asked, located)
    except NotAcceptable:
        if content_type:
            raise
        return await _file(request, located)


def _target(query: MultiMapping[str]) -> Target:
    """The instance that is meant. Raises BadRequest for what is missing, and for what is not done here."""
    if query.get("requestType") != "WADO":
        raise BadRequest("requestType: must be WADO")
    missing = [name for name in ("studyUID", "seriesUID", "objectUID") if not query.get(name)]
    if missing:
        raise BadRequest(f"{', '.join(missing)}: must be there (PS3.18 §9.4.1)")
    for name in _REFUSED:
        if name in query:
            raise BadRequest(f"{name}: is not done here")
    charset = query.get("charset", "utf-8").lower()
    if charset not in ("utf-8", "utf8"):
        raise NotAcceptable(f"charset: {charset[:40]!r} is not written here; utf-8 is")
    return Target(query["studyUID"], query["seriesUID"], query["objectUID"])


async def _file(request: web.Request, located: Located) -> web.StreamResponse:
    """As DICOM, in the transfer syntax of transferSyntax (§9.4.2.2.2), by default Explicit VR Little Endian."""
    syntax = request.query.get("transferSyntax", "").strip()
    wish = Representation(DICOM, syntax or EXPLICIT_VR_LITTLE_ENDIAN, default=not syntax)
    return await send_file(request, located, chooser([wish]))


async def _words(request: web.Request, located: Located) -> dict[str, str]:
    """The parameters of rendering (§9.4.3) as those of a rendered resource (§8.3.5)."""
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
        if "rows" not in query and "columns" not in query:  # as large as it is
            words["viewport"] = f"{min(across, LARGEST_SIDE)},{min(down, LARGEST_SIDE)}{region}"
            return words
    else:
        region = ""
    if region or "rows" in query or "columns" in query:
        words["viewport"] = f"{query.get('columns', LARGEST_SIDE)},{query.get('rows', LARGEST_SIDE)}{region}"
    return words


async def _region(request: web.Request, located: Located) -> tuple[int, int, str]:
    """xmin, ymin, xmax, ymax as parts of the whole, in pixels: how wide and high, and `,sx,sy,sw,sh` of a viewport."""
    try:
        left, top, right, bottom = (float(part) for part in request.query["region"].split(","))
    except ValueError:
        raise BadRequest("region: is not xmin,ymin,xmax,ymax") from None
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise BadRequest("region: the numbers go from 0 to 1, and the first of a pair is smaller")
    (pixels,) = await request.app[RETRIEVAL].map([located], request.app[PLACES].find)
    if pixels is None:
        raise NotFound(f"instance {located.sop_uid} has no pixel data")
    across, down = pixels.image.columns, pixels.image.rows
    wide, high = (right - left) * across, (bottom - top) * down
    return max(1, round(wide)), max(1, round(high)), f",{left * across},{top * down},{wide},{high}"
