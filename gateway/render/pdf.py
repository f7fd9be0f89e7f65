"""The pages of a PDF as pictures, so that a page of ours shows a document without anything of it being active.

Each call is a process of its own (`pdf_process.py`), which a hostile document may crash or hang without harm to others.
Blocking, for a thread.
"""

from __future__ import annotations

import os
import subprocess
from typing import Final, NamedTuple

from gateway.errors import DataSetError
from gateway.processes.spawning import command, ending
from gateway.render.pdf_process import HEAD, MAX_MEMORY, MAX_PAGES, SIZE, UNREADABLE

MAX_PDF_BYTES: Final = 64 << 20
"""Bytes of a document that is drawn; a longer one can still be opened."""
WORK_BYTES: Final = MAX_MEMORY
"""Bytes of memory that the process of a document may take."""
_MAX_S: Final = 20.0
"""Seconds after which the process is ended, which has half as many of processor time."""
_MAX_REASON: Final = 200


class PdfOutline(NamedTuple):
    """The pages of a document."""

    page_count: int
    sizes: list[tuple[int, int]]
    """Width and height of the pictures of the first MAX_PAGES pages, in pixels."""


def read_outline(data: bytes) -> bytes:
    """The outline of a document, for `PdfOutline`. Raises DataSetError where it cannot be read."""
    return _run(data)


def outline_of(written: bytes) -> PdfOutline:
    """The outline that `read_outline` has returned."""
    (count,) = HEAD.unpack_from(written)
    return PdfOutline(count, list(SIZE.iter_unpack(written[HEAD.size :])))


def draw_page(data: bytes, page: int) -> bytes:
    """A page of a document, from 1, as PNG. Raises DataSetError where there is none or it cannot be drawn."""
    if not 1 <= page <= MAX_PAGES:
        raise DataSetError(f"the first {MAX_PAGES} pages can be drawn")
    return _run(data, str(page))


def _run(data: bytes, *arguments: str) -> bytes:
    if len(data) > MAX_PDF_BYTES:
        raise DataSetError(f"a document of more than {MAX_PDF_BYTES >> 20} MiB is too long to draw")
    with os.fdopen(os.memfd_create("pdf"), "rb") as answer:
        try:
            done = subprocess.run(
                command("gateway.render.pdf_process", *arguments),
                input=data,
                stdout=answer,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={},
                timeout=_MAX_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise DataSetError(f"drawing it takes more than {_MAX_S:g} s") from None
        answer.seek(0)
        made = answer.read()
    if done.returncode == UNREADABLE:
        raise DataSetError(f"it is no PDF that can be read: {made.decode(errors='replace')[:_MAX_REASON]}")
    if done.returncode != 0:
        raise DataSetError(f"the process that draws it {ending(done.returncode)}")
    return made
