"""Rendered forms of objects that are no images: video as its stream, encapsulated documents, structured reports.

`render/report.py` formats reports.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import Final

from aiohttp import web

from gateway import __version__
from gateway.dicom.source import Window
from gateway.dicom.uids import name_of, transfer_syntax
from gateway.dicom.walk import Kind, walk
from gateway.errors import DataSetError, StorageError
from gateway.imaging.pixels import locate_pixels
from gateway.index.locate import Located
from gateway.render.report import CONTENT_SECURITY_POLICY, as_html, as_text, read_report
from gateway.storage.store import StoredObject
from gateway.web.accept import DICOM_JSON, choose
from gateway.web.conditional import entity_tag, sent_span, unchanged, validators
from gateway.web.dicomweb.resources import RENDERER, RETRIEVAL
from gateway.web.errors import NotAcceptable
from gateway.web.security import ATTACHMENT
from gateway.web.streaming import stream

PDF: Final = "1.2.840.10008.5.1.4.1.1.104.1"
CDA: Final = "1.2.840.10008.5.1.4.1.1.104.2"
DOCUMENTS: Final = {
    PDF: "application/pdf",
    CDA: "text/xml",
    "1.2.840.10008.5.1.4.1.1.104.3": "model/stl",
    "1.2.840.10008.5.1.4.1.1.104.4": "model/obj",
    "1.2.840.10008.5.1.4.1.1.104.5": "model/mtl",
}
"""SOP classes of encapsulated documents (PS3.3 A.45, A.85), with the media type of their content."""
REPORTS: Final = "1.2.840.10008.5.1.4.1.1.88."
"""Prefix of the SOP class UIDs of structured reports."""
_MPEG2: Final = ("1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.101")
_ENCAPSULATED_DOCUMENT: Final = 0x00420011
_ENCAPSULATED_DOCUMENT_LENGTH: Final = 0x00420015
_PDF: Final = "application/pdf"
_PDF_POLICY: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""Browsers show no PDF in a sandbox. Their PDF viewers have an origin of their own, apart from the gateway's."""

Pieces = Sequence[tuple[int, int]]
"""Offset and length, in the stored object, of the pieces to send, in order."""


async def video(request: web.Request, located: Located) -> web.StreamResponse:
    """Send a video stream as it is in the fragments, without decoding."""
    media_type = choose(request, ("video/mpeg" if located.transfer_syntax_uid.startswith(_MPEG2) else "video/mp4",))
    return await _send(request, located, media_type, _video_pieces)


async def document(request: web.Request, located: Located) -> web.StreamResponse:
    """Send an encapsulated document."""
    return await _send(request, located, choose(request, (DOCUMENTS[located.sop_class_uid],)), document_pieces)


async def report(request: web.Request, located: Located) -> web.StreamResponse:
    """Send a structured report as a page, or as text."""
    media_type = choose(request, ("text/html", "text/plain"))
    tag = entity_tag(__version__, located.key, media_type)
    if (answer := unchanged(request, tag)) is not None:
        return answer
    write = as_html if media_type == "text/html" else as_text

    def make(stored: StoredObject, found: Located) -> bytes:
        read = read_report(stored.read, found.data_set_offset, found.size, found.transfer_syntax_uid)
        return write(read).encode()

    try:
        made = await request.app[RENDERER].derived(located, media_type, make)
    except DataSetError as error:
        raise _cannot_be_shown(located, error) from error
    headers = {**validators(tag), "Content-Security-Policy": CONTENT_SECURITY_POLICY}
    return web.Response(body=made, content_type=media_type, charset="utf-8", headers=headers)


