"""Image files: JPEG, PNG and GIF from arrays of 8 bits, with a colour profile and text drawn in."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from unicodedata import normalize

from gateway.render.header import Header

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    Array = np.ndarray[Any, np.dtype[Any]]

JPEG: Final = "image/jpeg"
PNG: Final = "image/png"
GIF: Final = "image/gif"
PAM: Final = "image/x-portable-arbitrarymap"
QUALITY: Final = 90
"""Default quality of a JPEG image."""

_FRAME_TIME: Final = 0x00181063
_FRAME_TIME_VECTOR: Final = 0x00181065
_CINE_RATE: Final = 0x00180040
_DISPLAY_RATE: Final = 0x00082144


def encode(
    shown: Array, media_type: str, *, quality: int = QUALITY, profile: bytes = b"", subsampled: bool = True
) -> bytes:
    """Encode uint8 of `(rows, columns)` or `(rows, columns, 3)` to a file of `media_type`.

    `subsampled`: a JPEG has less detail in colours than in brightness.
    """
    image, target = _image(shown), io.BytesIO()
    if media_type == JPEG:
        options: dict[str, Any] = {} if subsampled else {"subsampling": 0}
        image.save(target, "JPEG", quality=quality, icc_profile=profile or None, **options)
    elif media_type == PNG:
        image.save(target, "PNG", compress_level=3, icc_profile=profile or None)
    else:
        image.save(target, "GIF")
    return target.getvalue()


def as_pam(shown: Array) -> bytes:
    """Encode uint8, uint16 or int16 of `(rows, columns)`, or uint8 RGB, as a portable arbitrary map: big endian."""
    rows, columns = shown.shape[:2]
    depth, tuple_type = (1, "GRAYSCALE") if shown.ndim == 2 else (3, "RGB")
    greatest = 255 if shown.dtype.itemsize == 1 else 65535
    head = f"P7\nWIDTH {columns}\nHEIGHT {rows}\nDEPTH {depth}\nMAXVAL {greatest}\nTUPLTYPE {tuple_type}\nENDHDR\n"
    return head.encode() + shown.astype(shown.dtype.newbyteorder(">")).tobytes()


def cine(pictures: Iterator[Array], milliseconds: Sequence[float]) -> bytes:
    """Encode an endless GIF with a duration for each image (browsers replace less than 20 ms by 100)."""
    images = (_image(each) for each in pictures)
    first = next(images)
    durations = [max(20, round(each / 10) * 10) for each in milliseconds]
    target = io.BytesIO()
    first.save(target, "GIF", save_all=True, append_images=images, duration=durations, loop=0, optimize=False)
    return target.getvalue()


def _image(shown: Array) -> Image:
    import numpy as np
    from PIL import Image as Pillow

    return Pillow.fromarray(np.ascontiguousarray(shown))


def frame_times(header: Header, frames: int) -> list[float]:
    """The duration of each frame in milliseconds (PS3.3 C.7.6.5); 100 by default."""
    vector = [each for each in header.numbers(_FRAME_TIME_VECTOR)[1:] if each > 0]
    if len(vector) == frames - 1 and vector:
        return [*vector, vector[-1]]
    time = header.number(_FRAME_TIME) or 0.0
    if time <= 0:
        rate = header.number(_CINE_RATE) or header.number(_DISPLAY_RATE) or 10.0
        time = 1000.0 / rate if rate > 0 else 100.0
    return [min(time, 10_000.0)] * frames


_PATIENT: Final = (0x00100010, 0x00100020, 0x00100030, 0x00100040)
_TECHNIQUE: Final = (
    (0x00080060, "", ""),
    (0x0008103E, "", ""),
    (0x00080020, "", ""),
    (0x00180060, "", " kV"),
    (0x00181151, "", " mA"),
    (0x00180081, "TE ", " ms"),
    (0x00180050, "", " mm"),
    (0x00200011, "Series ", ""),
    (0x00200013, "Image ", ""),
)
"""Attributes drawn in the corner, with the text before and after."""
_MAX_LINE_LENGTH: Final = 64
_NO_LETTER: Final = "\uffff"
"""A character that no font has."""


def annotate(shown: Array, header: Header, *, patient: bool, technique: bool) -> Array:
    """Draw text into an image: the patient at the top left, the technique at the bottom left (PS3.18 §8.3.5.1.1).

    Pillow's own font has ASCII letters only: accents are dropped, and other letters become question marks. All groups
    of a name are drawn.
    """
    import numpy as np
    from PIL import ImageDraw

    image = _image(shown)
    draw = ImageDraw.Draw(image)
    size = min(max(10, image.height // 40), 48)
    if patient:
        _write(draw, size, 0, (_shortened(header.text(tag).replace("^", " ")) for tag in _PATIENT))
    if technique:
        lines = [
            f"{before}{_shortened(header.text(tag))}{after}" for tag, before, after in _TECHNIQUE if header.text(tag)
        ]
        _write(draw, size, image.height - (len(lines) * (size + 3) + 3), lines)
    return np.asarray(image)


def _shortened(text: str) -> str:
    text = "".join(_drawn(letter) if letter.isprintable() else " " for letter in text)
    return text if len(text) <= _MAX_LINE_LENGTH else text[: _MAX_LINE_LENGTH - 1] + "…"


@lru_cache(4096)
def _drawn(letter: str) -> str:
    """A character that the font has: itself, or without its accents, or a question mark.

    The font draws every missing character as the same box.
    """
    from PIL import ImageFont

    font = ImageFont.load_default(16)
    box = bytes(font.getmask(_NO_LETTER))
    plain = normalize("NFKD", letter)[0]
    return next((each for each in (letter, plain) if bytes(font.getmask(each)) != box), "?")


def _write(draw: Any, size: int, top: int, lines: Iterable[str]) -> None:
    from PIL import ImageFont

    font = ImageFont.load_default(size)
    white, black = (255, 0) if draw.mode == "L" else ((255, 255, 255), (0, 0, 0))
    for number, line in enumerate(line for line in lines if line):
        place = (4, top + 3 + number * (size + 3))
        draw.text(place, line, font=font, fill=white, stroke_width=1, stroke_fill=black)


def placeholder(words: Sequence[str], width: int, height: int) -> Array:
    """A grey card with a few words in its middle, for an object without pixels."""
    import numpy as np
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    side = min(width, height)
    image = Pillow.new("L", (side, side), 48)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, side - 1, side - 1), outline=96)
    size = max(8, side // 10)
    for number, word in enumerate(words):
        font = ImageFont.load_default(size if number == 0 else max(8, size * 2 // 3))
        line = _shortened(word)
        while len(line) > 1 and draw.textlength(line, font=font) > side - 8:
            line = line[: -2 if line.endswith("…") else -1].rstrip("… ") + "…"
        y = side / 2 + (number - (len(words) - 1) / 2) * size * 1.4
        draw.text((side / 2, y), line, font=font, fill=220, anchor="mm")
    return np.asarray(image)
