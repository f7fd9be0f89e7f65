"""De-identification of stored instances: exported as files, or stored beside the originals."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

from gateway.database.database import Database
from gateway.dicom import part10
from gateway.dicom.levels import Level
from gateway.dicom.source import Read
from gateway.edit.edited import Edited
from gateway.errors import DataSetError, EditError, InstanceRefused, NotFound
from gateway.imaging.workspace import Workspace
from gateway.index.annotations import MadeBy, note_origins
from gateway.index.locate import Identity, Located, identified, located_by_public_id
from gateway.index.record import InstanceRecord
from gateway.index.store import Origin
from gateway.ingest.ingest import Ingest
from gateway.ingest.outcome import StoreResult
from gateway.ingest.part10_receiver import receive
from gateway.retrieve.retrieval import Retrieval
from gateway.storage.store import StoredObject

_PIECE = 1 << 20


@dataclass(slots=True)
class Anonymized:
    """The outcome for the instances of one resource."""

    taken: StoreResult | None = None
    """The result of the last instance stored."""
    count: int = 0
    failed: list[str] = field(default_factory=list)
    """Reasons of failure."""


class Editor(Protocol):
    """A Deidentifier or a ChangeSet."""

    def apply(self, read: Read, start: int, end: int, transfer_syntax_uid: str, *, workspace: Workspace) -> Edited: ...


class Anonymizing:
    def __init__(self, database: Database, retrieval: Retrieval, ingest: Ingest) -> None:
        self._database = database
        self._retrieval = retrieval
        self._ingest = ingest

    async def file(self, public_id: str, editor: Editor) -> AsyncGenerator[bytes, None]:
        """The file of one instance in chunks. Raises, before the first chunk: EditError, DataSetError, NotFound."""
        async for located in located_by_public_id(self._database, "instance", public_id):
            async with aclosing(self._pieces(located, editor)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        raise NotFound(f"there is no instance {public_id}")

    async def store(self, level: Level, public_id: str, editor: Editor, origin: Origin, made_by: MadeBy) -> Anonymized:
        """Store the edited instances of a resource; counts those that fail. Raises NotFound when the resource is
        unknown.

        Metadata of the name `made_by` say of which resource each was made.
        """
        done = Anonymized()
        async for page in identified(self._database, level, public_id):
            pairs = []
            for identity, located in page:
                try:
                    done.taken = await receive(self._ingest, self._pieces(located, editor), origin)
                    pairs.append((_identity(done.taken.record), identity))
                except (EditError, DataSetError, InstanceRefused) as error:
                    done.failed.append(str(error))
                done.count += 1
            await self._database.write(functools.partial(note_origins, made_by, pairs))
        if not done.count:
            raise NotFound(f"there is no {level} {public_id}")
        return done

    def _pieces(self, located: Located, editor: Editor) -> AsyncGenerator[bytes, None]:
        def work(stored: StoredObject, located: Located) -> Generator[bytes, None, None]:
            edited = editor.apply(
                stored.read,
                located.data_set_offset,
                located.size,
                located.transfer_syntax_uid,
                workspace=self._retrieval.workspace,
            )
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


def _identity(record: InstanceRecord) -> Identity:
    parents = record.parents
    return Identity(parents.patient_public_id, parents.study_public_id, parents.series_public_id, record.public_id)
