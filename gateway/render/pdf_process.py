"""The process that reads one PDF, which may come from anybody: it ends with it, whatever it does.

The library is C++ and has had its holes. It gets the document on standard input, no environment, and so much time,
memory and room for its answer; it cannot start a process. It is built without JavaScript and fetches nothing.
`pdf.py` starts it and has the words for its end.
"""

from __future__ import annotations

import io
import math
import resource
import struct
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

MAX_MEMORY: Final = 512 << 20
"""Bytes of address space: pages of photographs take the most."""
MAX_CPU_S: Final = 10
MAX_PAGES: Final = 200
"""Pages that are counted, and can be drawn."""
MAX_PIXELS: Final = 4_000_000
"""Pixels of a page."""
_PIXELS_PER_POINT: Final = 150 / 72
"""150 dots per inch: 1240 pixels across A4."""
_MAX_SIDE: Final = 10_000
"""Pixels of the longer side, of a page that is long and narrow."""
MAX_ANSWER: Final = 32 << 20
"""Bytes of the answer."""

UNREADABLE: Final = 3
"""The exit code for a document that cannot be read; the reason is on standard output."""
HEAD: Final = struct.Struct("<I")
"""The number of pages, before their sizes."""
SIZE: Final = struct.Struct("<HH")
"""The pixels of a page: columns, rows."""


def main() -> None:
    """Write the sizes of all pages of the document, or with a page from 1 as argument the page as PNG."""
    limit()
    import pypdfium2

    page = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    try:
        document = pypdfium2.PdfDocument(sys.stdin.buffer.read())
        document.init_forms()  # what was entered in a form is drawn
        made = _page(document, page - 1) if page else _sizes(document)
    except pypdfium2.PdfiumError as error:
        sys.stdout.write(str(error))
        sys.stdout.flush()
        sys.exit(UNREADABLE)
    sys.stdout.buffer.write(made)
    sys.stdout.buffer.flush()


def limit() -> None:
    """Set the limits of this process."""
    _bound(resource.RLIMIT_AS, MAX_MEMORY)
    _bound(resource.RLIMIT_CPU, MAX_CPU_S)
    _bound(resource.RLIMIT_FSIZE, MAX_ANSWER)
    _bound(resource.RLIMIT_NPROC, 0)
    _bound(resource.RLIMIT_CORE, 0)


def _bound(what: int, most: int) -> None:
    hard = resource.getrlimit(what)[1]
    bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (bound, bound))


def _sizes(document: PdfDocument) -> bytes:
    count = len(document)
    sizes = [document.get_page_size(number) for number in range(min(count, MAX_PAGES))]
    pixels = [[max(1, math.ceil(points * _scale(*size))) for points in size] for size in sizes]
    return HEAD.pack(count) + b"".join([SIZE.pack(*each) for each in pixels])


def _page(document: PdfDocument, number: int) -> bytes:
    page = document[number]
    picture, target = page.render(scale=_scale(*page.get_size())).to_pil(), io.BytesIO()
    picture.convert("RGB").save(target, "PNG", compress_level=3)
    return target.getvalue()


def _scale(width: float, height: float) -> float:
    """The pixels for each point of a page of so many points."""
    longer, area = max(width, height, 1.0), max(width * height, 1.0)
    return min(_PIXELS_PER_POINT, math.sqrt(MAX_PIXELS / area), _MAX_SIDE / longer)
