"""Renderings of stored instances: computed in threads of their own and cached.

DICOMweb, WADO-URI and the management API share them; each edge parses its options and encodes its answer, and `render/`
makes the image. Work whose waiter was cancelled is not begun; nothing here runs on the event loop.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Final, TypeVar

from gateway.database.database import Database
from gateway.dicom.uids import transfer_syntax
from gateway.errors import DataSetError, NotFound
from gateway.imaging.cache import Cache, FrameCache
from gateway.index.locate import Located, representative
from gateway.render.extraction import Extraction, Shape, extract, extraction_bytes, samples_of, shape_of
from gateway.render.frame_view import frame_view
from gateway.render.picture import encode, placeholder
from gateway.render.rendering import (
    MAX_CINE_PIXELS,
    RenderOptions,
    Subject,
    cine,
    open_subject,
    render_frame,
    thumbnail,
)
from gateway.retrieve.retrieval import Retrieval
from gateway.storage.store import StoredObject

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

T = TypeVar("T")

_SUBJECTS: Final = 16 << 20
"""Bytes of cached headers, so that the frames of an instance are found once and not for each rendering."""


class Renderer:
    """Renders instances. `executor` bounds the concurrent renderings, `cache` what is cached of them."""

    def __init__(self, database: Database, retrieval: Retrieval, executor: Executor, cache: FrameCache) -> None:
        self._database = database
        self._retrieval = retrieval
        self._memory = retrieval.frame_memory
        self._executor = executor
        self._cache = cache
        self._subjects: Cache[Subject] = Cache("headers of pictures", _SUBJECTS, lambda subject: subject.size)

    async def representative(self, study: str, series: str | None, patient: str = "") -> Located | None:
        """The instance that represents a study or series; None when it does not exist. Raises SeveralPatients."""
        return await representative(self._database, study, series, patient)

    async def derived(self, located: Located, name: str, make: Work[bytes]) -> bytes:
        """Compute anything else from an instance that takes long, cached under a name."""
        return await self._cached(located, (name,), make)

    async def frames(self, located: Located) -> int:
        """The number of frames that can be rendered. Raises NotRenderable, DataSetError, NotFound, StorageError, as all
        here."""
        return await self._run(located, lambda stored, found: len(self._subject(stored, found)))

    async def render(self, located: Located, frame: int | None, options: RenderOptions) -> bytes:
        """Render a frame, from 0, to an image file; None for the representative frame.

        Raises: NotFound when there is no such frame; BadRequest for a viewport outside the image.
        """

        def make(stored: StoredObject, found: Located) -> bytes:
            subject = self._subject(stored, found)
            number = _number(subject, frame, found)
            with self._memory.reserved(subject.work_bytes):
                return render_frame(subject, stored.read, number, options)

        return await self._cached(located, ("frame", frame, options), make)

    async def cine(self, located: Located, options: RenderOptions) -> bytes:
        """Render all frames to a GIF."""

        def make(stored: StoredObject, found: Located) -> bytes:
            subject = self._subject(stored, found)
            with self._memory.reserved(subject.work_bytes + MAX_CINE_PIXELS):
                return cine(subject, stored.read, options)

        return await self._cached(located, ("cine", options), make)

    async def thumbnail(
        self, located: Located, frame: int | None, options: RenderOptions, words: tuple[str, ...]
    ) -> bytes:
        """Render a frame to fit the viewport; for an object without an image, a card with `words` on it."""

        def make(stored: StoredObject, found: Located) -> bytes:
            try:
                subject = self._subject(stored, found)
                number = _number(subject, frame, found)
                with self._memory.reserved(subject.work_bytes):
                    return thumbnail(subject, stored.read, number, options)
            except DataSetError:
                assert options.viewport is not None
                card = placeholder(words, options.viewport.width, options.viewport.height)
                return encode(card, options.media_type, quality=options.quality)

        return await self._cached(located, ("thumbnail", frame, options), make)

    async def extract(self, located: Located, frame: int, extraction: Extraction) -> bytes:
        """Extract a frame, from 0, to an image file as Orthanc has them. Raises BadRequest for too large a picture."""

        def make(stored: StoredObject, found: Located) -> bytes:
            subject = self._subject(stored, found)
            number = _number(subject, frame, found)
            with self._memory.reserved(extraction_bytes(subject, extraction)):
                return extract(subject, stored.read, number, extraction)

        return await self._cached(located, (frame, extraction), make)

    async def view(self, located: Located, frame: int) -> bytes:
        """Read a frame, from 0, for a viewer that windows it by itself."""

        def make(stored: StoredObject, found: Located) -> bytes:
            subject = self._subject(stored, found)
            number = _number(subject, frame, found)
            with self._memory.reserved(extraction_bytes(subject)):
                return frame_view(subject, stored.read, number)

        if transfer_syntax(located.transfer_syntax_uid).encapsulated:
            return await self._cached(located, ("view", frame), make)
        return await self._run(located, make)  # as quickly read again as cached

    async def shapes(self, located: list[Located]) -> list[Shape]:
        """The shapes of the arrays of some instances."""
        return await self._retrieval.map(
            located, lambda stored, found: shape_of(self._subject(stored, found)), self._executor
        )

    def arrays(
        self, located: Located, frame: int | None, write: Callable[[Subject, int, Array], Iterator[bytes]]
    ) -> AsyncGenerator[bytes, None]:
        """Yield what `write` makes of the values of a frame, from 0, or of each frame: decoded one by one, in threads
        ahead of the caller."""

        def work(stored: StoredObject, found: Located) -> Generator[bytes, None, None]:
            subject = self._subject(stored, found)
            for number in range(len(subject)) if frame is None else (_number(subject, frame, found),):
                with self._memory.reserved(extraction_bytes(subject)):
                    array = samples_of(subject, stored.read, number)
                yield from write(subject, number, array)

        return self._retrieval.pieces(located, work, len, decodes=True)

    def _subject(self, stored: StoredObject, found: Located) -> Subject:
        return self._subjects.get(
            found.key, lambda: open_subject(stored.read, found.data_set_offset, found.size, found.transfer_syntax_uid)
        )

    async def _cached(self, located: Located, what: tuple[object, ...], make: Work[bytes]) -> bytes:
        cached = self._cache.peek((located.key, *what))
        if cached is not None:
            return cached

        def work(stored: StoredObject, found: Located) -> bytes:
            return self._cache.get((found.key, *what), lambda: make(stored, found))

        return await self._run(located, work)

    async def _run(self, located: Located, work: Work[T]) -> T:
        (made,) = await self._retrieval.map([located], work, self._executor)
        return made


def _number(subject: Subject, frame: int | None, located: Located) -> int:
    number = subject.representative if frame is None else frame
    if number >= len(subject):
        raise NotFound(f"instance {located.sop_uid} has {len(subject)} frames; there is no frame {number + 1}")
    return number


Work = Callable[[StoredObject, Located], T]
