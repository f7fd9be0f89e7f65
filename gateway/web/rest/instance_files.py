"""Files of stored instances as Orthanc has them: `file`, and frames as they are stored."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Awaitable, Callable, Generator
from contextlib import closing
from typing import Final

from aiohttp import web

from gateway.dicom.uids import TRANSFER_SYNTAXES
from gateway.errors import BadRequest, DataSetError
from gateway.index.locate import Located, identified
from gateway.retrieve.retrieval import obtainable
from gateway.storage.store import StoredObject
from gateway.web.conditional import sent_span, unchanged, validators
from gateway.web.context import CONTEXT
from gateway.web.dicomweb.frames import FRAME_INDEX
from gateway.web.dicomweb.resources import RETRIEVAL
from gateway.web.inputs import whole_number
from gateway.web.rest.answers import json_answer, unknown
from gateway.web.rest.archives import LOSSY_QUALITY, asked_quality
from gateway.web.route import TEXT, UID, Parameter, Route
from gateway.web.security import ATTACHMENT, attachment_named
from gateway.web.streaming import stream

DICOM: Final = "application/dicom"
_OCTETS: Final = "application/octet-stream"
_FRAME_TYPES: Final = {
    "1.2.840.10008.1.2.4.50": "image/jpeg",
    "1.2.840.10008.1.2.4.90": "image/jp2",
    "1.2.840.10008.1.2.4.91": "image/jp2",
}
"""Media types by which Orthanc hands out frames that browsers may know; all others are octets."""
_FRAME_PARTS: Final = [
    *("image-int16", "image-uint16", "image-uint8", "matlab", "numpy", "preview", "raw", "raw.gz", "rendered"),
]
_PIECE: Final = 1 << 20
_GZIP: Final = 31
"""What zlib calls its largest window with the head and tail of a gzip file."""
MAX_LISTED: Final = 1 << 20
"""Frames in one list."""

Handler = Callable[[web.Request, Located], Awaitable[web.StreamResponse]]


async def located(request: web.Request) -> Located | None:
    """The instance of the path."""
    async for page in identified(request.app[CONTEXT].database, "instance", request.match_info["id"], 1):
        return page[0][1]
    return None


async def file(request: web.Request) -> web.StreamResponse:
    """The file of an instance as it is stored, or a part of it; `filename` is what it is called when it is saved.

    With `transcode`, the whole file in another transfer syntax that can be had without loss; with `lossy-quality` as
    well, one that is compressed with loss, which is another instance.
    """
    found = await located(request)
    if found is None:
        return unknown(request)
    if "transcode" in request.query:
        return await _transcoded(request, found, request.query.get("filename", ""))
    return await send_file(request, found)


async def send_file(request: web.Request, found: Located) -> web.StreamResponse:
    """Send the file of an instance as it is stored, or a part of it."""
    tag = revision_tag(found)
    if (answer := unchanged(request, tag)) is not None:
        return answer
    headers = {
        "Content-Type": DICOM,
        "Content-Disposition": attachment_named(request.query.get("filename", ""), f"{found.key}.dcm"),
    }
    response = web.StreamResponse(headers={**headers, **validators(tag)})
    start, stop = sent_span(request, response, found.size, tag)
    return await stream(request, response, request.app[RETRIEVAL].span(found, start, stop))


async def _transcoded(request: web.Request, found: Located, name: str) -> web.StreamResponse:
    uid = request.query.get("transcode", "")
    quality = asked_quality(request)
    if uid not in TRANSFER_SYNTAXES:
        raise BadRequest(
            f"transcode: {uid[:64]!r} is no transfer syntax that is known here, such as 1.2.840.10008.1.2.1"
        )
    if not obtainable(found.transfer_syntax_uid, uid, quality):
        raise BadRequest(
            f"transcode: {uid[:64]!r} cannot be had from {found.transfer_syntax_uid}, as it is stored, "
            + ("without loss; lossy-quality would allow some" if quality is None else "even with loss")
        )
    try:
        content = await request.app[RETRIEVAL].open(found, lambda _stored: uid, quality=quality)
    except DataSetError as error:
        raise BadRequest(f"transcode: the instance cannot be had in {uid}: {error}") from error
    disposition = attachment_named(name, f"{found.key}.dcm")
    response = web.StreamResponse(headers={"Content-Type": DICOM, "Content-Disposition": disposition})
    response.content_length = content.length
    with closing(content):
        return await stream(request, response, content.chunks())


async def frames(request: web.Request) -> web.StreamResponse:
    """The numbers of an instance's frames, from 0."""
    found = await located(request)
    if found is None:
        return unknown(request)
    places = request.app[FRAME_INDEX]

    def work(stored: StoredObject, one: Located) -> int:
        pixels = places.find(stored, one)
        return 0 if pixels is None else len(pixels)

    (count,) = await request.app[RETRIEVAL].map([found], work)
    check_count(count)
    return json_answer(list(range(count)))


