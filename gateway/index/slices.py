"""The order of a series' instances in space, as Orthanc computes it: along the normal of the series, else by number."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from gateway.database.database import Database
from gateway.errors import BadRequest, UnknownResource
from gateway.index.resources import Resource, resource, resources_below
from gateway.index.values import NO_NUMBER

MAX_SLICES: Final = 20_000
"""Instances of a series that are put in order."""
_POSITION: Final = 0x00200032
_ORIENTATION: Final = 0x00200037
_FRAMES: Final = 0x00280008
_LEAST_DISTANCE: Final = 1.2e-6
"""Slices that are not farther apart along the normal are at the same place: ten times the precision of 32 bits at 1."""
_PARALLEL: Final = 1e-5
"""How far the cosine between two normals may be from 1, or from -1."""

Vector = tuple[float, ...]


class Slice(NamedTuple):
    """One instance in its place."""

    public_id: str
    frames: int


class Slices(NamedTuple):
    """The instances of a series in order; `is_volume` where they are parallel and each has a place of its own."""

    is_volume: bool
    slices: list[Slice]


async def ordered_slices(database: Database, public_id: str, *, is_lenient: bool = False) -> Slices:
    """Put the instances of a series in order. Raises UnknownResource; BadRequest where they have no order, or are too
    many. `is_lenient`: those without a place or number come last, and of too many the first are put in order."""
    series = await resource(database, "series", public_id)
    if series is None:
        raise UnknownResource(f"there is no series {public_id}")
    found: list[Resource] = []
    async for page in resources_below(database, "series", public_id, "instance"):
        found += page
        if len(found) > MAX_SLICES and is_lenient:
            del found[MAX_SLICES:]
            break
        if len(found) > MAX_SLICES:
            raise BadRequest(f"the series has more than {MAX_SLICES} instances; so many are not put in order")
    # In a series without an orientation of its own, that of the first instance is as good.
    orientation = series.attributes.get(_ORIENTATION) or series.of_first.get(_ORIENTATION, "")
    return put_in_order(found, _normal(orientation), is_lenient=is_lenient)


def put_in_order(found: Sequence[Resource], normal: Vector | None, *, is_lenient: bool = False) -> Slices:
    """Put instances in order along a normal, else by Instance Number. Raises BadRequest where some have neither, unless
    `is_lenient`, which has them last."""
    if len(found) <= 1:
        return Slices(False, [_slice(each) for each in found])
    if normal is not None and (places := _places(found, normal)) is not None:
        order = sorted(range(len(found)), key=places.__getitem__)
        steps = itertools.pairwise(order)
        if all(places[after] - places[before] > _LEAST_DISTANCE for before, after in steps):
            return Slices(True, [_slice(found[at]) for at in order])
    if not is_lenient and any(each.number == NO_NUMBER for each in found):
        raise BadRequest(
            "the instances of the series cannot be put in order: some have no position of their own, and "
            "some no Instance Number"
        )
    return Slices(False, [_slice(each) for each in sorted(found, key=lambda each: each.number)])


def _places(found: Sequence[Resource], normal: Vector) -> list[float] | None:
    """Where each instance is along the normal; None where one has no position, or stands askew."""
    places = []
    for each in found:
        position, own = _numbers(each.attributes.get(_POSITION, ""), 3), _normal(each.attributes.get(_ORIENTATION, ""))
        if position is None or (own is not None and abs(abs(_dot(own, normal)) - 1.0) > _PARALLEL):
            return None
        places.append(_dot(position, normal))
    return places


def _slice(each: Resource) -> Slice:
    text = each.attributes.get(_FRAMES, "").strip()
    return Slice(each.public_id, int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else 1)


def _normal(text: str) -> Vector | None:
    """The unit vector across the rows and columns of Image Orientation (Patient); None without a usable value."""
    found = _numbers(text, 6)
    if found is None:
        return None
    (a, b, c), (d, e, f) = found[:3], found[3:]
    cross = b * f - c * e, c * d - a * f, a * e - b * d
    length = math.sqrt(_dot(cross, cross))
    return tuple(each / length for each in cross) if math.isfinite(length) and length > 1e-12 else None


def _dot(one: Vector, other: Vector) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def _numbers(text: str, count: int) -> Vector | None:
    """The values of DS text, if there are so many, all finite."""
    parts = text.split("\\")
    if len(parts) != count or any(len(part) > 32 for part in parts):
        return None
    try:
        found = tuple(map(float, parts))
    except ValueError:
        return None
    return found if all(map(math.isfinite, found)) else None
