"""Stored instances de-identified: as files to be given away, or taken in beside the originals."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

from gateway.archive.arrival import receive
from gateway.archive.ingest import Ingest, Taken
from gateway.archive.retrieve import Retrieval
from gateway.database.database import Database
from gateway.dicom import part10
from gateway.dicom.source import Read
from gateway.edit.edited import Edited
from gateway.errors import DataSetError, EditError, InstanceRefused, NotFound
from gateway.index.locate import Located, located_by_public_id
from gateway.index.remove import Level
from gateway.index.store import Origin
from gateway.storage.store import StoredObject

_PIECE = 1 << 20


@dataclass(slots=True)
class Anonymized:
    """What became of the instances of a resource."""

    taken: Taken | None = None
    """The last one that was taken in."""
    count: int = 0
    failed: list[str] = field(default_factory=list)
    """Reasons."""


class Editor(Protocol):
    """A Deidentifier or a ChangeSet."""

    def apply(self, read: Read, start: int, end: int, transfer_syntax_uid: str) -> Edited: ...


class Anonymizing:
    def __init__(self, database: Database, retrieval: Retrieval, ingest: Ingest) -> None:
        self._database = database
        self._retrieval = retrieval
        self._ingest = ingest

    async def file(self, public_id: str, editor: Editor) -> AsyncGenerator[bytes, None]:
        """The file of one instance in pieces. EditError, DataSetError before the first, NotFound."""
        async for located in located_by_public_id(self._database, "instance", public_id):
            async with aclosing(self._pieces(located, editor)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        raise NotFound(f"there is no instance {public_id}")

    async def store(self, level: Level, public_id: str, editor: Editor, origin: Origin) -> Anonymized:
        """Take in what all instances of a resource become; those that may not pass are counted. NotFound."""
        done = Anonymized()
        async for located in located_by_public_id(self._database, level, public_id):
            try:
                done.taken = await receive(self._ingest, self._pieces(located, editor), origin)
            except (EditError, DataSetError, InstanceRefused) as error:
                done.failed.append(str(error))
            done.count += 1
        if not done.count:
            raise NotFound(f"there is no {level} {public_id}")
        return done

    def _pieces(self, located: Located, editor: Editor) -> AsyncGenerator[bytes, None]:
        def work(stored: StoredObject, located: Located) -> Generator[bytes, None, None]:
            edited = editor.apply(stored.read, located.data_set_offset, located.size, located.transfer_syntax_uid)
            try:
                yield part10.file_header(
                    sop_class_uid=edited.sop_class_uid,
                    sop_instance_uid=edited.sop_instance_uid,
                    transfer_syntax_uid=edited.transfer_syntax_uid,
                )
                for at in range(0, edited.length, _PIECE):
                    yield edited.read(at, _PIECE)
            finally:
                edited.close()

        return self._retrieval.pieces(located, work, len, decodes=True)
