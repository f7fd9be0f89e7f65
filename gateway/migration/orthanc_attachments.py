"""Files that users of an Orthanc attached to its resources: brought, and compared with what is here."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, closing
from typing import Final

from gateway.errors import BadRequest, NotFound, SourceError, StorageError, UnknownResource
from gateway.index.attachments import Attachment, attachment
from gateway.ingest.attached_file import md5, md5_of
from gateway.ingest.attaching import Attaching
from gateway.ingest.data_folder import DataFolder
from gateway.ingest.ingest import Ingest
from gateway.migration import queries
from gateway.migration.ledger import MigrationLedger
from gateway.migration.orthanc_index import OrthancIndex, SourceAttachment, UserFile
from gateway.migration.storage_area import StorageArea

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", re.ASCII)
_OWN: Final = ("dicom", "dicom-as-json", "dicom-until-pixel-data")
"""Names of attachments that are not the user's."""
_START: Final = (-1, -1)
_PIECE_BYTES: Final = 1 << 20


class UserFiles:
    """The user's attachments of one Orthanc, and the data folder that takes them."""

    def __init__(
        self, storage: StorageArea, folder: DataFolder, ledger: MigrationLedger, names: Mapping[int, str]
    ) -> None:
        """`names` are those that Orthanc's configuration gives to numbers."""
        self._storage = storage
        self._folder = folder
        self._ledger = ledger
        self._names = names

    async def bring(self, index: OrthancIndex, ingest: Ingest) -> tuple[int, int]:
        """Attach what the ledger lacks; returns how many were attached, and how many could not be."""
        attaching = Attaching(ingest)
        after, brought, failed = _START, 0, 0
        while page := await asyncio.to_thread(index.user_files, after):
            after = page[-1].place
            for each in page:
                version = each.file.uuid.encode() if each.file is not None else b""
                if each.file is not None and await self._noted(each) == version:
                    continue
                try:
                    brought += await self._attach(attaching, each)
                except (SourceError, NotFound, BadRequest) as error:
                    failed += 1
                    await asyncio.to_thread(self._ledger.write, (queries.ADD_FAILED, _key(each), str(error)))
                else:
                    noted = (queries.ADD_ATTACHED, *each.place, version), (queries.FORGET_FAILED, _key(each))
                    await asyncio.to_thread(self._ledger.write, *noted)
            await asyncio.to_thread(self._ledger.commit)
        return brought, failed

    async def prove(self, index: OrthancIndex) -> AsyncGenerator[tuple[str, str], None]:
        """Name and difference of every attachment; '' for one that is here with all of its bytes."""
        after = _START
        while page := await asyncio.to_thread(index.user_files, after):
            after = page[-1].place
            for each in page:
                yield f"{each.level} {each.public_id}: attachment {self._name(each)}", await self._difference(each)

    async def _attach(self, attaching: Attaching, each: UserFile) -> bool:
        """Whether it was attached now: not if it is here with the same bytes."""
        if each.file is None:
            raise SourceError(each.trouble)
        found = await self._here(each)
        if found is not None and found.md5 == each.file.md5:
            return False
        async with aclosing(self._pieces(each.file)) as pieces:
            await attaching.attach(each.level, await self._public_id(each), self._name(each), pieces)
        return True

    async def _difference(self, each: UserFile) -> str:
        found = await self._here(each)
        if found is None:
            reason = await asyncio.to_thread(self._ledger.value, queries.REASON, _key(each))
            return f"it is not here: {reason or each.trouble or 'it has been deleted here'}"
        if each.file is None:
            return f"it cannot be compared: {each.trouble}"
        try:
            wanted = each.file.md5 or await self._source_md5(each.file)
            here = await asyncio.to_thread(self._md5, found)
        except (SourceError, StorageError) as error:
            return f"it cannot be compared: {error}"
        return "" if here == wanted else "it is here with other bytes"

    async def _here(self, each: UserFile) -> Attachment | None:
        try:
            return await attachment(self._folder.database, each.level, await self._public_id(each), self._name(each))
        except UnknownResource:
            return None

    async def _pieces(self, file: SourceAttachment) -> AsyncGenerator[bytes, None]:
        """The bytes of a file, which are right only once all of them have been read without an error."""
        reader = await asyncio.to_thread(self._storage.open, file)
        try:
            while piece := await asyncio.to_thread(reader.read, _PIECE_BYTES):
                yield piece
        finally:
            await asyncio.to_thread(reader.close)

    async def _source_md5(self, file: SourceAttachment) -> str:
        digest = md5()
        async with aclosing(self._pieces(file)) as pieces:
            async for piece in pieces:
                digest.update(piece)
        return digest.hexdigest()

    def _md5(self, found: Attachment) -> str:
        """MD5 of what is stored here. Blocks."""
        with closing(self._folder.store.open(found.key)) as stored:
            return md5_of(
                stored.read(found.data_offset + at, min(_PIECE_BYTES, found.size - at))
                for at in range(0, found.size, _PIECE_BYTES)
            )

    def _name(self, each: UserFile) -> str:
        name = self._names.get(each.number, "")
        return name if _NAME.fullmatch(name) and name not in _OWN else str(each.number)

    async def _public_id(self, each: UserFile) -> str:
        other = await asyncio.to_thread(self._ledger.value, queries.RENAMED, each.public_id)
        return str(other or each.public_id)

    async def _noted(self, each: UserFile) -> object:
        return await asyncio.to_thread(self._ledger.value, queries.ATTACHED, *each.place)


def _key(each: UserFile) -> str:
    """The name of an attachment in the ledger's list of failures."""
    return f"{each.public_id} {each.number}"
