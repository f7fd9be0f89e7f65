"""Pictures of what is stored: made in threads of their own, kept for the next who asks.

What DICOMweb, WADO-URI and the management API share. What may be asked for and what it is answered with is theirs; how
a picture is made is `imaging/`'s. Work whose waiter goes away is not begun; nothing here runs on the event loop.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final, TypeVar

from gateway.archive.retrieve import Retrieval
from gateway.database.database import Database
from gateway.errors import DataSetError, NotFound
from gateway.imaging.cache import Cache, FrameCache
from gateway.imaging.picture import encode, placeholder
from gateway.imaging.rendering import Subject, Wishes, cine, shown, subject, thumbnail
from gateway.index.locate import Located, representative
from gateway.storage.store import Store, StoredObject

T = TypeVar("T")

_SUBJECTS: Final = 16 << 20
"""Bytes of headers that are kept, so that the frames of an instance are not found anew for each."""


class Pictures:
    """Makes pictures of instances. `executor` bounds how many at once, `cache` what is kept of them."""

    def __init__(self, database: Database, store: Store, executor: Executor, cache: FrameCache) -> None:
        self._database = database
        self._retrieval = Retrieval(database, store, executor)
        self._cache = cache
        self._subjects: Cache[Subject] = Cache(_SUBJECTS, lambda subject: subject.size)

    async def representative(self, study: str, series: str | None) -> Located | None:
        """The instance that stands for a study or series; None where there is no such thing."""
        return await representative(self._database, study, series)

    async def made(self, located: Located, name: str, make: Work[bytes]) -> bytes:
        """Anything else that is made of an instance and takes a while, kept under a name."""
        return await self._kept(located, (name,), make)

    async def frames(self, located: Located) -> int:
        """How many frames of it can be shown. Raises NothingToShow, DataSetError, NotFound, StorageError, as all."""
        return await self._run(located, lambda stored, found: len(self._subject(stored, found)))

    async def picture(self, located: Located, frame: int | None, wishes: Wishes) -> bytes:
        """A file with a frame, from 0; without a number with the one that stands for all.

        NotFound for a frame that there is not, BadRequest for a viewport outside of it.
        """

        def make(stored: StoredObject, found: Located) -> bytes:
            subject = self._subject(stored, found)
            return shown(subject, stored.read, _number(subject, frame, found), wishes)

        return await self._kept(located, ("frame", frame, wishes), make)

    async def cine(self, located: Located, wishes: Wishes) -> bytes:
        """A GIF with all frames."""
        return await self._kept(
            located,
            ("cine", wishes),
            lambda stored, found: cine(self._subject(stored, found), stored.read, wishes),
        )

    async def thumbnail(self, located: Located, frame: int | None, wishes: Wishes, words: tuple[str, ...]) -> bytes:
        """A picture of a frame that fits the viewport; of what cannot be shown a card with `words` on it."""

        def make(stored: StoredObject, found: Located) -> bytes:
            try:
                subject = self._subject(stored, found)
                return thumbnail(subject, stored.read, _number(subject, frame, found), wishes)
            except DataSetError:
                assert wishes.viewport is not None
                card = placeholder(words, wishes.viewport.width, wishes.viewport.height)
                return encode(card, wishes.media_type, quality=wishes.quality)

        return await self._kept(located, ("thumbnail", frame, wishes), make)

    def _subject(self, stored: StoredObject, found: Located) -> Subject:
        return self._subjects.get(
            found.key, lambda: subject(stored.read, found.data_set_offset, found.size, found.transfer_syntax_uid)
        )

    async def _kept(self, located: Located, what: tuple[object, ...], make: Work[bytes]) -> bytes:
        kept = self._cache.peek((located.key, *what))
        if kept is not None:
            return kept

        def work(stored: StoredObject, found: Located) -> bytes:
            return self._cache.get((found.key, *what), lambda: make(stored, found))

        return await self._run(located, work)

    async def _run(self, located: Located, work: Work[T]) -> T:
        (made,) = await self._retrieval.map([located], work)
        return made


def _number(subject: Subject, frame: int | None, located: Located) -> int:
    number = subject.representative if frame is None else frame
    if number >= len(subject):
        raise NotFound(f"instance {located.sop_uid} has {len(subject)} frames; there is no frame {number + 1}")
    return number


Work = Callable[[StoredObject, Located], T]
