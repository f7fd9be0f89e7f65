"""Files of stored instances as Orthanc has them: `file`, `attachments`, frames as they are stored.

An instance has one attachment, `dicom`: its file, never compressed, so that what is told of the compressed file is
the same as of the file.
"""

from __future__ import annotations

import functools
import hashlib
import zlib
from collections.abc import Awaitable, Callable, Generator
from contextlib import closing
from typing import Any, Final

from aiohttp import web

from gateway.dicom.levels import Level
from gateway.errors import BadRequest, DataSetError
from gateway.index.annotations import check_exists
from gateway.index.locate import Located, identified
from gateway.retrieve.content import read_span
from gateway.retrieve.retrieval import obtainable
from gateway.storage.store import StoredObject
from gateway.web.accept import JSON
from gateway.web.conditional import unchanged, validators, wanted_range
from gateway.web.context import CONTEXT
from gateway.web.dicomweb.frames import FRAME_INDEX
from gateway.web.dicomweb.resources import RETRIEVAL
from gateway.web.inputs import whole_number
from gateway.web.rest.answers import COLLECTIONS, json_answer, unknown
from gateway.web.route import TEXT, UID, Parameter, Route, at_least
from gateway.web.security import ATTACHMENT, attachment_named
from gateway.web.streaming import stream

