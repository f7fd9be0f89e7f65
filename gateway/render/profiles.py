"""Colour profiles (ICC.1): the object's own, the well-known ones of PS3.18 §8.3.5.1.5, and conversion between them.

Pillow has sRGB; the others are built here from matrices and curves, so that no files need to be shipped.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal

from gateway.render.header import Header

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

Profile = Literal["no", "yes", "srgb", "adobergb", "rommrgb", "displayp3"]

_ICC_PROFILE: Final = 0x00282000
_OPTICAL_PATH_SEQUENCE: Final = 0x00480105
_D50: Final = (0.9642, 1.0, 0.8249)
_MATRICES: Final = {
    "adobergb": ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)),
    "rommrgb": ((0.79767, 0.28804, 0.0), (0.13519, 0.71187, 0.0), (0.03134, 0.00009, 0.82490)),
    "displayp3": ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)),
}
"""Red, green and blue in XYZ, adapted to D50."""
_POINTS: Final = 1024


def _srgb_curve(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)


def _romm_curve(value: float) -> float:
    return value / 16.0 if value < 16.0 * 0.001953125 else float(value**1.8)


_CURVES: Final[dict[str, Callable[[float], float]]] = {
    "adobergb": lambda value: float(value**2.19921875),
    "rommrgb": _romm_curve,
    "displayp3": _srgb_curve,
}


def own(header: Header) -> bytes:
    """The profile in the data set; b"" for none."""
    path = header.item(_OPTICAL_PATH_SEQUENCE)
    return header.data(_ICC_PROFILE) or (path.data(_ICC_PROFILE) if path is not None else b"")


def with_profile(shown: Array, header: Header, option: Profile) -> tuple[Array, bytes]:
    """Convert an image to the requested colours; returns RGB and its profile. `yes`: the object's profile, or sRGB.

    An object without a usable profile counts as sRGB.
    """
    import numpy as np
    from PIL import Image, ImageCms

    if shown.ndim == 2:
        shown = np.repeat(shown[..., np.newaxis], 3, axis=2)
    source = own(header)
    target = source if option == "yes" and source else _named("srgb" if option == "yes" else option)
    if target in (source, _named("srgb") if not source else b""):
        return shown, target
    try:
        changed = ImageCms.profileToProfile(
            Image.fromarray(np.ascontiguousarray(shown)),
            ImageCms.ImageCmsProfile(io.BytesIO(source or _named("srgb"))),
            ImageCms.ImageCmsProfile(io.BytesIO(target)),
        )
    except (ImageCms.PyCMSError, OSError):
        return shown, _named("srgb")
    return np.asarray(changed), target


@cache
def _named(name: str) -> bytes:
    if name == "srgb":
        from PIL import ImageCms

        return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return _written(name)


def _written(name: str) -> bytes:
    """Write a display profile of version 2.4 (ICC.1:2001-04): three colorants and one curve."""
    text = name.encode("ascii") + b"\0"
    description = b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78)
    values = (round(_CURVES[name](index / (_POINTS - 1)) * 65535) for index in range(_POINTS))
    curve = b"curv" + bytes(4) + struct.pack(f">I{_POINTS}H", _POINTS, *values)
    tags = [(b"desc", description), (b"cprt", b"text" + bytes(4) + b"No copyright\0"), (b"wtpt", _xyz(_D50))]
    tags += list(zip((b"rXYZ", b"gXYZ", b"bXYZ"), map(_xyz, _MATRICES[name]), strict=True))
    table, body = b"", b""
    first = 128 + 4 + 12 * (len(tags) + 3)
    for tag, content in tags:
        table += struct.pack(">4sII", tag, first + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    for tag in (b"rTRC", b"gTRC", b"bTRC"):  # one shared curve
        table += struct.pack(">4sII", tag, first + len(body), len(curve))
    body += curve + bytes(-len(curve) % 4)
    head = struct.pack(
        ">I4sI4s4s4s6H4sI12xI8xI3i",
        first + len(body),
        *(b"\0\0\0\0", 0x02400000, b"mntr", b"RGB ", b"XYZ ", 2026, 1, 1, 0, 0, 0, b"acsp", 0, 0, 0),
        *(round(value * 65536) for value in _D50),
    )
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags) + 3) + table + body


def _xyz(values: tuple[float, float, float]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))