async def _send(
    request: web.Request, located: Located, media_type: str, find: Callable[[StoredObject, Located], Pieces]
) -> web.StreamResponse:
    """Send the joined pieces of an instance, or the requested range of them."""
    tag = entity_tag(located.key, media_type)
    if (answer := unchanged(request, tag)) is not None:
        return answer
    retrieval = request.app[RETRIEVAL]
    try:
        (pieces,) = await retrieval.map([located], find)
    except DataSetError as error:
        raise _cannot_be_shown(located, error) from error
    length = sum(size for _, size in pieces)
    response = web.StreamResponse(headers={"Content-Type": media_type, **validators(tag)})
    if media_type == _PDF:
        response.headers["Content-Security-Policy"] = _PDF_POLICY
    elif not media_type.startswith("video/"):
        response.headers.update(ATTACHMENT)
    start, stop = sent_span(request, response, length, tag)

    def read(position: int, stored: StoredObject, found: Located) -> bytes:
        if found.key != located.key:
            raise StorageError(f"instance {located.sop_uid} was replaced while it was being sent")
        return _read(stored, pieces, position, min(position + retrieval.memory.piece, stop))

    async def chunks() -> AsyncGenerator[bytes, None]:
        position = start
        while position < stop:
            (chunk,) = await retrieval.map([located], partial(read, position))
            position += len(chunk)
            retrieval.memory.change(len(chunk))
            try:
                yield chunk
            finally:
                retrieval.memory.change(-len(chunk))

    return await stream(request, response, chunks())


def _read(stored: StoredObject, pieces: Pieces, start: int, stop: int) -> bytes:
    """Bytes `start` to `stop` of the joined pieces."""
    found, before = [], 0
    for offset, length in pieces:
        first, last = max(start, before), min(stop, before + length)
        if first < last:
            data = stored.read(offset + first - before, last - first)
            if len(data) < last - first:
                raise StorageError("a stored instance is shorter than it was")
            found.append(data)
        before += length
    return b"".join(found)


def _video_pieces(stored: StoredObject, located: Located) -> Pieces:
    pixels = locate_pixels(stored.read, located.data_set_offset, located.size, located.transfer_syntax_uid)
    pieces = pixels.stream() if pixels is not None else []
    if not pieces:
        raise DataSetError("it has no video stream")
    return pieces


def document_pieces(stored: StoredObject, located: Located) -> Pieces:
    """Where the document of an instance is. Blocks. Raises DataSetError."""
    syntax = transfer_syntax(located.transfer_syntax_uid)
    if syntax.deflated:
        raise DataSetError("a document in a deflated data set cannot be extracted here")
    window = Window(stored.read, located.data_set_offset, located.size)
    place, length, depth = 0, -1, 0
    for event in walk(window, located.data_set_offset, syntax):
        if event.kind in (Kind.SEQUENCE, Kind.ITEM):
            depth += 1
        elif event.kind in (Kind.SEQUENCE_END, Kind.ITEM_END):
            depth -= 1
        elif depth == 0 and event.tag == _ENCAPSULATED_DOCUMENT:
            place, length = event.value_start, event.length
        elif depth == 0 and event.tag == _ENCAPSULATED_DOCUMENT_LENGTH and event.length == 4:
            meant = int.from_bytes(window.read(event.value_start, 4), "big" if event.syntax.big_endian else "little")
            length = min(length, meant)  # without the padding byte
            break
    if length < 0 or place + length > located.size:
        raise DataSetError("it has no document")
    return [(place, length)]


def document_bytes(stored: StoredObject, located: Located, most: int) -> bytes:
    """The document of an instance. Blocks. Raises DataSetError, also where it has more than `most` bytes."""
    pieces = document_pieces(stored, located)
    length = sum(size for _, size in pieces)
    if length > most:
        raise DataSetError(f"a document of more than {most >> 20} MiB is too long to be shown here")
    return _read(stored, pieces, 0, length)


def _cannot_be_shown(located: Located, error: DataSetError) -> NotAcceptable:
    return NotAcceptable(
        f"this {name_of(located.sop_class_uid)} cannot be shown: {error}; it is available as application/dicom, "
        f"and its metadata as {DICOM_JSON}"
    )