_DICOM: Final = "application/dicom"
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
_DICOM_NAMES: Final = frozenset({"dicom", "1"})
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

    With `transcode`, the whole file in another transfer syntax that can be had without loss.
    """
    name = request.query.get("filename", "")
    found = await located(request)
    if found is None or request.match_info.get("name", "dicom") not in _DICOM_NAMES:
        return unknown(request)
    if "name" not in request.match_info and ("transcode" in request.query or "lossy-quality" in request.query):
        return await _transcoded(request, found, name)
    tag = _entity_tag(found)
    if (answer := unchanged(request, tag)) is not None:
        return answer
    headers = {
        "Content-Type": _DICOM,
        "Content-Disposition": attachment_named(name, f"{found.key}.dcm"),
        "Accept-Ranges": "bytes",
    }
    response = web.StreamResponse(headers={**headers, **validators(tag)})
    start, stop = 0, found.size
    if (part := wanted_range(request, found.size, tag)) is not None:
        part.describe(response, found.size)
        start, stop = part
    else:
        response.content_length = found.size
    return await stream(request, response, request.app[RETRIEVAL].span(found, start, stop))


async def _transcoded(request: web.Request, found: Located, name: str) -> web.StreamResponse:
    uid = request.query.get("transcode", "")
    if "lossy-quality" in request.query:
        raise BadRequest("lossy-quality: files are handed out without loss only; leave it out")
    if not obtainable(found.transfer_syntax_uid, uid):
        raise BadRequest(
            f"transcode: {uid[:64]!r} cannot be had without loss from {found.transfer_syntax_uid}, as it is stored"
        )
    try:
        content = await request.app[RETRIEVAL].open(found, lambda _stored: uid)
    except DataSetError as error:
        raise BadRequest(f"transcode: the instance cannot be had in {uid}: {error}") from error
    disposition = f'attachment; filename="{name or found.key + ".dcm"}"'
    response = web.StreamResponse(headers={"Content-Type": _DICOM, "Content-Disposition": disposition})
    response.content_length = content.length
    with closing(content):
        return await stream(request, response, content.chunks())


async def attachments(request: web.Request, level: Level) -> web.StreamResponse:
    """The attachments of a resource: the file of an instance; none of others."""
    await check_exists(request.app[CONTEXT].database, level, request.match_info["id"])
    return json_answer(["dicom"] if level == "instance" else [])


async def attachment(request: web.Request) -> web.StreamResponse:
    """The calls about the file of an instance."""
    return await _of_file(request, _answers)


async def _answers(_request: web.Request, found: Located) -> web.StreamResponse:
    answer = json_answer(sorted((*_ABOUT, *_DATA)))
    answer.headers["ETag"] = _entity_tag(found)
    return answer


async def about(request: web.Request, make: Handler) -> web.StreamResponse:
    """One thing about the file of an instance: its size in bytes, its MD5, whether it is compressed, or all three."""
    return await _of_file(request, make)


async def _of_file(request: web.Request, make: Handler) -> web.StreamResponse:
    found = await located(request)
    if found is None or request.match_info["name"] not in _DICOM_NAMES:
        return unknown(request)
    return await make(request, found)


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


async def _md5(request: web.Request, found: Located) -> str:
    memory = request.app[RETRIEVAL].memory

    def work(stored: StoredObject, one: Located) -> str:
        digest = hashlib.md5(usedforsecurity=False)
        for piece in read_span(stored, one, 0, one.size, memory):
            digest.update(piece)
        return digest.hexdigest()

    (digest,) = await request.app[RETRIEVAL].map([found], work)
    return digest


def _text(found: Located, value: str) -> web.Response:
    return web.Response(text=value, headers={"ETag": _entity_tag(found)})


async def _size(_request: web.Request, found: Located) -> web.StreamResponse:
    return _text(found, str(found.size))


async def _digest(request: web.Request, found: Located) -> web.StreamResponse:
    return _text(found, await _md5(request, found))


async def _is_compressed(_request: web.Request, found: Located) -> web.StreamResponse:
    return _text(found, "0")


async def _info(request: web.Request, found: Located) -> web.StreamResponse:
    digest = await _md5(request, found)
    described: dict[str, Any] = {
        "CompressedMD5": digest,
        "CompressedSize": found.size,
        "ContentType": 1,
        "UncompressedMD5": digest,
        "UncompressedSize": found.size,
        "Uuid": found.key,
    }
    answer = json_answer(described)
    answer.headers["ETag"] = _entity_tag(found)
    return answer


_ABOUT: Final[dict[str, Handler]] = {
    "compressed-md5": _digest,
    "compressed-size": _size,
    "info": _info,
    "is-compressed": _is_compressed,
    "md5": _digest,
    "size": _size,
}
_DATA: Final = ("compressed-data", "data")


def _entity_tag(found: Located) -> str:
    """The revision, as Orthanc counts it, and which file it is."""
    return f'"{found.version - 1}-{found.key}"'


_FILENAME: Final = Parameter("filename", "What the file is called when it is saved", TEXT, "ct.dcm")
_TRANSCODE: Final = (
    Parameter("transcode", "Transfer syntax of the file", UID, "1.2.840.10008.1.2.1"),
    Parameter("lossy-quality", "Not here: files are handed out without loss", at_least(1, 100), "90"),
)

ROUTES = (
    Route("GET", "/instances/{id}/file", file, (_FILENAME, *_TRANSCODE), answers=(_DICOM,), errors=(404, 416)),
    Route("GET", "/instances/{id}/frames", frames, errors=(404,)),
    Route("GET", "/instances/{id}/frames/{frame}", frame, errors=(404,)),
    Route("GET", "/instances/{id}/frames/{frame}/raw", raw_frame, answers=(_OCTETS, "image/*"), errors=(404,)),
    Route(
        "GET",
        "/instances/{id}/frames/{frame}/raw.gz",
        functools.partial(raw_frame, gzip=True),
        answers=("application/gzip",),
        errors=(404,),
        subject="Compressed with gzip:",
    ),
    *(
        Route("GET", f"/{kind}/{{id}}/attachments", functools.partial(attachments, level=level), errors=(404,))
        for level, kind in COLLECTIONS.items()
    ),
    Route("GET", "/instances/{id}/attachments/{name}", attachment, errors=(404,)),
    *(
        Route(
            "GET",
            f"/instances/{{id}}/attachments/{{name}}/{each}",
            functools.partial(about, make=make),
            answers=(JSON,) if each == "info" else ("text/plain",),
            errors=(404,),
        )
        for each, make in _ABOUT.items()
    ),
    *(
        Route(
            "GET",
            f"/instances/{{id}}/attachments/{{name}}/{each}",
            file,
            (_FILENAME,),
            answers=(_DICOM,),
            errors=(404, 416),
        )
        for each in _DATA
    ),
)
