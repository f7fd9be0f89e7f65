"""Pictures of frames as Orthanc has them, by name in the path: `preview`, `rendered`, `image-uint8` and so on, `pdf`.

`arrays.py` has the same frames as numbers. DICOMweb's `rendered` shows what the standard says of display.
"""

from __future__ import annotations

import functools
import math
from typing import Final

from aiohttp import web

from gateway import __version__
from gateway.dicom.uids import name_of
from gateway.errors import BadRequest, DataSetError
from gateway.render.extraction import FORMS, Extraction, Form
from gateway.render.picture import JPEG, PAM, PNG, QUALITY, encode, placeholder
from gateway.web.accept import choose
from gateway.web.conditional import entity_tag, unchanged, validators
from gateway.web.dicomweb import documents
from gateway.web.dicomweb.resources import RENDERER
from gateway.web.errors import error_answer
from gateway.web.inputs import whole_number
from gateway.web.rest.answers import flag, unknown
from gateway.web.rest.instance_files import located
from gateway.web.route import ACCEPT, COUNT, FLAG, NUMBER, ORTHANC_FRAME, ORTHANC_INSTANCE, Parameter, Route, at_least

_CARD: Final = 256
"""Pixels of a side of the picture that stands for one that cannot be made."""
_MAX_WANTED: Final = 1 << 16
"""Greatest width or height in a request; pictures have their own limit."""


async def picture(request: web.Request, form: Form) -> web.StreamResponse:
    """A picture of a frame, of the first without a number: PNG, JPEG or PAM, as Accept wants it.

    JPEG has no samples of 16 bits. 415 where there is nothing that can be decoded; with `returnUnsupportedImage`, a
    picture that says so.
    """
    found, number = await located(request), whole_number(request.match_info.get("frame", "0"))
    if found is None or number is None:
        return unknown(request)
    extraction, wants_card = _extraction(request, form), flag(request, "returnUnsupportedImage")
    tag = entity_tag(__version__, found.key, number, extraction)
    if (answer := unchanged(request, tag)) is not None:
        return answer
    try:
        made = await request.app[RENDERER].extract(found, number, extraction)
    except DataSetError as error:
        if not wants_card:
            return unsupported(request, error)
        words = "No picture", name_of(found.sop_class_uid).removesuffix(" Storage")
        made = encode(placeholder(words, _CARD, _CARD), extraction.media_type, quality=extraction.quality)
    return web.Response(body=made, content_type=extraction.media_type, headers=validators(tag))


async def pdf(request: web.Request) -> web.StreamResponse:
    """The document of an instance that holds a PDF."""
    choose(request, ("application/pdf",))
    found = await located(request)
    if found is None:
        return unknown(request)
    if found.sop_class_uid != documents.PDF:
        return error_answer(request, 404, f"the instance is a {name_of(found.sop_class_uid)}, which holds no PDF")
    return await documents.document(request, found)


def unsupported(request: web.Request, error: DataSetError) -> web.Response:
    """The answer where an instance has no frames that can be decoded: 415."""
    return error_answer(request, 415, f"there is no picture of the instance: {error}; /file has it as it is stored")


def _extraction(request: web.Request, form: Form) -> Extraction:
    offers = (PNG, PAM) if form in ("image-uint16", "image-int16") else (PNG, JPEG, PAM)
    media_type = choose(request, offers)
    quality = _whole(request, "quality", QUALITY)
    if not 1 <= quality <= 100:
        raise BadRequest(f"quality: {quality} is not from 1 to 100")
    if media_type != JPEG:
        quality = QUALITY  # one picture, whatever is said of it
    if form != "rendered":
        return Extraction(form, media_type, quality)
    return Extraction(
        *(form, media_type, quality, _number(request, "window-center"), _number(request, "window-width")),
        columns=_whole(request, "width"),
        rows=_whole(request, "height"),
        smooth=flag(request, "smooth"),
    )


def _whole(request: web.Request, name: str, default: int = 0) -> int:
    text = request.query.get(name)
    value = default if text is None else whole_number(text)
    if value is None or value > _MAX_WANTED:
        raise BadRequest(f"{name}: {(text or '')[:40]!r} is not a whole number up to {_MAX_WANTED}")
    return value


def _number(request: web.Request, name: str) -> float | None:
    text = request.query.get(name)
    if text is None:
        return None
    try:
        value = float(text) if len(text) <= 40 else math.nan
    except ValueError:
        value = math.nan
    if not abs(value) <= 1e12:
        raise BadRequest(f"{name}: {text[:40]!r} is not a usable number")
    return value


_OF_ALL: Final = (
    ACCEPT,
    Parameter("quality", "Quality of JPEG", at_least(1, 100), "90"),
    Parameter("returnUnsupportedImage", "A picture in place of 415", FLAG),
)
_OF_RENDERED: Final = (
    Parameter("width", "The picture is no wider than this", COUNT, "64"),
    Parameter("height", "The picture is no higher than this", COUNT, "64"),
    Parameter("smooth", "Smooth the picture before it is made smaller", FLAG),
    Parameter("window-center", "Window Center in place of the instance's own", NUMBER, "40"),
    Parameter("window-width", "Window Width in place of the instance's own", NUMBER, "400"),
)
_SUBJECTS: Final[dict[Form, str]] = {
    "preview": "The values of a frame, spread over all greys.",
    "rendered": "The values of a frame through its window.",
    "image-uint8": "The values of a frame, cut off at 0 and 255.",
    "image-uint16": "The values of a frame, cut off at 0 and 65535.",
    "image-int16": "The values of a frame, cut off at -32768 and 32767.",
}

ROUTES = (
    *(
        Route(
            "GET",
            f"{place}/{form}",
            functools.partial(picture, form=form),
            "view",
            (*_OF_ALL, *(_OF_RENDERED if form == "rendered" else ())),
            answers=(PNG, JPEG, PAM),
            errors=(404, 406, 415),
            subject=_SUBJECTS[form],
        )
        for place in (ORTHANC_INSTANCE, ORTHANC_FRAME)
        for form in FORMS
    ),
    Route("GET", "/instances/{id}/pdf", pdf, "view", (ACCEPT,), answers=("application/pdf",), errors=(404, 406, 416)),
)
