"""WADO-RS, the retrieve transaction (PS3.18 §10.4): instances as DICOM files, and metadata.

Here live which media type and transfer syntax an answer has, and the multipart format. Finding, opening and reading
are in `archive/retrieve.py`; pixel data, frames and rendering will stand beside this file.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from aiohttp import web

from gateway.archive.retrieve import EXPLICIT_VR_LITTLE_ENDIAN, Choose, Retrieval, obtainable
from gateway.dicom import json
from gateway.errors import NotFound
from gateway.index.locate import Located
from gateway.storage.store import StoredObject
from gateway.web.accept import DICOM_JSON, JSON, MediaRange, choose, listed, wanted
from gateway.web.dicomweb.resources import RETRIEVAL
from gateway.web.errors import NotAcceptable, error_answer
from gateway.web.streaming import stream
from gateway.web.urls import url_template

log = logging.getLogger(__name__)

DICOM = "application/dicom"
MULTIPART = "multipart/related"

_METADATA_AT_ONCE = 16
"""Instances whose metadata is made in one visit to a thread."""


@dataclass(frozen=True, slots=True)
class Representation:
    """One way to answer that the client takes: `transfer_syntax` is a UID, or `*` for whatever is stored."""

    multipart: bool
    transfer_syntax: str

    def obtain(self, stored: str) -> str | None:
        """The transfer syntax an instance stored in `stored` would be sent in; None where it cannot be."""
        if self.transfer_syntax == "*":
            return stored
        return self.transfer_syntax if obtainable(stored, self.transfer_syntax) else None


def representations(ranges: list[MediaRange], *, single: bool) -> list[Representation]:
    """What of an Accept header can be had for instances, in the client's order.

    Without a transfer-syntax parameter it is Explicit VR Little Endian (PS3.18 §8.7.3.5.1). `single`: the resource is
    one instance, which may come without multipart. Raises NotAcceptable when there is nothing.
    """
    found = []
    for media_range in ranges:
        syntax = media_range.parameters.get("transfer-syntax", EXPLICIT_VR_LITTLE_ENDIAN)
        if media_range.covers(MULTIPART):
            if media_range.parameters.get("type", DICOM).lower() in (DICOM, "application/*", "*/*"):
                found.append(Representation(True, syntax))
        elif single and media_range.covers(DICOM):
            found.append(Representation(False, syntax))
    if not found:
        kinds = [f'{MULTIPART}; type="{DICOM}"; transfer-syntax=*'] + [f"{DICOM}; transfer-syntax=*"] * single
        raise NotAcceptable(f"this resource can be had as {listed(kinds)}")
    return found


def chooser(wishes: list[Representation]) -> Choose:
    """The transfer syntax to send for a stored one. Raises NotAcceptable that says what there is."""

    def select(stored: str) -> str:
        for wish in wishes:
            uid = wish.obtain(stored)
            if uid is not None:
                return uid
        raise NotAcceptable(f"not available in {listed(w.transfer_syntax for w in wishes)}; stored as {stored}")

    return select


async def instances(request: web.Request) -> web.StreamResponse:
    """The study, series or instance of the path as DICOM files."""
    study, series, instance = _path(request)
    retrieval = request.app[RETRIEVAL]
    wishes = representations(wanted(request), single=instance is not None)
    rows = await _rows(retrieval, study, series, instance)
    wishes = [wish for wish in wishes if wish.multipart == wishes[0].multipart]
    select = chooser(wishes)
    if any(wish.transfer_syntax != "*" for wish in wishes[:1]):
        await _check(retrieval, rows, select, (study, series, instance))
    located = _each(retrieval, rows, (study, series, instance))
    if not wishes[0].multipart:
        content = await retrieval.open(rows[0], select)
        response = web.StreamResponse(
            headers={"Content-Type": f"{DICOM}; transfer-syntax={content.transfer_syntax_uid}"}
        )
        response.content_length = content.length
        return await stream(request, response, content.chunks())
    boundary = uuid.uuid4().hex
    response = web.StreamResponse(headers={"Content-Type": f'{MULTIPART}; type="{DICOM}"; boundary={boundary}'})
    return await stream(request, response, _multipart(retrieval, located, select, boundary))


async def metadata(request: web.Request) -> web.StreamResponse:
    """Metadata: all but bulk data, as one DICOM JSON array (PS3.18 §10.4.1.1.2), made as it is sent."""
    study, series, instance = _path(request)
    media_type = choose(request, (DICOM_JSON, JSON))
    retrieval = request.app[RETRIEVAL]
    rows = await _rows(retrieval, study, series, instance)
    url = url_template(request, "bulkdata")
    located = _each(retrieval, rows, (study, series, instance))
    response = web.StreamResponse(headers={"Content-Type": media_type})
    return await stream(request, response, _metadata(retrieval, located, url))


async def bulk_data(request: web.Request) -> web.StreamResponse:
    """What BulkDataURI in metadata points at."""
    return error_answer(
        request,
        501,
        "bulk data cannot be had on its own yet; retrieve the instance",
        orthanc=(2, "Not implemented yet"),
    )


Path = tuple[str, str | None, str | None]


def _path(request: web.Request) -> Path:
    parts = request.match_info
    return parts["study"], parts.get("series"), parts.get("instance")


async def _rows(retrieval: Retrieval, study: str, series: str | None, instance: str | None) -> list[Located]:
    """The first page. Raises NotFound that names what does not exist."""
    async with aclosing(retrieval.pages(study, series, instance)) as pages:
        async for page in pages:
            return page
    kind = "instance" if instance is not None else "series" if series is not None else "study"
    raise NotFound(f"there is no {kind} {instance or series or study}")


async def _each(retrieval: Retrieval, first: list[Located], path: Path) -> AsyncGenerator[Located, None]:
    for located in first:
        yield located
    async with aclosing(retrieval.pages(*path, after=first[-1])) as pages:
        async for page in pages:
            for located in page:
                yield located


async def _check(retrieval: Retrieval, first: list[Located], select: Choose, path: Path) -> None:
    """See that every instance can be had before the first byte: half a study is never sent as a whole one."""
    seen: set[str] = set()
    async with aclosing(_each(retrieval, first, path)) as located:
        async for each in located:
            if each.transfer_syntax_uid not in seen:
                select(each.transfer_syntax_uid)
                seen.add(each.transfer_syntax_uid)


async def _multipart(
    retrieval: Retrieval, located: AsyncGenerator[Located, None], select: Choose, boundary: str
) -> AsyncGenerator[bytes, None]:
    """RFC 2387. Small instances go out in one piece with their part header."""
    async with aclosing(retrieval.opened(located, select)) as contents:
        async for content in contents:
            length = f"Content-Length: {content.length}\r\n" if content.length is not None else ""
            head = (
                f"--{boundary}\r\nContent-Type: {DICOM}; transfer-syntax={content.transfer_syntax_uid}\r\n{length}\r\n"
            )
            yield head.encode()
            async with aclosing(content.chunks()) as chunks:
                async for chunk in chunks:
                    yield chunk
            yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()


async def _metadata(
    retrieval: Retrieval, located: AsyncGenerator[Located, None], url: str
) -> AsyncGenerator[bytes, None]:
    opening, some = b"[", list[Located]()
    async for each in located:
        some.append(each)
        if len(some) == _METADATA_AT_ONCE:
            yield opening + b",".join(await retrieval.map(some, _encoder(url)))
            opening, some = b",", []
    if some:
        yield opening + b",".join(await retrieval.map(some, _encoder(url)))
    yield b"]"


def _encoder(url: str) -> Callable[[StoredObject, Located], bytes]:
    def encode(stored: StoredObject, located: Located) -> bytes:
        names = {"study": located.study_uid, "series": located.series_uid, "instance": located.sop_uid}
        return json.encode_data_set(
            stored.read,
            located.data_set_offset,
            located.size,
            located.transfer_syntax_uid,
            bulk_data_uri=lambda path: url.format(**names, path=path),
        )

    return encode
