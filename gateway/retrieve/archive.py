"""Archives: the files of patients, studies, series and instances in one zip, in folders or as a medium (PS3.10 §8).

Nothing is stored: the zip is made as it is read. Jobs that write one to the disk are in `systems/archive_jobs.py`.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import Final

import msgspec

from gateway.database.database import Database
from gateway.dicom.levels import Level
from gateway.index import attributes as tags
from gateway.index.locate import Identity, Located, identified
from gateway.index.resources import resources_below
from gateway.retrieve.archive_names import ArchiveNames
from gateway.retrieve.media import MediaRecords
from gateway.retrieve.opened import Content
from gateway.retrieve.retrieval import Retrieval, obtainable
from gateway.retrieve.zip_stream import ZipEntry, zip_stream

MAX_FILES: Final = 100_000
"""Instances in one archive: each takes several hundred bytes of memory until the directory is written, and the names of
files on a medium have eight characters."""
_PIECE: Final = 256 << 10


Chunks = AsyncGenerator[bytes, None]
Entries = AsyncGenerator[ZipEntry, None]


class ArchiveContent(msgspec.Struct, frozen=True):
    """The resources whose files an archive has, and the form of the archive."""

    resources: tuple[tuple[str, Level], ...]
    """Public ids and levels; none is below another one."""
    media: bool = False
    """A DICOMDIR, and files with names for it."""
    extended: bool = False
    """The records of the DICOMDIR have more than they must have."""
    transfer_syntax_uid: str = ""
    """Files have this transfer syntax, if they can have it; '': the stored one."""
    quality: int | None = None
    """Quality with which pixels may be compressed with loss, 1 to 100; None: they may not."""


class Archives:
    """Makes archives."""

    def __init__(self, database: Database, retrieval: Retrieval) -> None:
        self._database = database
        self._retrieval = retrieval

    def chunks(self, content: ArchiveContent, file_done: Callable[[int], None] = lambda size: None) -> Chunks:
        """The zip in chunks. `file_done` is called with the bytes of each instance, as it is stored, once it is in.

        Raises: NotFound for an instance that is deleted meanwhile; StorageError.
        """
        entries = self._media(content, file_done) if content.media else self._folders(content, file_done)
        return zip_stream(self._retrieval, entries)

    async def _folders(self, content: ArchiveContent, file_done: Callable[[int], None]) -> Entries:
        names = ArchiveNames(self._database)
        async with aclosing(self._opened(content)) as files:
            async for _patient, opened in files:
                yield ZipEntry(await names.name(opened.located), opened.chunks())
                file_done(opened.located.size)

    async def _media(self, content: ArchiveContent, file_done: Callable[[int], None]) -> Entries:
        records = MediaRecords(self._retrieval, extended=content.extended)
        number = 0
        async with aclosing(self._opened(content)) as files:
            async for patient, opened in files:
                file_id = "IMAGES", f"IM{number}"
                await records.add(patient, opened, file_id)
                yield ZipEntry("/".join(file_id), opened.chunks())
                file_done(opened.located.size)
                number += 1
        uid = f"2.25.{uuid.uuid4().int}"
        yield ZipEntry("DICOMDIR", _in_pieces(records.directory.encode(uid)))

    async def _opened(self, content: ArchiveContent) -> AsyncGenerator[tuple[str, Content], None]:
        """The instances, opened, each with the public id of its patient."""
        target, waiting = content.transfer_syntax_uid, deque[tuple[str, int]]()

        async def located() -> AsyncGenerator[Located, None]:
            async for patient, each in _instances(self._database, self._retrieval, content.resources):
                waiting.append((patient, each.id))
                yield each

        def choose(stored: str) -> str:
            return target if target and obtainable(stored, target, content.quality) else stored

        opened = self._retrieval.opened(
            located(), choose, lambda _stored: True, lambda _located, _error: None, quality=content.quality
        )
        async with aclosing(opened) as contents:
            async for each in contents:
                patient, row = waiting.popleft()
                while row != each.located.id:  # Those before it were left out.
                    patient, row = waiting.popleft()
                yield patient, each


async def _instances(
    database: Database, retrieval: Retrieval, resources: Iterable[tuple[str, Level]]
) -> AsyncIterator[tuple[str, Located]]:
    """The instances of resources, series by series in the order of their numbers, with the public ids of patients."""
    for public_id, level in resources:
        if level == "patient":
            async for studies in resources_below(database, "patient", public_id, "study"):
                for study in studies:
                    async for page in retrieval.pages(study.attributes[tags.STUDY_INSTANCE_UID], patient=public_id):
                        for each in page:
                            yield public_id, each
            continue
        first = await _first(database, level, public_id)
        if first is None:
            continue
        identity, located = first
        series = located.series_uid if level != "study" else None
        instance = located.sop_uid if level == "instance" else None
        async for page in retrieval.pages(located.study_uid, series, instance, identity.patient):
            for each in page:
                yield identity.patient, each


async def _first(database: Database, level: Level, public_id: str) -> tuple[Identity, Located] | None:
    async for page in identified(database, level, public_id, 1):
        return page[0]
    return None


async def _in_pieces(parts: Iterable[bytes]) -> AsyncGenerator[bytes, None]:
    """Join small parts to pieces that are worth a visit to a thread."""
    piece = bytearray()
    for part in parts:
        piece += part
        if len(piece) >= _PIECE:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)
