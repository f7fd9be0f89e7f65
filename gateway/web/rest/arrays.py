"""Frames as arrays of numbers, of an instance or a whole series: `numpy`, `matlab`; and the order of a series' slices.

Frames are decoded one by one while the answer is sent, so that it takes no more memory than a frame.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from gateway.errors import BadRequest, DataSetError
from gateway.http.zip_sink import ZipSink
from gateway.index.locate import Located, identified
from gateway.index.slices import ordered_slices
from gateway.render import extraction
from gateway.render.extraction import Shape, chunks, numpy_header, rescaled
from gateway.render.rendering import Subject
from gateway.web.context import CONTEXT
from gateway.web.dicomweb.resources import RENDERER, RETRIEVAL
from gateway.web.inputs import whole_number
from gateway.web.rest.answers import flag, json_answer, place, unknown
from gateway.web.rest.instance_files import MAX_LISTED, located
from gateway.web.rest.pictures import unsupported
from gateway.web.route import ORTHANC_FRAME, ORTHANC_INSTANCE, ORTHANC_SERIES, TRUTH, Parameter, Route
from gateway.web.security import ATTACHMENT
from gateway.web.streaming import stream

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_OCTETS: Final = "application/octet-stream"
_LOOK: Final = 100
"""Instances whose shapes are read at once."""


async def numpy(request: web.Request) -> web.StreamResponse:
    """All frames of an instance as a NumPy array of frames, rows, columns and channels."""
    found = await located(request)
    return unknown(request) if found is None else await _numpy(request, [found])


async def numpy_of_frame(request: web.Request) -> web.StreamResponse:
    """A frame as a NumPy array of rows, columns and channels."""
    found, number = await located(request), whole_number(request.match_info["frame"])
    return unknown(request) if found is None or number is None else await _numpy(request, [found], number)


async def numpy_of_series(request: web.Request) -> web.StreamResponse:
    """All frames of a series, in the order of its slices, as a NumPy array of frames, rows, columns and channels."""
    database, public_id = request.app[CONTEXT].database, request.match_info["id"]
    order = await ordered_slices(database, public_id)
    found: dict[str, Located] = {}
    async for page in identified(database, "series", public_id):
        found |= {identity.instance: each for identity, each in page}
    if not found:
        return unknown(request)
    return await _numpy(request, [found[each.public_id] for each in order.slices if each.public_id in found])


async def matlab(request: web.Request) -> web.StreamResponse:
    """A frame, the first without a number, as an expression of Matlab and Octave."""
    found, number = await located(request), whole_number(request.match_info.get("frame", "0"))
    if found is None or number is None:
        return unknown(request)
    texts = request.app[RENDERER].arrays(found, number, lambda _subject, _number, array: extraction.matlab(array))
    return await _send(request, texts, web.StreamResponse(headers={"Content-Type": "text/plain", **ATTACHMENT}))


async def slices(request: web.Request) -> web.StreamResponse:
    """The instances and frames of a series in order: `Volume` where they are parallel slices, else `Sequence`."""
    order = await ordered_slices(request.app[CONTEXT].database, request.match_info["id"])
    return json_answer(
        {
            "Dicom": [f"{place('Instance', each.public_id)}/file" for each in order.slices],
            "Slices": [
                "/".join((place("Instance", each.public_id), "frames", str(number)))
                for each in order.slices
                for number in _counted(each.frames)
            ],
            "SlicesShort": [[each.public_id, 0, each.frames] for each in order.slices],
            "Type": "Volume" if order.is_volume else "Sequence",
        }
    )


def _counted(frames: int) -> range:
    if frames > MAX_LISTED:
        raise BadRequest(f"an instance of the series says that it has {frames} frames; at most {MAX_LISTED} are listed")
    return range(frames)


async def _numpy(request: web.Request, found: list[Located], frame: int | None = None) -> web.StreamResponse:
    compress, is_rescaled = flag(request, "compress"), flag(request, "rescale", True)
    try:
        shape = await _shape(request, found, is_rescaled=is_rescaled)
    except DataSetError as error:
        return unsupported(request, error)
    _, *of_frame, sample_type = shape
    whole = of_frame if frame is not None else [shape.frames, *of_frame]
    head = numpy_header(sample_type, tuple(whole))

    def write(subject: Subject, number: int, array: Array) -> Iterator[bytes]:
        return chunks(rescaled(subject, number, array) if is_rescaled else array)

    async def data() -> AsyncGenerator[bytes, None]:
        for each in found:
            async with aclosing(request.app[RENDERER].arrays(each, frame, write)) as pieces:
                async for piece in pieces:
                    yield piece

    response = web.StreamResponse(headers={"Content-Type": _OCTETS, **ATTACHMENT})
    if compress:
        return await _send(request, _npz(request, head, data()), response)
    response.content_length = len(head) + math.prod(whole) * int(sample_type[-1])
    return await _send(request, data(), response, head)


async def _shape(request: web.Request, found: list[Located], *, is_rescaled: bool) -> Shape:
    """The shape of all frames together. Raises BadRequest where they differ."""
    shapes: list[Shape] = []
    for at in range(0, len(found), _LOOK):
        shapes += await request.app[RENDERER].shapes(found[at : at + _LOOK])
    if is_rescaled:
        shapes = [each if each.channels == 3 else each._replace(sample_type="<f4") for each in shapes]
    different = {each[1:] for each in shapes}
    if len(different) > 1:
        some = ", ".join(f"{rows} by {columns} by {channels}" for rows, columns, channels, _ in sorted(different)[:3])
        raise BadRequest(
            f"the frames of the series are not alike, so they make no array: {some}, of one type or several"
        )
    return shapes[0]._replace(frames=sum(each.frames for each in shapes))


async def _npz(request: web.Request, head: bytes, data: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """An array as a compressed .npz file, which is a zip, with the name that `numpy.savez` gives to the first."""
    run, sink = request.app[RETRIEVAL].run, ZipSink()
    archive = zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED)
    try:
        async with aclosing(data) as pieces:
            info = zipfile.ZipInfo("arr_0.npy")
            info.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(info, "w", force_zip64=True) as entry:
                entry.write(head)
                async for piece in pieces:
                    await run(entry.write, piece)
                    for written in sink.drain():
                        yield written
        archive.close()
        for written in sink.drain():
            yield written
    finally:
        sink.close()
        with suppress(ValueError):
            archive.close()  # writes no directory of an incomplete archive


async def _send(
    request: web.Request, pieces: AsyncGenerator[bytes, None], response: web.StreamResponse, head: bytes = b""
) -> web.StreamResponse:
    """Send the pieces, once the first of them is there: what cannot be decoded is mostly found with it."""
    async with aclosing(pieces):
        try:
            first = await anext(pieces, b"")
        except DataSetError as error:
            return unsupported(request, error)

        async def joined() -> AsyncGenerator[bytes, None]:
            yield head + first
            async for piece in pieces:
                yield piece

        return await stream(request, response, joined())


_NUMPY: Final = (
    Parameter("compress", "A compressed .npz file in place of .npy", TRUTH, "false"),
    Parameter("rescale", "In the units of Rescale Slope and Intercept, as 32-bit floating point", TRUTH, "true"),
)

ROUTES = (
    *(
        Route("GET", f"{path}/numpy", handler, "view", _NUMPY, answers=(_OCTETS,), errors=(404, 415))
        for path, handler in (
            (ORTHANC_INSTANCE, numpy),
            (ORTHANC_FRAME, numpy_of_frame),
            (ORTHANC_SERIES, numpy_of_series),
        )
    ),
    *(
        Route("GET", f"{path}/matlab", matlab, "view", answers=("text/plain",), errors=(404, 415))
        for path in (ORTHANC_INSTANCE, ORTHANC_FRAME)
    ),
    Route("GET", "/series/{id}/ordered-slices", slices, "view", errors=(404,)),
)
