"""Rendered resources and thumbnails (PS3.18 §10.4.1.1.3, §10.4.1.1.4): pictures, video, documents and reports.

Here live which of them a resource can be had as, and how several are sent. Making pictures is `archive/pictures.py`'s,
the parameters are `wishes.py`'s, video, documents and reports stand in `documents.py`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Iterable
from contextlib import aclosing
from typing import Final, TypeVar

from aiohttp import web

from gateway import __version__
from gateway.dicom.uids import name_of
from gateway.errors import BadRequest, DataSetError, NotFound
from gateway.imaging.picture import GIF, JPEG, PNG
from gateway.imaging.pixels import VIDEO
from gateway.imaging.rendering import NothingToShow, Wishes
from gateway.index.locate import Located
from gateway.web.accept import DICOM_JSON, listed, wanted
from gateway.web.conditional import entity_tag, unchanged, validators
from gateway.web.dicomweb import documents
from gateway.web.dicomweb.multipart import MULTIPART, Multipart
from gateway.web.dicomweb.resources import PICTURES, RETRIEVAL, Target, each, first_page, frame_numbers, one_instance
from gateway.web.dicomweb.wishes import read_thumbnail_wishes, read_wishes
from gateway.web.errors import NotAcceptable
from gateway.web.streaming import stream

T = TypeVar("T")

IMAGES: Final = (JPEG, PNG, GIF)
MAX_FRAMES: Final = 1000
"""Frames in one request."""


async def instance(request: web.Request) -> web.StreamResponse:
    """One instance as what it is: a picture, a cine, a stream of video, a document or a report.

    Of several frames JPEG and PNG show the one that stands for them, GIF all, and multipart has one part for each.
    """
    return await show(request, await one_instance(request.app[RETRIEVAL], Target.of(request)))


async def show(request: web.Request, located: Located) -> web.StreamResponse:
    """The same for an instance that has been found."""
    if located.transfer_syntax_uid in VIDEO:
        return await documents.video(request, located)
    if located.sop_class_uid in documents.DOCUMENTS:
        return await documents.document(request, located)
    if located.sop_class_uid.startswith(documents.REPORTS):
        return await documents.report(request, located)
    media_type, multipart = choose(request)
    wishes = read_wishes(request.query, media_type)
    pictures = request.app[PICTURES]
    if multipart:
        count = await _or_406(located, pictures.frames(located))
        if count > MAX_FRAMES:
            raise NotAcceptable(f"{count} frames are too many for one answer; ask for {MAX_FRAMES} at most by number")
        return await _several(request, ((located, number) for number in range(count)), wishes)
    if media_type == GIF and await _or_406(located, pictures.frames(located)) > 1:
        tag = _tag(located, "cine", wishes)
        if (answer := unchanged(request, tag)) is not None:
            return answer
        return _single(await _or_406(located, pictures.cine(located, wishes)), GIF, tag)
    return await picture(request, located, None, wishes)


async def frames(request: web.Request) -> web.StreamResponse:
    """Frames by their numbers, from 1: one as it is, several in multipart."""
    numbers = frame_numbers(request.match_info["frames"], MAX_FRAMES)
    located = await one_instance(request.app[RETRIEVAL], Target.of(request))
    if located.transfer_syntax_uid in VIDEO:
        raise NotAcceptable(f"single frames of {name_of(located.transfer_syntax_uid)} are not decoded here")
    media_type, multipart = choose(request)
    wishes = read_wishes(request.query, media_type)
    if len(numbers) == 1 and not multipart:
        return await picture(request, located, numbers[0] - 1, wishes)
    count = await _or_406(located, request.app[PICTURES].frames(located))
    if max(numbers) > count:
        raise NotFound(f"instance {located.sop_uid} has {count} frames; there is no frame {max(numbers)}")
    return await _several(request, ((located, number - 1) for number in numbers), wishes)


async def instances(request: web.Request) -> web.StreamResponse:
    """A study or series: a part for each instance that has pictures; where there is one instance, that."""
    target, retrieval = Target.of(request), request.app[RETRIEVAL]
    rows = await first_page(retrieval, target)
    if len(rows) == 1:
        return await show(request, rows[0])
    media_type, _ = choose(request)
    wishes = read_wishes(request.query, media_type)
    body = Multipart(media_type)
    response = web.StreamResponse(headers={"Content-Type": body.content_type})
    return await stream(request, response, _parts(request, each(retrieval, rows, target), body, wishes))


async def thumbnail(request: web.Request) -> web.StreamResponse:
    """A small picture of whatever the path names; of what has none, a card that says what it is."""
    target, retrieval = Target.of(request), request.app[RETRIEVAL]
    numbers = frame_numbers(request.match_info["frames"], MAX_FRAMES) if "frames" in request.match_info else []
    if len(numbers) > 1:
        raise BadRequest("a thumbnail is of one frame")
    media_type, _ = choose(request)
    wishes = read_thumbnail_wishes(request.query, media_type)
    pictures = request.app[PICTURES]
    located = await (
        one_instance(retrieval, target)
        if target.instance is not None
        else pictures.representative(target.study, target.series)
    )
    if located is None:
        raise target.missing()
    frame = numbers[0] - 1 if numbers else None
    tag = _tag(located, "thumbnail", frame, wishes)
    if (answer := unchanged(request, tag)) is not None:
        return answer
    kind = name_of(located.sop_class_uid).removesuffix(" Storage")
    words = ("Video" if located.transfer_syntax_uid in VIDEO else "No picture", kind)
    return _single(await pictures.thumbnail(located, frame, wishes, words), media_type, tag)


async def picture(request: web.Request, located: Located, frame: int | None, wishes: Wishes) -> web.Response:
    """The answer with one picture, of a frame from 0 or of the one that stands for all; 304 where the client has it."""
    tag = _tag(located, "frame", frame, wishes)
    if (answer := unchanged(request, tag)) is not None:
        return answer
    made = await _or_406(located, request.app[PICTURES].picture(located, frame, wishes))
    return _single(made, wishes.media_type, tag)


def choose(request: web.Request) -> tuple[str, bool]:
    """The media type of a picture, and whether the client wants it in multipart. Raises NotAcceptable."""
    for media_range in wanted(request):
        for offer in IMAGES:
            if media_range.covers(offer):
                return offer, False
        if media_range.media_type == MULTIPART:
            kind = media_range.parameters.get("type", JPEG).lower()
            if kind in (*IMAGES, "image/*", "*/*"):
                return (kind if kind in IMAGES else JPEG), True
    raise NotAcceptable(f"pictures can be had as {listed(IMAGES)}, alone or as the parts of {MULTIPART}")


def _tag(located: Located, *what: object) -> str:
    """Another version of ours may show it in another way."""
    return entity_tag(__version__, located.key, *what)


def _single(made: bytes, media_type: str, tag: str) -> web.Response:
    return web.Response(body=made, content_type=media_type, headers=validators(tag))


async def _several(request: web.Request, wanted: Iterable[tuple[Located, int]], wishes: Wishes) -> web.StreamResponse:
    """A part for each frame."""
    pictures, body = request.app[PICTURES], Multipart(wishes.media_type)

    async def parts() -> AsyncGenerator[bytes, None]:
        for located, number in wanted:
            made = await _or_406(located, pictures.picture(located, number, wishes))
            yield body.head(wishes.media_type, length=len(made)) + made + body.END
        yield body.close()

    return await stream(request, web.StreamResponse(headers={"Content-Type": body.content_type}), parts())


async def _parts(
    request: web.Request, located: AsyncGenerator[Located, None], body: Multipart, wishes: Wishes
) -> AsyncGenerator[bytes, None]:
    """A part for each instance that has pictures. NotAcceptable where none has."""
    pictures, sent, reason = request.app[PICTURES], False, ""
    async with aclosing(located) as instances:
        async for one in instances:
            try:
                made = await pictures.picture(one, None, wishes)
            except DataSetError as error:
                reason = reason or f"{name_of(one.sop_class_uid)}: {error}"
                continue
            sent = True
            yield body.head(wishes.media_type, length=len(made)) + made + body.END
    if not sent:
        raise NotAcceptable(f"no instance of it can be shown as {wishes.media_type}: {reason}")
    yield body.close()


async def _or_406(located: Located, making: Awaitable[T]) -> T:
    """What cannot be shown is not a failure of ours: there is no such representation (PS3.18 §8.4)."""
    try:
        return await making
    except DataSetError as error:
        what = "" if isinstance(error, NothingToShow) else "its pixels cannot be read: "
        raise NotAcceptable(
            f"this {name_of(located.sop_class_uid)} cannot be shown as a picture: {what}{error}; "
            f"it can be had as application/dicom, and its metadata as {DICOM_JSON}"
        ) from error
