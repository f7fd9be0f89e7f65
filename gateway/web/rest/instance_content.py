"""/instances/{id}/content/…: what stands at a place in a data set, sequences and fragments included.

A path is a tag, the number of an item (from 0) where the tag is a sequence, a tag of that item, and so on. It ends at a
value, which is answered as its bytes, or at what has parts, which are listed. Pixel data have their frames as parts
or, where they are compressed, their fragments with the Basic Offset Table before them.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from gateway.dicom.bulk import DataSet, Value, fragments_of, value_at, value_pieces
from gateway.dicom.walk import PIXEL_DATA
from gateway.errors import BadRequest, NotFound
from gateway.index.locate import Located
from gateway.retrieve.tag_tree import TagTree, read_tags
from gateway.storage.store import StoredObject
from gateway.web.dicomweb.frames import FRAME_INDEX, data_set_of
from gateway.web.dicomweb.resources import RETRIEVAL
from gateway.web.inputs import whole_number
from gateway.web.rest.answers import json_answer, unknown
from gateway.web.rest.instance_files import check_count, located
from gateway.web.rest.names import tag_text
from gateway.web.rest.tags import tag_named
from gateway.web.route import Route
from gateway.web.security import ATTACHMENT
from gateway.web.streaming import stream

MAX_STEPS: Final = 64
"""Tags and numbers of items in a path."""
_PIECE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class _Bytes:
    """The value that a path ends at."""

    path: str


@dataclass(frozen=True, slots=True)
class _Part:
    """A frame or fragment of pixel data."""

    number: int


async def content(request: web.Request) -> web.StreamResponse:
    """The bytes of an attribute as they are stored, or a list of what is below the path."""
    found = await located(request)
    if found is None:
        return unknown(request)
    steps = [step for step in request.match_info.get("path", "").split("/") if step]
    if len(steps) > MAX_STEPS:
        raise BadRequest(f"a path of {len(steps)} steps; at most {MAX_STEPS} are taken")
    path = [_step(step, is_tag=at % 2 == 0) for at, step in enumerate(steps)]
    retrieval, places = request.app[RETRIEVAL], request.app[FRAME_INDEX]

    def look(stored: StoredObject, one: Located) -> list[str] | _Bytes | _Part | None:
        if path[:1] == [PIXEL_DATA]:
            value = value_at(data_set_of(stored, one), f"{PIXEL_DATA:08X}")
            if value is None or len(path) > 2:
                return None
            if len(path) == 2:
                return _Part(path[1])
            if value.fragments:
                return [str(number) for number, _ in enumerate(fragments_of(data_set_of(stored, one), value))]
            pixels = places.find(stored, one)
            check_count(count := 0 if pixels is None else len(pixels))
            return [str(number) for number in range(count)]
        return _below(read_tags(stored, one, behind_pixels=True), path)

    (what,) = await retrieval.map([found], look)
    if what is None:
        return unknown(request)
    if isinstance(what, list):
        return json_answer(what)

    def work(stored: StoredObject, one: Located) -> Generator[bytes, None, None]:
        data_set = data_set_of(stored, one)
        value = value_at(data_set, f"{PIXEL_DATA:08X}" if isinstance(what, _Part) else what.path)
        if value is None:
            return
        if isinstance(what, _Bytes):
            yield from value_pieces(data_set, value, 0, value.length)
        elif value.fragments:
            yield from _fragment(data_set, value, what.number)
        else:
            pixels = places.find(stored, one)
            if pixels is None or what.number >= len(pixels):
                raise NotFound(f"instance {one.sop_uid} has no frame {what.number}")
            data = pixels.stored(stored.read, what.number)
            for at in range(0, len(data), _PIECE):
                yield data[at : at + _PIECE]

    response = web.StreamResponse(headers={"Content-Type": "application/octet-stream", **ATTACHMENT})
    return await stream(request, response, retrieval.pieces(found, work, len))


def _fragment(data_set: DataSet, value: Value, number: int) -> Generator[bytes, None, None]:
    for at, (start, length) in enumerate(fragments_of(data_set, value)):
        if at == number:
            for offset in range(0, length, _PIECE):
                yield data_set.read(start + offset, min(_PIECE, length - offset))
            return
    raise NotFound(f"there is no fragment {number}")


def _step(step: str, *, is_tag: bool) -> int:
    if is_tag:
        return tag_named(step)
    number = whole_number(step)
    if number is None:
        raise BadRequest(f"{step[:40]!r} is no number of an item")
    return number


def _below(tree: TagTree, path: list[int]) -> list[str] | _Bytes | None:
    """What a path leads to; None for nothing."""
    for at in range(0, len(path), 2):
        found = tree.get(path[at])
        if found is None:
            return None
        if not isinstance(found.value, list):
            steps = [str(step) if place % 2 else f"{step:08X}" for place, step in enumerate(path)]
            return _Bytes("/".join(steps)) if at == len(path) - 1 else None
        if at + 1 == len(path):
            return [str(number) for number, _ in enumerate(found.value)]
        if path[at + 1] >= len(found.value):
            return None
        tree = found.value[path[at + 1]]
    return [tag_text(tag, "-") for tag in tree]


ROUTES = (
    Route("GET", "/instances/{id}/content", content, "view", errors=(404,)),
    Route(
        "GET",
        "/instances/{id}/content/{path:.*}",
        content,
        "view",
        answers=("application/octet-stream", "application/json"),
        errors=(404,),
    ),
)
