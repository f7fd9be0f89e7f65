"""Broken compressed frames by the thousand, decoded in a process of their own: `python -m tests.support.streams`.

Codecs are C: what goes wrong in them ends the process, so it must not be that of the tests. Arguments: a transfer
syntax, a seed, how many. It ends with 0 where each was decoded or refused, within 2 GiB of addresses; the frame at
which it dies stands in the file named last.
"""

from __future__ import annotations

import random
import resource
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from gateway.dicom.uids import TRANSFER_SYNTAXES
from gateway.errors import DataSetError, UnsupportedTransferSyntax
from gateway.imaging.decode import decode_frame
from gateway.imaging.encode import encode_frame, photometric
from gateway.imaging.image import Image

ADDRESSES = 2 << 30
ROWS, COLUMNS = 24, 32
MARKERS = tuple(
    bytes((0xFF, code))
    for code in bytes.fromhex("4f 51 52 53 55 5c 64 90 93 c0 c3 c4 d8 d9 da db dd ee f7 f8 ff 01 0a")
)
"""Of JPEG, JPEG-LS, JPEG 2000 and JPEG XL."""


def images() -> Iterator[Image]:
    yield Image(ROWS, COLUMNS, 1, "MONOCHROME2", 8, 8, False, 1)
    yield Image(ROWS, COLUMNS, 1, "MONOCHROME2", 16, 12, False, 1)
    yield Image(ROWS, COLUMNS, 1, "MONOCHROME2", 16, 16, True, 1)
    yield Image(ROWS, COLUMNS, 3, "RGB", 8, 8, False, 1)
    yield Image(ROWS, COLUMNS, 3, "YBR_FULL", 8, 8, False, 1)


def whole(uid: str) -> list[tuple[Image, bytes]]:
    """Frames as they should be, with and without loss."""
    found = []
    syntax = TRANSFER_SYNTAXES[uid]
    for image in images():
        count = ROWS * COLUMNS * image.samples_per_pixel
        kind = f"<{'i' if image.signed else 'u'}{image.bits_allocated // 8}"
        pixels = np.random.default_rng(1).normal(100, 20, count).clip(0, 250).astype(kind).tobytes()
        for quality in (None, 80):
            try:
                stored = replace(image, photometric_interpretation=photometric(image, syntax, quality))
                found.append((stored, encode_frame(pixels, image, syntax, quality)))
            except UnsupportedTransferSyntax:
                pass
    return found


def broken(data: bytes, source: random.Random) -> bytes:
    """Bytes changed, put in and left out, most of them in the header; markers where none were; cut short."""
    out = bytearray(data)
    reach = source.choice((40, 120, 400, len(out)))
    for _ in range(source.choice((1, 1, 2, 3, 8, 30))):
        at = source.randrange(min(reach, len(out)))
        match source.randrange(6):
            case 0 | 1:
                out[at] = source.randrange(256)
            case 2:
                out[at] = source.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 3:
                out[at : at + 2] = source.choice(MARKERS)
            case 4:
                del out[at : at + source.randrange(1, 8)]
            case _:
                start = source.randrange(len(data))
                out[at:at] = data[start : start + source.randrange(1, 16)]
        out = out or bytearray(b"\0")
    if source.random() < 0.2:
        out = out[: source.randrange(len(out))] + source.choice((b"", b"\xff\xd9"))
    return bytes(out)


def main(uid: str, seed: str, count: str, last: str) -> int:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    source = random.Random(int(seed))
    cases = whole(uid)
    decoded = 0
    with Path(last).open("wb", buffering=0) as file:
        for _ in range(int(count)):
            image, data = source.choice(cases)
            data = broken(data, source)
            file.seek(0)
            file.truncate()
            file.write(data)
            try:
                assert len(decode_frame(data, TRANSFER_SYNTAXES[uid], image)) == image.frame_size
                decoded += 1
            except DataSetError:
                pass
    print(f"{decoded} of {count} were decoded all the same")
    return 0 if 0 < decoded < int(count) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
