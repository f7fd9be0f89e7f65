"""Destinations of kind `folder`: each instance a DICOM file, named by a template.

A file is whole and on the disk before it has its name: others may look at the folder at any time. A file that is there
is never replaced: the same bytes are fine, others get a name of their own. Names are `template.py`'s.
"""

from __future__ import annotations

import asyncio
import errno
import filecmp
import glob
import os
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple

from gateway.config.destinations import FolderDestination
from gateway.dicom.decode import read_data_set
from gateway.dicom.part10 import read_header
from gateway.errors import DataSetError
from gateway.remote.destination import Answer, DestinationUnavailable, Named
from gateway.remote.metering import Bandwidth, Metered
from gateway.remote.outgoing_file import choosing, file_of, unreadable
from gateway.remote.template import Template, numbered
from gateway.scu.sending import Instance
from gateway.storage.filesystem import sync_folder

Items = TypeVarTuple("Items")
Result = TypeVar("Result")

_STUDY, _SERIES, _SOP = "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"
_LARGEST_VALUE: Final = 1024
"""Bytes of an attribute that a name is made of."""
_ANY: Final = "\ue000"
"""Stands for what may be anything, in a name that is looked for."""
_INFLATE_LIMIT: Final = 16 << 20
_MOST_ALIKE: Final = 1000
"""Files whose names differ by their number alone."""
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL})
"""How file systems without hard links, such as shares of Windows, say so."""


class Folder:
    """A folder by its path."""

    def __init__(self, name: str, section: FolderDestination) -> None:
        """Raises ConfigurationError."""
        self._name = name
        self._root = Path(section.path)
        self._template = Template.parse(f"destinations.{name}.name", section.name)
        self._choose = choosing(section.transfer_syntaxes)
        self._bandwidth = Bandwidth(section.bandwidth)
        self._turn = asyncio.Semaphore(section.connections)

    async def send(self, instance: Instance) -> Answer:
        """As `Destination.send`."""
        metered = Metered(instance, self._bandwidth)
        async with self._turn:
            try:
                content = await metered.prepare(self._choose)
            except Exception as error:
                return unreadable(error)
            try:
                async with aclosing(file_of(metered, content)) as pieces:
                    return await self._write(metered, pieces)
            finally:
                content.close()

    async def has(self, instances: Sequence[Named]) -> set[str]:
        """By looking. Of what a name has beside the three UIDs anything will do."""
        try:
            return await asyncio.to_thread(self._look, instances)
        except OSError as error:
            raise self._unavailable(error) from None

    async def close(self) -> None:
        """Nothing is open between two instances."""

    async def _write(self, metered: Metered, pieces: AsyncGenerator[bytes, None]) -> Answer:
        target = _Target(self._root, self._template)
        try:
            await _in_thread(target.open)
            async for piece in _read(pieces):
                await _in_thread(target.write, piece)
            name = await _in_thread(target.place)
        except _Unreadable as error:
            return unreadable(error.why, metered.sent)
        except DataSetError as error:
            return Answer("refused", None, f"no name can be made of it: {error}", metered.sent)
        except OSError as error:
            raise self._unavailable(error) from None
        finally:
            await _in_thread(target.discard)
        if name is None:
            return Answer("refused", None, f"there are {_MOST_ALIKE} files of its name already", metered.sent)
        return Answer("delivered", None, name, metered.sent)

    def _unavailable(self, error: OSError) -> DestinationUnavailable:
        text = f"{self._name}: {self._root}: {(error.strerror or str(error)).lower()}"
        if isinstance(error, FileNotFoundError):
            text += "; it must be there (is it mounted?)"
        return DestinationUnavailable(text)

    def _look(self, instances: Sequence[Named]) -> set[str]:
        self._root.stat()
        found = set()
        for uids in instances:
            known = dict(zip((_STUDY, _SERIES, _SOP), uids, strict=True))
            parts = [glob.escape(part).replace(_ANY, "*") for part in self._template.path(known, missing=_ANY)]
            where, name = "/".join(parts[:-1]), parts[-1]
            stem, dot, suffix = name.rpartition(".")
            for each in (name, f"{stem}~*.{suffix}" if dot else f"{name}~*"):
                if any(_holds(path, uids[2]) for path in self._root.glob(f"{where}/{each}" if where else each)):
                    found.add(uids[2])
                    break
        return found


class _Unreadable(Exception):
    """Reading an instance failed, not writing it."""

    def __init__(self, why: Exception) -> None:
        super().__init__(str(why))
        self.why = why


class _Target:
    """One file on its way into the folder. All of it blocks."""

    def __init__(self, root: Path, template: Template) -> None:
        self._root = root
        self._template = template
        self._temporary = root / f".{secrets.token_hex(16)}.part"
        self._file = -1

    def open(self) -> None:
        self._file = os.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)

    def write(self, piece: bytes) -> None:
        view = memoryview(piece)
        while view:
            view = view[os.write(self._file, view) :]

    def place(self) -> str | None:
        """Give it its name; the path within the folder, or None where all names are taken. Raises DataSetError."""
        os.fsync(self._file)
        *folders, name = self._template.path(_attributes(self._file, self._template))
        where = self._root
        for part in folders:
            where = where / part
            try:
                where.mkdir(0o750)
            except FileExistsError:
                continue
            sync_folder(where.parent)
        for number in range(1, _MOST_ALIKE + 1):
            path = where / (name if number == 1 else numbered(name, number))
            if self._take(path):
                sync_folder(where)
                return str(path.relative_to(self._root))
        return None

    def discard(self) -> None:
        """What has not been given a name goes."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            with suppress(FileNotFoundError):
                self._temporary.unlink()

    def _take(self, path: Path) -> bool:
        """Whether it has that name now, or a file with its very bytes has it."""
        try:
            os.link(self._temporary, path)
        except FileExistsError:
            return path.is_file() and filecmp.cmp(self._temporary, path, shallow=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if os.path.lexists(path):
                return path.is_file() and filecmp.cmp(self._temporary, path, shallow=False)
            self._temporary.rename(path)
        return True


def _attributes(file: int, template: Template) -> dict[str, str]:
    """The values of those that names are made of. Raises DataSetError."""
    tags = {tag: keyword for keyword, tag in template.tags.items()}

    def read(offset: int, length: int) -> bytes:
        return os.pread(file, length, offset)

    meta = read_header(read)
    found = read_data_set(
        read,
        meta.data_set_offset,
        os.fstat(file).st_size,
        meta.transfer_syntax_uid,
        lambda tag, length: tag in tags and length <= _LARGEST_VALUE,
        most=len(tags),
        inflate_limit=_INFLATE_LIMIT,
    )
    return {tags[tag]: "_".join(str(value) for value in each.values) for tag, each in found.items()}


def _holds(path: Path, uid: str) -> bool:
    """Whether it is a file of that instance: a name can be made without its UID."""
    try:
        with path.open("rb") as file:
            return read_header(lambda offset, length: os.pread(file.fileno(), length, offset)).sop_instance_uid == uid
    except (OSError, DataSetError):
        return False


async def _read(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    try:
        async for piece in pieces:
            yield piece
    except Exception as error:
        raise _Unreadable(error) from error


async def _in_thread(function: Callable[[*Items], Result], *arguments: *Items) -> Result:
    """As `asyncio.to_thread`; cancelled, it waits for the thread, which has the file in its hands."""
    task = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
