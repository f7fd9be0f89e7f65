"""WADO-RS bulk data and pixel data (PS3.18 §10.4.1.1.5, §10.4.1.1.6): what BulkDataURI in metadata points at.

One value by its path, or all of an instance, series or study in multipart. Media types are chosen in `media.py`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from aiohttp import web

from gateway.archive.pixels import PixelPlaces
from gateway.archive.retrieve import Retrieval
from gateway.dicom.bulk import DataSet, Value, bulk_values, value_at, value_pieces
from gateway.errors import NotFound
from gateway.imaging.image import PIXEL_DATA, PIXELS
from gateway.imaging.pixels import VIDEO
from gateway.index.locate import Located
from gateway.index.selection import Selection, outline
from gateway.storage.store import StoredObject
from gateway.web.accept import MediaRange, listed, wanted
from gateway.web.context import CONTEXT
from gateway.web.dicomweb.frames import PLACES, data_set_of, decodes, frame_bytes, frame_items, frame_url, stream_items
from gateway.web.dicomweb.media import OCTETS, Form, octet_form, pixel_form
from gateway.web.dicomweb.metadata import bulk_data_url
from gateway.web.dicomweb.multipart import MULTIPART
from gateway.web.dicomweb.parts import Item, Items, Part, Span, send_alone, send_multipart, size_of, span_for, whole
from gateway.web.dicomweb.resources import RETRIEVAL, Target, each, first_page, one_instance
from gateway.web.errors import NotAcceptable
from gateway.web.urls import url_template

_PATH: Final = re.compile(r"([0-9A-F]{8}/[0-9]{1,9}/)*[0-9A-F]{8}\Z")
_ENCAPSULATED_DOCUMENT: Final = "00420011"
_MIME_TYPE: Final = "00420012"
_MEDIA_TYPE: Final = re.compile(r"[a-zA-Z0-9!#$&^_.+-]{1,64}/[a-zA-Z0-9!#$&^_.+-]{1,64}\Z")


async def one(request: web.Request) -> web.StreamResponse:
    """The value of one element: bulk or not, any element has a URL."""
    path = request.match_info["path"].upper()
    if _PATH.match(path) is None:
        raise NotFound(f"{path[:80]!r} is no path of an element, like 7FE00010 or 00880200/0/7FE00010")
    target = Target.of(request)
    retrieval = request.app[RETRIEVAL]
    located = await one_instance(retrieval, target)
    maker = _Maker(request, tags=None, single=True)
    if path == f"{PIXEL_DATA:08X}":
        form = pixel_form(maker.ranges, located.transfer_syntax_uid, single=True)
        multipart, media_type, slow = form.multipart, form.media_type, decodes(form, located)
    else:
        multipart, slow = _prefers_multipart(maker.ranges), False
        named = maker.ranges[0].parameters.get("type", OCTETS).lower() if maker.ranges else OCTETS
        media_type = OCTETS if "*" in named or not _MEDIA_TYPE.match(named) else named
    maker.span = whole if multipart else span_for(request)

    def work(stored: StoredObject, located: Located) -> Items:
        data_set = data_set_of(stored, located)
        value = value_at(data_set, path)
        if value is None:
            raise NotFound(f"instance {located.sop_uid} has no value at {path}")
        yield from maker.value(stored, located, data_set, value, all_frames=multipart)

    items = retrieval.pieces(located, work, size_of, decodes=slow)
    nothing = f"there is no value at {path}"
    if multipart:
        return await send_multipart(request, media_type, items, nothing)
    return await send_alone(request, items, nothing)


async def every(request: web.Request) -> web.StreamResponse:
    """All bulk data of a study, series or instance."""
    return await _all(request, None)


async def pixels(request: web.Request) -> web.StreamResponse:
    """All pixel data of a study, series or instance; that of icons and the like is none."""
    return await _all(request, PIXELS)


async def _all(request: web.Request, tags: frozenset[int] | None) -> web.StreamResponse:
    target = Target.of(request)
    retrieval = request.app[RETRIEVAL]
    rows = await first_page(retrieval, target)
    parents = Selection(
        studies=(target.study,),
        series=(target.series,) if target.series else (),
        instances=(target.instance,) if target.instance else (),
    )
    maker = _Maker(request, tags=tags, single=False)
    forms = [
        pixel_form(maker.ranges, group.transfer_syntax_uid, single=False)
        for group in await outline(request.app[CONTEXT].database, parents)
    ]
    what = "pixel data" if tags else "bulk data"
    items = maker.instances(retrieval, each(retrieval, rows, target))
    return await send_multipart(request, forms[0].media_type, items, f"there is no {what} in this resource")


class _Maker:
    """Makes parts out of values, for one request."""

    def __init__(self, request: web.Request, tags: frozenset[int] | None, *, single: bool) -> None:
        self.ranges = wanted(request)
        self.span: Span = whole
        self._places: PixelPlaces = request.app[PLACES]
        self._template = url_template(request, "bulkdata")
        self._frames = url_template(request, "bulkdata.frames")
        self._tags = tags
        self._single = single

    async def instances(
        self, retrieval: Retrieval, located: AsyncGenerator[Located, None]
    ) -> AsyncGenerator[Item, None]:
        async with aclosing(located) as source:
            async for instance in source:
                form = pixel_form(self.ranges, instance.transfer_syntax_uid, single=False)
                items = retrieval.pieces(instance, self._instance, size_of, decodes=decodes(form, instance))
                async with aclosing(items) as pieces:
                    async for item in pieces:
                        yield item

    def _instance(self, stored: StoredObject, located: Located) -> Items:
        data_set = data_set_of(stored, located).for_many()
        for value in bulk_values(data_set):
            if self._tags is None or (value.tag in self._tags and "/" not in value.path):
                yield from self.value(stored, located, data_set, value, all_frames=True)

    def value(
        self, stored: StoredObject, located: Located, data_set: DataSet, value: Value, *, all_frames: bool
    ) -> Items:
        """The parts of one value. Those that cannot be had in an acceptable form are left out of many."""
        url = bulk_data_url(self._template, located, value.path)
        if value.path == f"{PIXEL_DATA:08X}":
            form = pixel_form(self.ranges, located.transfer_syntax_uid, single=self._single)
            yield from self._pixels(stored, located, data_set, value, form, url, all_frames)
            return
        if value.fragments:
            # Pixels of an icon: as they are stored, since what they are is said beside them.
            form = pixel_form(self.ranges, located.transfer_syntax_uid, single=self._single)
            if form.transfer_syntax != located.transfer_syntax_uid:
                if self._single:
                    raise NotAcceptable(f"{value.path} can be had with transfer-syntax={located.transfer_syntax_uid}")
                return
            yield from stream_items(stored, located, value.path, form, url, self.span)
            return
        octets = octet_form(self.ranges, self._media_type(stored, located, value), single=self._single)
        if octets is not None:
            content_type = octets.content_type if value.tag in PIXELS else octets.media_type
            yield from self._bytes(located, data_set, value, content_type, url)
        elif self._single:
            raise NotAcceptable(f"{value.path} can be had as {listed([OCTETS, f'{MULTIPART}; type={OCTETS!r}'])}")

    def _pixels(
        self,
        stored: StoredObject,
        located: Located,
        data_set: DataSet,
        value: Value,
        form: Form,
        url: str,
        all_frames: bool,
    ) -> Items:
        """Uncompressed in one part, compressed frame by frame (§8.7.3.3.2); video is one stream."""
        if form.encapsulated and form.transfer_syntax == located.transfer_syntax_uid and form.transfer_syntax in VIDEO:
            yield from stream_items(stored, located, value.path, form, url, self.span)
            return
        if not form.encapsulated and not value.fragments:
            yield from self._bytes(located, data_set, value, form.content_type, url)
            return
        places = self._places.find(stored, located)
        if places is None:
            return
        count = len(places)
        if form.encapsulated:
            if count > 1 and not all_frames:
                raise NotAcceptable(f"{count} frames can be had as {MULTIPART}; type={form.media_type!r}")
            for number in range(count):
                where = frame_url(self._frames, located, number + 1) if count > 1 else url
                yield from frame_items(places, stored, located, number, form, where, self.span)
            return
        part = Part(form.content_type, places.image.frame_size * count, url, located.key)
        start, stop = self.span(part)
        yield part
        for number in range(start // places.image.frame_size, count):
            at = number * places.image.frame_size
            if at >= stop:
                break
            yield frame_bytes(places, stored, number, form)[max(start - at, 0) : stop - at]

    def _bytes(self, located: Located, data_set: DataSet, value: Value, content_type: str, url: str) -> Items:
        part = Part(content_type, value.length, url, located.key)
        span = self.span(part)
        pieces = value_pieces(data_set, value, *span)
        first = next(pieces, b"")  # what is cut short is found before the part is begun
        yield part
        yield first
        yield from pieces

    def _media_type(self, stored: StoredObject, located: Located, value: Value) -> str:
        """Of a document the one that its instance says it has (0042,0012), otherwise octets."""
        if value.path != _ENCAPSULATED_DOCUMENT:
            return OCTETS
        data_set = data_set_of(stored, located)
        named = value_at(data_set, _MIME_TYPE)
        if named is None or not 0 < named.length <= 128:
            return OCTETS
        text = b"".join(value_pieces(data_set, named, 0, named.length)).decode("ascii", "replace").strip(" \0")
        return text.lower() if _MEDIA_TYPE.match(text) else OCTETS


def _prefers_multipart(ranges: Sequence[MediaRange]) -> bool:
    return bool(ranges) and ranges[0].covers(MULTIPART)
