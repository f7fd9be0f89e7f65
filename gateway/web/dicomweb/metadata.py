"""WADO-RS metadata (PS3.18 §10.4.1.1.2): instances without their bulk data, as DICOM JSON or Native DICOM Model XML.

The JSON comes in blocks from `archive/metadata.py`. Here live the media types, the entity tag, and compression.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import msgspec
from aiohttp import hdrs, web

from gateway import __version__
from gateway.archive.metadata import Gzip, MetadataCache, text_of
from gateway.archive.retrieve import Retrieval
from gateway.dicom import json, xml
from gateway.index.locate import Located
from gateway.index.metadata import Block, validator
from gateway.storage.store import StoredObject
from gateway.web.accept import DICOM_JSON, DICOM_XML, JSON, choose
from gateway.web.conditional import entity_tag, unchanged, validators
from gateway.web.context import CONTEXT
from gateway.web.dicomweb.multipart import Multipart
from gateway.web.dicomweb.resources import RETRIEVAL, Target, each, first_page
from gateway.web.streaming import stream
from gateway.web.urls import url_template

METADATA: web.AppKey[MetadataCache] = web.AppKey("metadata", MetadataCache)
_XML_AT_ONCE = 16
"""Instances whose documents are made in one visit to a thread."""


async def metadata(request: web.Request) -> web.StreamResponse:
    """The metadata of the study, series or instance of the path."""
    target = Target.of(request)
    media_type = choose(request, (DICOM_JSON, JSON, DICOM_XML))
    retrieval = request.app[RETRIEVAL]
    template = url_template(request, "bulkdata")
    zipped = media_type != DICOM_XML and takes_gzip(request)
    state = await validator(request.app[CONTEXT].database, *target)
    if not state[0]:
        raise target.missing()
    tag = entity_tag(__version__, "metadata", target, media_type, zipped, template, state)
    if (answer := unchanged(request, tag)) is not None:
        return answer
    located = each(retrieval, await first_page(retrieval, target), target)
    headers = {**validators(tag), hdrs.VARY: "Accept, Accept-Encoding"}
    if media_type == DICOM_XML:
        body = Multipart(DICOM_XML)
        response = web.StreamResponse(headers={**headers, hdrs.CONTENT_TYPE: body.content_type})
        return await stream(request, response, _documents(retrieval, located, template, body))
    blocks = request.app[METADATA].blocks(located, template, lambda one, path: bulk_data_url(template, one, path))
    response = web.StreamResponse(headers={**headers, hdrs.CONTENT_TYPE: media_type})
    if zipped:
        response.headers[hdrs.CONTENT_ENCODING] = "gzip"
        return await stream(request, response, _gzipped(retrieval, blocks))
    return await stream(request, response, _plain(retrieval, blocks))


def bulk_data_url(template: str, located: Located, path: str) -> str:
    """The BulkDataURI of the element at `path` of an instance; `template` is the URL of route `bulkdata`."""
    return template.format(study=located.study_uid, series=located.series_uid, instance=located.sop_uid, path=path)


def takes_gzip(request: web.Request) -> bool:
    """Whether Accept-Encoding names gzip, and not to refuse it (RFC 9110 §12.5.3)."""
    for coding in ",".join(request.headers.getall(hdrs.ACCEPT_ENCODING, [])).split(","):
        name, _, quality = coding.partition(";")
        if name.strip().lower() in ("gzip", "x-gzip"):
            return quality.replace(" ", "").rstrip(".0") != "q="
    return False


async def _plain(retrieval: Retrieval, blocks: AsyncGenerator[Block, None]) -> AsyncGenerator[bytes, None]:
    opening = b"["
    async with aclosing(blocks) as source:
        async for block in source:
            async with aclosing(retrieval.stepwise(text_of(block, retrieval.memory), block.length)) as pieces:
                async for piece in pieces:
                    yield opening + piece
                    opening = b""
            opening = b","
    yield b"]"


async def _gzipped(retrieval: Retrieval, blocks: AsyncGenerator[Block, None]) -> AsyncGenerator[bytes, None]:
    gzip = Gzip()
    opening = gzip.begin()
    async with aclosing(blocks) as source:
        async for block in source:
            yield opening + await retrieval.run(gzip.add, block)
            opening = b""
    yield gzip.end()


async def _documents(
    retrieval: Retrieval, located: AsyncGenerator[Located, None], template: str, body: Multipart
) -> AsyncGenerator[bytes, None]:
    """One part for each instance (PS3.18 §8.6.1.2)."""

    def encode(stored: StoredObject, one: Located) -> bytes:
        model = json.encode_data_set(
            stored.read,
            one.data_set_offset,
            one.size,
            one.transfer_syntax_uid,
            bulk_data_uri=lambda path: bulk_data_url(template, one, path),
        )
        document = xml.to_xml(msgspec.json.decode(model))
        return body.head(DICOM_XML, length=len(document)) + document + body.END

    some: list[Located] = []
    async with aclosing(located) as source:
        async for one in source:
            some.append(one)
            if len(some) == _XML_AT_ONCE or retrieval.memory.scarce:
                async with aclosing(_held(retrieval, some, encode)) as pieces:
                    async for piece in pieces:
                        yield piece
                some = []
    if some:
        async with aclosing(_held(retrieval, some, encode)) as pieces:
            async for piece in pieces:
                yield piece
    yield body.close()


async def _held(
    retrieval: Retrieval, some: list[Located], encode: Callable[[StoredObject, Located], bytes]
) -> AsyncGenerator[bytes, None]:
    """What is made of them, counted as held until it is taken."""
    documents = b"".join(await retrieval.map(some, encode))
    retrieval.memory.change(len(documents))
    try:
        yield documents
    finally:
        retrieval.memory.change(-len(documents))
