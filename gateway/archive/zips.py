"""A zip archive that somebody has uploaded: every instance in it, wherever it lies, through the ingest.

The archive stands in a scratch file. Nobody is believed: the size of the directory is looked at before it is read, and
what members unpack to is counted.
"""

from __future__ import annotations

import asyncio
import logging
import struct
import zipfile
from collections.abc import Callable
from typing import IO, Final, TypeVar

from gateway.archive.files import TROUBLES
from gateway.archive.importing import take_in
from gateway.archive.ingest import Ingest, Taken
from gateway.errors import BadRequest, DataSetError, InstanceRefused, NotAnInstance
from gateway.index.store import Origin
from gateway.storage.scratch import Scratch

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_DIRECTORY: Final = 8 << 20
"""Bytes of the directory of a zip: some 80 000 members, each of which costs half a kilobyte of memory."""
_AT_ONCE = 8
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")


def is_zip(beginning: bytes) -> bool:
    """By its first four bytes: a member, or nothing but the end of a directory (APPNOTE 4.3.7, 4.3.16)."""
    return beginning[:4] in (b"PK\x03\x04", b"PK\x05\x06")


async def take_in_zip(
    ingest: Ingest, scratch: Scratch, origin: Origin, limit: int, receipt: Callable[[Taken], T]
) -> list[T]:
    """What `receipt` makes of each instance, in the order of the members; other files and broken ones are passed over.

    Raises BadRequest for what is no zip, or unpacks to more than `limit` bytes; OutOfSpace, StorageError,
    DatabaseError. What has been taken in by then stays.
    """
    size = await asyncio.to_thread(_directory_size, scratch)
    if size > MAX_DIRECTORY:
        raise BadRequest(f"the directory of the zip has {size} bytes; at most {MAX_DIRECTORY} are taken")
    with scratch.file() as underlying:
        return await _take_in(ingest, underlying, origin, limit, receipt)


async def _take_in(
    ingest: Ingest, underlying: IO[bytes], origin: Origin, limit: int, receipt: Callable[[Taken], T]
) -> list[T]:
    try:
        archive = await asyncio.to_thread(zipfile.ZipFile, underlying)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise BadRequest(f"not a zip that can be read: {error}") from None
    found: dict[int, T] = {}
    room = asyncio.Semaphore(_AT_ONCE)
    budget = _Budget(limit)

    async def work(number: int, member: zipfile.ZipInfo) -> None:
        try:
            with await asyncio.to_thread(archive.open, member) as file:
                found[number] = receipt(await take_in(ingest, _Counted(file, budget), origin))
        except NotAnInstance:
            pass
        except (InstanceRefused, DataSetError, *TROUBLES) as error:
            log.warning("a file of a zip is not taken in: %s", error)
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
    return [found[number] for number in sorted(found)]


class _Budget:
    def __init__(self, left: int) -> None:
        self.left = left


class _Counted:
    """A member of a zip, of whose bytes every one is counted."""

    def __init__(self, file: IO[bytes], budget: _Budget) -> None:
        self._file = file
        self._budget = budget

    def read(self, length: int) -> bytes:
        data = self._file.read(length)
        self._budget.left -= len(data)
        if self._budget.left < 0:
            raise BadRequest("the zip unpacks to more bytes than are taken (dicomweb.max_upload)")
        return data


def _directory_size(scratch: Scratch) -> int:
    """Bytes of the directory as the end of the archive has it (APPNOTE 4.3.16, 4.3.14): what zipfile would read."""
    length = min(scratch.size, _END.size + 0xFFFF)
    tail = scratch.read(scratch.size - length, length)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + _END.size:
        raise BadRequest("not a zip: it has no end of a directory")
    size = int(_END.unpack_from(tail, at)[5])
    locator = scratch.size - length + at - _LOCATOR64.size
    if locator >= 0:
        signature, _disk, offset, _disks = _LOCATOR64.unpack(scratch.read(locator, _LOCATOR64.size))
        record = scratch.read(min(offset, scratch.size), _END64.size)
        if signature == b"PK\6\7":
            # zipfile looks for the record right before its locator, wherever the locator says it is.
            before = scratch.read(max(0, locator - _END64.size), _END64.size)
            sizes = [int(_END64.unpack(each)[8]) for each in (record, before) if len(each) == _END64.size]
            size = max([size if size != 0xFFFFFFFF else 0, *sizes])
    return size
