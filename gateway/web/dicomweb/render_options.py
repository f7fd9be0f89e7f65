"""The query parameters of rendered resources (PS3.18 §8.3.5): text to `RenderOptions`. Raises BadRequest.

`uri.py` has the names of WADO-URI (§9.4).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final, get_args

from gateway.errors import BadRequest
from gateway.render.grey import Function, Window
from gateway.render.picture import QUALITY
from gateway.render.profiles import Profile
from gateway.render.rendering import RenderOptions
from gateway.render.viewport import MAX_SIDE, Viewport
from gateway.web.inputs import whole_number
from gateway.web.route import ACCEPT, Parameter, at_least, one_of

FUNCTIONS: Final[dict[str, Function]] = {"linear": "LINEAR", "linear-exact": "LINEAR_EXACT", "sigmoid": "SIGMOID"}
_PROFILES: Final[tuple[Profile, ...]] = get_args(Profile)
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d{1,3})?", re.IGNORECASE | re.ASCII)
_MAX_WINDOW: Final = 1e12
"""Limit of a window's numbers: beyond any value of 32 bits with any slope."""
THUMBNAIL: Final = Viewport(256, 256)
_THUMBNAIL_QUALITY: Final = 80


def read_options(query: Mapping[str, str], media_type: str) -> RenderOptions:
    """The options of a rendered resource; the defaults are those of the object."""
    annotation = _annotation(query.get("annotation", ""))
    return RenderOptions(
        media_type=media_type,
        quality=_quality(query.get("quality", "")),
        window=_window(query["window"]) if "window" in query else None,
        viewport=_viewport(query["viewport"]) if "viewport" in query else None,
        patient="patient" in annotation,
        technique="technique" in annotation,
        profile=_profile(query.get("iccprofile", "no")),
    )


def read_thumbnail_options(query: Mapping[str, str], media_type: str) -> RenderOptions:
    """The options of a thumbnail, of which only the size can be chosen: `viewport=vw,vh`."""
    text = query.get("viewport")
    if text is not None and text.count(",") > 1:
        raise BadRequest("viewport: only the size of a thumbnail can be chosen: viewport=vw,vh")
    return RenderOptions(
        media_type=media_type, viewport=THUMBNAIL if text is None else _viewport(text), quality=_THUMBNAIL_QUALITY
    )


def _window(text: str) -> Window:
    center, width, *rest = (part.strip() for part in f"{text},".split(","))
    name = rest[0] if rest else ""
    function = FUNCTIONS.get(name.lower().replace("_", "-") or "linear")
    if len(rest) > 2 or function is None or not center or not width:
        raise BadRequest(
            f"window: {text[:80]!r} is not center,width,function with a function of {', '.join(FUNCTIONS)}"
        )
    window = Window(_number("window", center), _number("window", width), function)
    if window.width < 1 if function == "LINEAR" else window.width <= 0:
        raise BadRequest(f"window: a width of {width} is not possible; linear needs 1 or more, the others more than 0")
    return window


def _viewport(text: str) -> Viewport:
    parts = [part.strip() for part in text.split(",")]
    if not 2 <= len(parts) <= 6:
        raise BadRequest(f"viewport: {text[:80]!r} is not vw,vh,sx,sy,sw,sh; the last four may be omitted")
    width, height = (_whole("viewport", part, MAX_SIDE) for part in parts[:2])
    x, y, region_width, region_height = (
        _number("viewport", part) if part else None for part in (*parts[2:], *[""] * (6 - len(parts)))
    )
    if (x or 0) < 0 or (y or 0) < 0 or region_width == 0 or region_height == 0:
        raise BadRequest("viewport: sx and sy begin at 0, and sw and sh may be negative but not 0")
    return Viewport(width, height, x or 0.0, y or 0.0, region_width, region_height)


def _quality(text: str) -> int:
    return _whole("quality", text.strip(), 100) if text else QUALITY


def _annotation(text: str) -> set[str]:
    words = {word.strip().lower() for word in text.split(",")} - {""}
    if not words <= {"patient", "technique"}:
        raise BadRequest(f"annotation: {text[:80]!r} is not patient, technique, or both separated by a comma")
    return words


def _profile(text: str) -> Profile:
    for profile in _PROFILES:
        if text.lower() == profile:
            return profile
    raise BadRequest(f"iccprofile: {text[:80]!r} is not available; there are {', '.join(_PROFILES)}")


def _number(name: str, text: str) -> float:
    number = float(text) if len(text) <= 40 and _NUMBER.fullmatch(text) else math.nan
    if not abs(number) <= _MAX_WINDOW:
        raise BadRequest(f"{name}: {text[:40]!r} is not a usable number")
    return number


def _whole(name: str, text: str, most: int) -> int:
    number = whole_number(text) or 0
    if not 1 <= number <= most:
        raise BadRequest(f"{name}: {text[:40]!r} is not a whole number from 1 to {most}")
    return number


QUALITY_PARAMETER: Final = Parameter("quality", "Quality of lossy compression", at_least(1, 100), "80")
ANNOTATION: Final = Parameter("annotation", "`patient`, `technique`: text to be burned in", example="technique")
PROFILE: Final = Parameter("iccprofile", "Colour space of the answer", one_of(*_PROFILES), "no")
SIZE: Final = Parameter("viewport", "Width and height in pixels, separated by a comma", example="64,64")
RENDERING: Final = (
    ACCEPT,
    QUALITY_PARAMETER,
    Parameter("viewport", "Width and height in pixels, and the region to render", example="64,64"),
    Parameter("window", "Centre, width and function of the VOI LUT", example="40,400"),
    PROFILE,
    ANNOTATION,
)
"""The parameters of a rendered resource (PS3.18 §8.3.5)."""
