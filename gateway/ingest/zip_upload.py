"""Ingesting an uploaded zip archive: every instance in it, wherever it is.

The archive is in a scratch file. Reading its members, and the limits, are in `zip_members.py`.
"""

from __future__ import annotations

import asyncio
import logging
import zipfile
from dataclasses import dataclass
from typing import IO

from gateway.errors import BadRequest, DataSetError, InstanceRefused, NotAnInstance
from gateway.index.store import Origin
from gateway.ingest.file_import import ingest_file
from gateway.ingest.files import READ_ERRORS
from gateway.ingest.ingest import Ingest
from gateway.ingest.outcome import StoreResult
from gateway.ingest.zip_members import Budget, TooMuch, open_member, open_zip
from gateway.storage.scratch import Scratch

log = logging.getLogger(__name__)

_MAX_CONCURRENT = 8


def is_zip(beginning: bytes) -> bool:
    """Whether these are the first four bytes of a zip: a member, or an empty directory (APPNOTE 4.3.7, 4.3.16)."""
    return beginning[:4] in (b"PK\x03\x04", b"PK\x05\x06")


@dataclass(frozen=True, slots=True)
class Member:
    """The result for one file of a zip."""

    name: str
    """The name in the zip."""
    result: StoreResult | None
    """None for a file that is not ingested."""
    reason: str = ""
    """The reason why it is not."""
    is_dicom: bool = True
    """Whether it is a DICOM file, and no DICOMDIR."""


async def ingest_zip(ingest: Ingest, scratch: Scratch, origin: Origin, limit: int) -> list[Member]:
    """Ingest every instance of a zip; returns the result for each file, in the order of the members.

    Instances ingested before an error stay. Raises: BadRequest for a file that is no zip, or unpacks to more than
    `limit` bytes; OutOfSpace; StorageError; DatabaseError.
    """
    with scratch.file() as underlying:
        return await _ingest_members(ingest, underlying, origin, limit)


async def _ingest_members(ingest: Ingest, underlying: IO[bytes], origin: Origin, limit: int) -> list[Member]:
    try:
        archive = await asyncio.to_thread(open_zip, underlying)
    except (zipfile.BadZipFile, OSError) as error:
        raise BadRequest(f"not a zip that can be read: {error}") from None
    members: dict[int, Member] = {}
    room = asyncio.Semaphore(_MAX_CONCURRENT)
    budget = Budget(limit)

    async def work(number: int, member: zipfile.ZipInfo) -> None:
        try:
            with await asyncio.to_thread(open_member, archive, member, budget) as file:
                members[number] = Member(member.filename, await ingest_file(ingest, file, origin))
        except NotAnInstance as error:
            members[number] = Member(member.filename, None, str(error), is_dicom=False)
        except TooMuch as error:
            raise BadRequest(f"{error} (dicomweb.max_upload)") from None
        except (InstanceRefused, DataSetError, *READ_ERRORS) as error:
            members[number] = Member(member.filename, None, str(error) or type(error).__name__)
            log.warning("a file of a zip is not ingested: %s", error)
        finally:
            room.release()

    try:
        async with asyncio.TaskGroup() as group:
            for number, member in enumerate(archive.infolist()):
                if not member.is_dir():
                    await room.acquire()
                    group.create_task(work(number, member))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    finally:
        archive.close()
    return [members[number] for number in sorted(members)]
