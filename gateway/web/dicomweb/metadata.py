"""WADO-RS metadata (PS3.18 §10.4.1.1.2): instances without their bulk data, as DICOM JSON or Native DICOM Model XML.

`retrieve/metadata.py` yields the JSON in blocks. Media types, the entity tag and compression are here.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from aiohttp import hdrs, web

from gateway import __version__
from gateway.dicom import json, xml
from gateway.errors import DataSetError
from gateway.http.multipart_writer import Multipart
from gateway.index.locate import Located
from gateway.index.metadata import MetadataBlock, validator
from gateway.retrieve.metadata import Gzip, MetadataCache, text_of, what_is_known
from gateway.retrieve.retrieval import Retrieval
from gateway.storage.store import StoredObject
from gateway.web.accept import DICOM_JSON, DICOM_XML, JSON, choose
from gateway.web.conditional import entity_tag, unchanged, validators
from gateway.web.context import CONTEXT
from gateway.web.dicomweb.resources import RETRIEVAL, Target, each, first_page
from gateway.web.route import ACCEPT, INSTANCE, SERIES, STUDY, XML, Route
from gateway.web.streaming import stream
from gateway.web.urls import ObjectUrl, object_url

METADATA: web.AppKey[MetadataCache] = web.AppKey("metadata", MetadataCache)
_XML_AT_ONCE = 16
"""Instances whose XML documents are encoded in one visit to a thread."""


async def metadata(request: web.Request) -> web.StreamResponse:
    """The metadata of the study, series or instance of the path."""
    target = Target.of(request)
    media_type = choose(request, (DICOM_JSON, JSON, DICOM_XML))
    retrieval = request.app[RETRIEVAL]
    urls = object_url(request, "bulkdata")
    zipped = media_type != DICOM_XML and accepts_gzip(request)
    state = await validator(request.app[CONTEXT].database, *target)
    if not state[0]:
        raise target.missing()
    tag = entity_tag(__version__, "metadata", target, media_type, zipped, urls.plain, state)
    if (answer := unchanged(request, tag)) is not None:
        return answer
    located = each(retrieval, await first_page(retrieval, target), target)
    headers = {**validators(tag), hdrs.VARY: "Accept, Accept-Encoding"}
    if media_type == DICOM_XML:
        body = Multipart(DICOM_XML)
        response = web.StreamResponse(headers={**headers, hdrs.CONTENT_TYPE: body.content_type})
        return await stream(request, response, _documents(retrieval, located, urls, body))
    blocks = request.app[METADATA].blocks(located, urls.plain, lambda one, path: bulk_data_url(urls, one, path))
    response = web.StreamResponse(headers={**headers, hdrs.CONTENT_TYPE: media_type})
    if zipped:
        response.headers[hdrs.CONTENT_ENCODING] = "gzip"
        return await stream(request, response, _gzipped(retrieval, blocks))
    return await stream(request, response, _plain(retrieval, blocks))


def bulk_data_url(urls: ObjectUrl, located: Located, path: str) -> str:
    """The BulkDataURI of the element at `path` of an instance; `urls` are those of route `bulkdata`."""
    uids = {"study": located.study_uid, "series": located.series_uid, "instance": located.sop_uid}
    return urls.of(located.clashing_patient, **uids, path=path)


def accepts_gzip(request: web.Request) -> bool:
    """Whether Accept-Encoding accepts gzip by name (RFC 9110 §12.5.3)."""
    for coding in ",".join(request.headers.getall(hdrs.ACCEPT_ENCODING, [])).split(","):
        name, _, quality = coding.partition(";")
        if name.strip().lower() in ("gzip", "x-gzip"):
            return quality.replace(" ", "").rstrip(".0") != "q="
    return False


async def _plain(retrieval: Retrieval, blocks: AsyncGenerator[MetadataBlock, None]) -> AsyncGenerator[bytes, None]:
    opening = b"["
    async with aclosing(blocks) as source:
        async for block in source:
            async with aclosing(retrieval.stepwise(text_of(block, retrieval.memory), block.length)) as pieces:
                async for piece in pieces:
                    yield opening + piece
                    opening = b""
            opening = b","
    yield b"]"


async def _gzipped(retrieval: Retrieval, blocks: AsyncGenerator[MetadataBlock, None]) -> AsyncGenerator[bytes, None]:
    gzip = Gzip()
    opening = gzip.begin()
    async with aclosing(blocks) as source:
        async for block in source:
            yield opening + await retrieval.run(gzip.add, block)
            opening = b""
    yield gzip.end()


async def _documents(
    retrieval: Retrieval, located: AsyncGenerator[Located, None], urls: ObjectUrl, body: Multipart
) -> AsyncGenerator[bytes, None]:
    """One XML part for each instance (PS3.18 §8.6.1.2)."""

    def encode(stored: StoredObject, one: Located) -> bytes:
        try:
            model = json.encode_data_set(
                stored.read,
                one.data_set_offset,
                one.size,
                one.transfer_syntax_uid,
                bulk_data_uri=lambda path: bulk_data_url(urls, one, path),
            )
        except DataSetError as error:
            model = what_is_known(one, error)
        document = xml.to_xml(json.decode_model(model), lambda path: bulk_data_url(urls, one, path))
        return body.head(DICOM_XML, length=len(document)) + document + body.END

    some: list[Located] = []
    async with aclosing(located) as source:
        async for one in source:
            some.append(one)
            if len(some) == _XML_AT_ONCE or retrieval.memory.under_pressure:
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
    """Encode some instances; the result counts as held until it is consumed."""
    documents = b"".join(await retrieval.map(some, encode))
    retrieval.memory.change(len(documents))
    try:
        yield documents
    finally:
        retrieval.memory.change(-len(documents))


ROUTES = tuple(
    Route(
        "GET", path + "/metadata", metadata, "view", (ACCEPT,), answers=(DICOM_JSON, JSON, XML), errors=(404, 406, 409)
    )
    for path in (STUDY, SERIES, INSTANCE)
)
