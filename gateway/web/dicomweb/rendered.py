"""Rendered resources and thumbnails (PS3.18 §10.4.1.1.3, §10.4.1.1.4): images, video, documents and reports.

The choice of the form of a resource, and the sending of several images, are here. `retrieve/renderings.py` renders,
`render_options.py` parses parameters, `documents.py` has video, documents and reports.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Iterable
from contextlib import aclosing
from typing import Final, TypeVar

from aiohttp import web

from gateway import __version__
from gateway.dicom.uids import name_of
from gateway.errors import BadRequest, DataSetError, NotFound
from gateway.http.multipart_writer import MULTIPART, Multipart
from gateway.imaging.pixels import VIDEO
from gateway.index.locate import Located
from gateway.render.picture import GIF, JPEG, PNG
from gateway.render.rendering import NotRenderable, RenderOptions
from gateway.web.accept import DICOM_JSON, listed, wanted
from gateway.web.conditional import entity_tag, unchanged, validators
from gateway.web.dicomweb import documents
from gateway.web.dicomweb.render_options import RENDERING, SIZE, read_options, read_thumbnail_options
from gateway.web.dicomweb.resources import RENDERER, RETRIEVAL, Target, each, first_page, frame_numbers, one_instance
from gateway.web.errors import NotAcceptable
from gateway.web.route import ACCEPT, FRAMES, INSTANCE, SERIES, STUDY, Route
from gateway.web.streaming import stream

T = TypeVar("T")

IMAGES: Final = (JPEG, PNG, GIF)
MAX_FRAMES: Final = 1000
"""Frames in one request."""
_TOGETHER: Final = 1 << 20
"""Bytes of images that are rendered before any of them is sent."""


async def instance(request: web.Request) -> web.StreamResponse:
    """One instance in its natural form: an image, a cine, a video stream, a document or a report.

    Of several frames, JPEG and PNG show the representative one, GIF all, and multipart has one part for each.
    """
    return await show(request, await one_instance(request.app[RETRIEVAL], Target.of(request)))


async def show(request: web.Request, located: Located) -> web.StreamResponse:
    """Send an instance, already looked up, in its natural form."""
    if located.transfer_syntax_uid in VIDEO:
        return await documents.video(request, located)
    if located.sop_class_uid in documents.DOCUMENTS:
        return await documents.document(request, located)
    if located.sop_class_uid.startswith(documents.REPORTS):
        return await documents.report(request, located)
    media_type, multipart = choose(request)
    options = read_options(request.query, media_type)
    renderer = request.app[RENDERER]
    if multipart:
        count = await _or_406(located, renderer.frames(located))
        if count > MAX_FRAMES:
            raise NotAcceptable(f"{count} frames are too many for one answer; request at most {MAX_FRAMES} by number")
        return await _several(request, ((located, number) for number in range(count)), options)
    if media_type == GIF and await _or_406(located, renderer.frames(located)) > 1:
        tag = _tag(located, "cine", options)
        if (answer := unchanged(request, tag)) is not None:
            return answer
        return _single(await _or_406(located, renderer.cine(located, options)), GIF, tag)
    return await picture(request, located, None, options)


async def frames(request: web.Request) -> web.StreamResponse:
    """Frames by number, from 1: one by itself, several in multipart."""
    numbers = frame_numbers(request.match_info["frames"], MAX_FRAMES)
    located = await one_instance(request.app[RETRIEVAL], Target.of(request))
    if located.transfer_syntax_uid in VIDEO:
        raise NotAcceptable(f"single frames of {name_of(located.transfer_syntax_uid)} cannot be decoded here")
    media_type, multipart = choose(request)
    options = read_options(request.query, media_type)
    if len(numbers) == 1 and not multipart:
        return await picture(request, located, numbers[0] - 1, options)
    count = await _or_406(located, request.app[RENDERER].frames(located))
    if max(numbers) > count:
        raise NotFound(f"instance {located.sop_uid} has {count} frames; there is no frame {max(numbers)}")
    return await _several(request, ((located, number - 1) for number in numbers), options)


async def instances(request: web.Request) -> web.StreamResponse:
    """A study or series: a part for each instance that can be rendered; a single instance in its natural form."""
    target, retrieval = Target.of(request), request.app[RETRIEVAL]
    rows = await first_page(retrieval, target)
    if len(rows) == 1:
        return await show(request, rows[0])
    media_type, _ = choose(request)
    options = read_options(request.query, media_type)
    body = Multipart(media_type)
    response = web.StreamResponse(headers={"Content-Type": body.content_type})
    return await stream(request, response, _parts(request, each(retrieval, rows, target), body, options))


async def thumbnail(request: web.Request) -> web.StreamResponse:
    """A small image of the resource of the path; without an image, a card that names the kind of object."""
    target, retrieval = Target.of(request), request.app[RETRIEVAL]
    numbers = frame_numbers(request.match_info["frames"], MAX_FRAMES) if "frames" in request.match_info else []
    if len(numbers) > 1:
        raise BadRequest("a thumbnail has one frame")
    media_type, _ = choose(request)
    options = read_thumbnail_options(request.query, media_type)
    renderer = request.app[RENDERER]
    located = await (
        one_instance(retrieval, target)
        if target.instance is not None
        else renderer.representative(target.study, target.series, target.patient)
    )
    if located is None:
        raise target.missing()
    frame = numbers[0] - 1 if numbers else None
    tag = _tag(located, "thumbnail", frame, options)
    if (answer := unchanged(request, tag)) is not None:
        return answer
    kind = name_of(located.sop_class_uid).removesuffix(" Storage")
    words = ("Video" if located.transfer_syntax_uid in VIDEO else "No picture", kind)
    return _single(await renderer.thumbnail(located, frame, options, words), media_type, tag)


async def picture(request: web.Request, located: Located, frame: int | None, options: RenderOptions) -> web.Response:
    """Send one image, of a frame from 0 or of the representative one; 304 if the client has it."""
    tag = _tag(located, "frame", frame, options)
    if (answer := unchanged(request, tag)) is not None:
        return answer
    made = await _or_406(located, request.app[RENDERER].render(located, frame, options))
    return _single(made, options.media_type, tag)


def choose(request: web.Request) -> tuple[str, bool]:
    """The media type of an image, and whether the client wants it in multipart. Raises NotAcceptable."""
    for media_range in wanted(request):
        for offer in IMAGES:
            if media_range.covers(offer):
                return offer, False
        if media_range.covers(MULTIPART):
            kind = media_range.parameters.get("type", JPEG).lower()
            if kind in (*IMAGES, "image/*", "*/*"):
                return (kind if kind in IMAGES else JPEG), True
    raise NotAcceptable(f"images are available as {listed(IMAGES)}, alone or as the parts of {MULTIPART}")


def _tag(located: Located, *what: object) -> str:
    """The entity tag of a rendering, which includes our version, since another may render differently."""
    return entity_tag(__version__, located.key, *what)


def _single(made: bytes, media_type: str, tag: str) -> web.Response:
    return web.Response(body=made, content_type=media_type, headers=validators(tag))


async def _several(
    request: web.Request, wanted: Iterable[tuple[Located, int]], options: RenderOptions
) -> web.StreamResponse:
    """Send a part for each frame."""
    renderer, body = request.app[RENDERER], Multipart(options.media_type)

    async def parts() -> AsyncGenerator[bytes, None]:
        # The order of parts identifies frames, so none is omitted; a broken one is best found before the first.
        gathered = bytearray()
        for located, number in wanted:
            made = await _or_406(located, renderer.render(located, number, options))
            gathered += body.head(options.media_type, length=len(made)) + made + body.END
            if len(gathered) >= _TOGETHER:
                yield bytes(gathered)
                gathered.clear()
        yield bytes(gathered) + body.close()

    return await stream(request, web.StreamResponse(headers={"Content-Type": body.content_type}), parts())


async def _parts(
    request: web.Request, located: AsyncGenerator[Located, None], body: Multipart, options: RenderOptions
) -> AsyncGenerator[bytes, None]:
    """Yield a part for each instance that can be rendered. Raises NotAcceptable when none can."""
    renderer, sent, reason = request.app[RENDERER], False, ""
    async with aclosing(located) as instances:
        async for one in instances:
            try:
                made = await renderer.render(one, None, options)
            except DataSetError as error:
                reason = reason or f"{name_of(one.sop_class_uid)}: {error}"
                continue
            sent = True
            yield body.head(options.media_type, length=len(made)) + made + body.END
    if not sent:
        raise NotAcceptable(f"no instance of it can be rendered as {options.media_type}: {reason}")
    yield body.close()


async def _or_406(located: Located, making: Awaitable[T]) -> T:
    """Await a rendering. An object that cannot be rendered is no failure of the server: 406 (PS3.18 §8.4)."""
    try:
        return await making
    except DataSetError as error:
        what = "" if isinstance(error, NotRenderable) else "its pixels cannot be read: "
        raise NotAcceptable(
            f"this {name_of(located.sop_class_uid)} cannot be rendered as an image: {what}{error}; "
            f"it is available as application/dicom, and its metadata as {DICOM_JSON}"
        ) from error


_PICTURES: Final = ("image/*", MULTIPART)
_ERRORS: Final = (404, 406, 409, 503)
ROUTES = (
    Route(
        "GET",
        INSTANCE + "/rendered",
        instance,
        "view",
        RENDERING,
        answers=("image/*", "video/*", "application/pdf", "text/html", MULTIPART),
        errors=_ERRORS,
        name="rendered",
    ),
    *(
        Route("GET", path + "/rendered", handler, "view", RENDERING, answers=_PICTURES, errors=_ERRORS)
        for path, handler in ((STUDY, instances), (SERIES, instances), (FRAMES, frames))
    ),
    *(
        Route(
            "GET",
            path + "/thumbnail",
            thumbnail,
            "view",
            (ACCEPT, SIZE),
            answers=("image/*",),
            errors=_ERRORS,
            name="series-thumbnail" if path == SERIES else None,
        )
        for path in (STUDY, SERIES, INSTANCE, FRAMES)
    ),
)
