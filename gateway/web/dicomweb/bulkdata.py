"""WADO-RS bulk data and pixel data (PS3.18 §10.4.1.1.5, §10.4.1.1.6): the targets of BulkDataURI in metadata.

One value by its path, or all of an instance, series or study in multipart. `media.py` chooses media types.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from math import inf
from typing import Final

from aiohttp import web

from gateway.dicom.bulk import DataSet, Value, bulk_values, text_pieces, value_at, value_pieces
from gateway.dicom.source import CHUNK
from gateway.dicom.uids import transfer_syntax
from gateway.errors import DataSetError, NotFound
from gateway.http.multipart_writer import MULTIPART
from gateway.imaging.image import PIXEL_DATA, PIXELS
from gateway.imaging.pixels import VIDEO, PixelData
from gateway.imaging.value import MAX_RETAINED_BYTES, DecodedValue
from gateway.index.locate import Located
from gateway.index.selection import outline
from gateway.retrieve.frame_index import FrameIndexCache
from gateway.retrieve.retrieval import Retrieval
from gateway.storage.store import StoredObject
from gateway.web.accept import listed, wanted
from gateway.web.context import CONTEXT
from gateway.web.dicomweb.frames import (
    FRAME_INDEX,
    data_set_of,
    decodes,
    frame_items,
    frame_url,
    not_decoded,
    stream_items,
)
from gateway.web.dicomweb.media import OCTETS, Form, fragment_form, media_type_of, octet_form, pixel_form, stored_form
from gateway.web.dicomweb.metadata import bulk_data_url
from gateway.web.dicomweb.parts import Item, Items, Part, Span, cut, send, size_of, span_for, whole
from gateway.web.dicomweb.resources import RETRIEVAL, Target, each, first_page, one_instance
from gateway.web.errors import NotAcceptable
from gateway.web.route import ACCEPT, INSTANCE, SERIES, STUDY, Route
from gateway.web.security import document_type
from gateway.web.urls import object_url

log = logging.getLogger(__name__)

_PATH: Final = re.compile(r"([0-9A-F]{8}/[0-9]{1,9}/)*[0-9A-F]{8}\Z")
_SLASHES: Final = re.compile("/+")
_ENCAPSULATED_DOCUMENT: Final = "00420011"
_MIME_TYPE: Final = "00420012"


async def one(request: web.Request) -> web.StreamResponse:
    """The value of one element. Any element has a URL, bulk data or not."""
    path = _SLASHES.sub("/", request.match_info["path"]).strip("/").upper()
    if _PATH.match(path) is None:
        raise NotFound(f"{path[:80]!r} is not the path of an element, like 7FE00010 or 00880200/0/7FE00010")
    target = Target.of(request)
    retrieval = request.app[RETRIEVAL]
    located = await one_instance(retrieval, target)
    maker = _Maker(request, tags=None, single=True)
    slow = False
    if path == f"{PIXEL_DATA:08X}":
        slow = decodes(pixel_form(maker.ranges, located.transfer_syntax_uid, single=True), located)

    def work(stored: StoredObject, located: Located) -> Items:
        data_set = data_set_of(stored, located)
        value = value_at(data_set, path)
        if value is None:
            raise NotFound(f"instance {located.sop_uid} has no value at {path}")
        yield from maker.value(stored, located, data_set, value)

    items = retrieval.pieces(located, work, size_of, decodes=slow)
    return await send(request, items, f"there is no value at {path}")


async def every(request: web.Request) -> web.StreamResponse:
    """All bulk data of a study, series or instance."""
    return await _all(request, None)


async def pixels(request: web.Request) -> web.StreamResponse:
    """All pixel data of a study, series or instance, except those in sequences, such as icons."""
    return await _all(request, PIXELS)


async def _all(request: web.Request, tags: frozenset[int] | None) -> web.StreamResponse:
    target = Target.of(request)
    retrieval = request.app[RETRIEVAL]
    rows = await first_page(retrieval, target)
    maker = _Maker(request, tags=tags, single=False)
    for group in await outline(request.app[CONTEXT].database, target.selection):
        pixel_form(maker.ranges, group.transfer_syntax_uid, single=False)  # raises before the first byte
    what = "pixel data" if tags else "bulk data"
    items = maker.instances(retrieval, each(retrieval, rows, target))
    return await send(request, items, f"there is no {what} in this resource")


class _Maker:
    """Produces the parts of values, for one request."""

    def __init__(self, request: web.Request, tags: frozenset[int] | None, *, single: bool) -> None:
        self.ranges = wanted(request)
        self._span: Span = span_for(request)
        self._frame_index: FrameIndexCache = request.app[FRAME_INDEX]
        self._memory = request.app[RETRIEVAL].frame_memory
        self._url = object_url(request, "bulkdata")
        self._frames = object_url(request, "bulkdata.frames")
        self._tags = tags
        self._single = single
        self._omitted: NotAcceptable | DataSetError | None = None
        """The reason for the first value that was omitted."""

    async def instances(
        self, retrieval: Retrieval, located: AsyncGenerator[Located, None]
    ) -> AsyncGenerator[Item, None]:
        """The parts of each instance. Raises NotAcceptable when there are values, and none of them can be sent."""
        sent = False
        async with aclosing(located) as source:
            async for instance in source:
                form = pixel_form(self.ranges, instance.transfer_syntax_uid, single=False)
                items = retrieval.pieces(instance, self._instance, size_of, decodes=decodes(form, instance))
                async with aclosing(items) as pieces:
                    async for item in pieces:
                        sent = True
                        yield item
        if not sent and self._omitted is not None:
            raise self._omitted

    def _instance(self, stored: StoredObject, located: Located) -> Items:
        yield from self._available(located, self._values(stored, located))

    def _values(self, stored: StoredObject, located: Located) -> Items:
        data_set = data_set_of(stored, located).for_many()
        for value in bulk_values(data_set):
            if self._tags is None or (value.tag in self._tags and "/" not in value.path):
                items = self.value(stored, located, data_set, value)
                yield from self._available(located, items)

    def _available(self, located: Located, items: Items) -> Items:
        """The items up to a part that cannot be produced, which is omitted. Raises if that part has begun already."""
        left = 0.0
        try:
            for item in items:
                if not isinstance(item, Part):
                    left -= len(item)
                else:
                    left = inf if item.length is None else item.length
                yield item
        except (NotAcceptable, DataSetError) as error:
            if left > 0:
                raise
            log.warning("bulk data of instance %s are omitted from an answer: %s", located.sop_uid, error)
            self._omitted = self._omitted or error

    def value(self, stored: StoredObject, located: Located, data_set: DataSet, value: Value) -> Items:
        """The parts of one value. Those without an acceptable form are omitted from an answer of several."""
        url = bulk_data_url(self._url, located, value.path)
        stored_syntax = located.transfer_syntax_uid
        if value.path == f"{PIXEL_DATA:08X}":
            form = pixel_form(self.ranges, stored_syntax, single=self._single)
            yield from self._pixels(stored, located, data_set, value, form, url)
        elif value.fragments:
            found = fragment_form(self.ranges, stored_syntax, single=self._single)
            if found is not None:
                yield from stream_items(stored, located, value.path, found, url, self._span_of(found))
            elif self._single:
                kind = f"{media_type_of(stored_syntax)}; transfer-syntax={stored_syntax}"
                raise NotAcceptable(f"{value.path} is available as {kind}")
        else:
            octets = octet_form(self.ranges, self._media_type(stored, located, value), single=self._single)
            if octets is not None:
                yield from self._bytes(located, data_set, value, octets, url)
            elif self._single:
                raise NotAcceptable(f"{value.path} is available as {listed([OCTETS, f'{MULTIPART}; type={OCTETS!r}'])}")

    def _pixels(
        self, stored: StoredObject, located: Located, data_set: DataSet, value: Value, form: Form, url: str
    ) -> Items:
        """Uncompressed pixels in one part, compressed ones frame by frame (§8.7.3.3.2); video is one stream."""
        if form.encapsulated and form.transfer_syntax == located.transfer_syntax_uid and form.transfer_syntax in VIDEO:
            yield from stream_items(stored, located, value.path, form, url, self._span_of(form))
            return
        native = not transfer_syntax(located.transfer_syntax_uid).encapsulated
        if not form.encapsulated and not value.fragments and native:
            yield from self._bytes(located, data_set, value, form, url)
            return
        places = self._frame_index.find(stored, located)
        if places is None:
            return
        spare = stored_form(self.ranges, located.transfer_syntax_uid, form)
        if not form.encapsulated:
            try:
                decoded = _decoded(places, stored)
            except DataSetError as error:
                if spare is None:
                    raise not_decoded(located, "pixel data", error) from error
                form = spare
            else:
                part = Part(form.content_type, decoded.length, url, located.key, form.multipart)
                start, stop = self._span_of(form)(part)
                yield part
                yield from decoded.pieces(start, stop)
                return
        count = len(places)
        if count > 1 and not form.multipart:
            raise NotAcceptable(f"{count} frames are available as {MULTIPART}; type={form.media_type!r}")
        for number in range(count):
            where = frame_url(self._frames, located, number + 1) if count > 1 else url
            span = self._span_of(form)
            yield from frame_items(places, stored, located, number, form, spare, where, span, self._memory)

    def _bytes(self, located: Located, data_set: DataSet, value: Value, form: Form, url: str) -> Items:
        kind = form.content_type if value.tag in PIXELS else form.media_type
        if value.is_foreign_text:
            yield from self._text(located, data_set, value, kind, form, url)
            return
        part = Part(kind, value.length, url, located.key, form.multipart)
        pieces = value_pieces(data_set, value, *self._span_of(form)(part))
        first = next(pieces, b"")  # a truncated value is found before the part begins
        yield part
        yield first
        yield from pieces

    def _text(self, located: Located, data_set: DataSet, value: Value, kind: str, form: Form, url: str) -> Items:
        """Text, whose length in UTF-8 is known only after reading: long ones are sent without a length."""
        pieces = text_pieces(data_set, value)
        if value.length > CHUNK:
            yield Part(kind, None, url, located.key, form.multipart)
            yield from pieces
            return
        text = b"".join(pieces)
        part = Part(kind, len(text), url, located.key, form.multipart)
        yield part
        yield cut(text, self._span_of(form)(part))

    def _span_of(self, form: Form) -> Span:
        return whole if form.multipart else self._span

    def _media_type(self, stored: StoredObject, located: Located, value: Value) -> str:
        """The media type of a document by its instance (0042,0012), if that may be sent; otherwise octets."""
        if value.path != _ENCAPSULATED_DOCUMENT:
            return OCTETS
        data_set = data_set_of(stored, located)
        named = value_at(data_set, _MIME_TYPE)
        if named is None or not 0 < named.length <= 128:
            return OCTETS
        text = b"".join(value_pieces(data_set, named, 0, named.length)).decode("ascii", "replace").strip(" \0")
        return document_type(text) or OCTETS


def _decoded(pixels: PixelData, stored: StoredObject) -> DecodedValue:
    """All frames, after checking that each can be decoded. Raises DataSetError."""
    image = pixels.image.decoded(pixels.syntax)
    room = max(MAX_RETAINED_BYTES, image.frame_size) if len(pixels) == 1 else MAX_RETAINED_BYTES
    value = DecodedValue(image, len(pixels), partial(pixels.native, stored.read), room)
    for _ in value.decode_all():
        pass
    return value


_ERRORS: Final = (404, 406, 409, 503)
_WHOLE: Final = (STUDY, SERIES, INSTANCE)
ROUTES = (
    *(
        Route("GET", path + "/bulkdata", every, "view", (ACCEPT,), answers=(MULTIPART,), errors=_ERRORS)
        for path in _WHOLE
    ),
    Route(
        "GET",
        INSTANCE + "/bulkdata/{path:.*[^/]}",
        one,
        "view",
        (ACCEPT,),
        answers=(MULTIPART, "*/*"),
        errors=_ERRORS,
        name="bulkdata",
    ),
    *(
        Route("GET", path + "/pixeldata", pixels, "view", (ACCEPT,), answers=(MULTIPART,), errors=_ERRORS)
        for path in _WHOLE
    ),
)
