"""WADO-RS frames (PS3.18 §10.4.1.1.3): single frames of an instance, compressed or not. Rendered ones are not here."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.archive.pixels import PixelPlaces
from gateway.dicom.bulk import DataSet, Fragments, value_at
from gateway.dicom.uids import transfer_syntax
from gateway.errors import NotFound
from gateway.imaging.image import PIXEL_DATA
from gateway.imaging.pixels import VIDEO, PixelData
from gateway.index.locate import Located
from gateway.storage.store import StoredObject
from gateway.web.accept import wanted
from gateway.web.dicomweb.media import Form, pixel_form
from gateway.web.dicomweb.parts import Items, Part, Span, cut, send_alone, send_multipart, size_of, span_for, whole
from gateway.web.dicomweb.resources import RETRIEVAL, Target, frame_numbers, one_instance
from gateway.web.urls import url_template

PLACES: web.AppKey[PixelPlaces] = web.AppKey("pixel places", PixelPlaces)
MAX_FRAMES: Final = 10_000
"""Frames in one request."""


async def frames(request: web.Request) -> web.StreamResponse:
    """The frames that the path lists, in its order."""
    numbers = frame_numbers(request.match_info["frames"], MAX_FRAMES)
    target = Target.of(request)
    retrieval, places = request.app[RETRIEVAL], request.app[PLACES]
    ranges, single = wanted(request), len(numbers) == 1
    template = url_template(request, "frames")
    located = await one_instance(retrieval, target)
    form = pixel_form(ranges, located.transfer_syntax_uid, single=single)
    span = whole if form.multipart else span_for(request)

    def work(stored: StoredObject, one: Located) -> Items:
        form = pixel_form(ranges, one.transfer_syntax_uid, single=single)
        pixels = places.find(stored, one)
        if pixels is None:
            raise NotFound(f"instance {one.sop_uid} has no pixel data")
        missing = next((number for number in numbers if number > len(pixels)), None)
        if missing is not None:
            raise NotFound(f"instance {one.sop_uid} has {len(pixels)} frames, not {missing}")
        if form.transfer_syntax == one.transfer_syntax_uid and form.transfer_syntax in VIDEO:
            # One stream, which is as long as it likes: not read whole like a frame.
            yield from stream_items(stored, one, f"{PIXEL_DATA:08X}", form, frame_url(template, one, 1), span)
            return
        for number in numbers:
            url = frame_url(template, one, number)
            yield from frame_items(pixels, stored, one, number - 1, form, url, span)

    items = retrieval.pieces(located, work, size_of, decodes=decodes(form, located))
    nothing = f"instance {target.instance} has no frames"
    if form.multipart:
        return await send_multipart(request, form.media_type, items, nothing)
    return await send_alone(request, items, nothing)


def frame_url(template: str, located: Located, number: int) -> str:
    """The URL of one frame; `template` is that of route `frames`, or of the frames of bulk data."""
    return template.format(study=located.study_uid, series=located.series_uid, instance=located.sop_uid, frames=number)


def decodes(form: Form, located: Located) -> bool:
    """Whether pixels have to be decoded or encoded for it, which takes long."""
    stored = located.transfer_syntax_uid
    return form.transfer_syntax != stored and (form.encapsulated or transfer_syntax(stored).encapsulated)


def frame_items(
    pixels: PixelData, stored: StoredObject, one: Located, number: int, form: Form, url: str, span: Span
) -> Items:
    """One frame, `number` from 0, as a part."""
    data = frame_bytes(pixels, stored, number, form)
    part = Part(form.content_type, len(data), url, one.key)
    piece = cut(data, span(part))
    yield part
    yield piece


def stream_items(stored: StoredObject, one: Located, path: str, form: Form, url: str, span: Span) -> Items:
    """The stream of the fragments at `path`, as a part."""
    data_set = data_set_of(stored, one)
    value = value_at(data_set, path)
    if value is None or not value.fragments:
        raise NotFound(f"instance {one.sop_uid} has no fragments at {path}")
    fragments = Fragments(data_set, value)
    part = Part(form.content_type, fragments.length, url, one.key)
    start, stop = span(part)
    yield part
    yield from fragments.pieces(start, stop)


def data_set_of(stored: StoredObject, located: Located) -> DataSet:
    return DataSet(stored.read, located.data_set_offset, located.size, located.transfer_syntax_uid)


def frame_bytes(pixels: PixelData, stored: StoredObject, number: int, form: Form) -> bytes:
    """A frame in a form that there is for it. Uncompressed ones stay as they are laid out: metadata says how."""
    if form.transfer_syntax == pixels.syntax.uid or not (form.encapsulated or pixels.syntax.encapsulated):
        return pixels.stored(stored.read, number)
    if not form.encapsulated:
        return pixels.native(stored.read, number)
    return pixels.encoded(stored.read, number, form.transfer_syntax)