def check_count(frames: int) -> None:
    """Raise BadRequest where there are too many to list: of single pixels of one bit a gigabyte holds 8 billion."""
    if frames > MAX_LISTED:
        raise BadRequest(f"the instance has {frames} frames; at most {MAX_LISTED} are listed")


async def frame(request: web.Request) -> web.StreamResponse:
    """The forms of a frame."""
    return unknown(request) if await located(request) is None else json_answer(_FRAME_PARTS)


async def raw_frame(request: web.Request, *, gzip: bool = False) -> web.StreamResponse:
    """A frame as it is stored: compressed, or its samples in little endian."""
    found, number = await located(request), whole_number(request.match_info["frame"])
    if found is None or number is None:
        return unknown(request)
    places = request.app[FRAME_INDEX]

    def work(stored: StoredObject, one: Located) -> Generator[bytes, None, None]:
        pixels = places.find(stored, one)
        if pixels is None or number >= len(pixels):
            raise BadRequest(f"instance {one.sop_uid} has no frame {number}")
        data = pixels.stored(stored.read, number)
        packer = zlib.compressobj(wbits=_GZIP) if gzip else None
        for at in range(0, len(data), _PIECE):
            piece = data[at : at + _PIECE]
            yield piece if packer is None else packer.compress(piece)
        if packer is not None:
            yield packer.flush()

    kind = "application/gzip" if gzip else _FRAME_TYPES.get(found.transfer_syntax_uid, _OCTETS)
    response = web.StreamResponse(headers={"Content-Type": kind, **ATTACHMENT})
    return await stream(request, response, request.app[RETRIEVAL].pieces(found, work, len))


def revision_tag(found: Located) -> str:
    """The entity tag of a file: the revision, as Orthanc counts it, and which file it is."""
    return f'"{found.version - 1}-{found.key}"'


FILENAME: Final = Parameter("filename", "What the file is called when it is saved", TEXT, "ct.dcm")
_TRANSCODE: Final = (
    Parameter("transcode", "Transfer syntax of the file", UID, "1.2.840.10008.1.2.1"),
    LOSSY_QUALITY,
)

ROUTES = (
    Route(
        "GET",
        "/instances/{id}/file",
        file,
        "download",
        (FILENAME, *_TRANSCODE),
        answers=(DICOM,),
        errors=(404, 416),
        name="instance-file",
    ),
    Route("GET", "/instances/{id}/frames", frames, "view", errors=(404,)),
    Route("GET", "/instances/{id}/frames/{frame}", frame, "view", errors=(404,)),
    Route("GET", "/instances/{id}/frames/{frame}/raw", raw_frame, "view", answers=(_OCTETS, "image/*"), errors=(404,)),
    Route(
        "GET",
        "/instances/{id}/frames/{frame}/raw.gz",
        functools.partial(raw_frame, gzip=True),
        "view",
        answers=("application/gzip",),
        errors=(404,),
        subject="Compressed with gzip:",
    ),
)
