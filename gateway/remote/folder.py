"""Destinations of kind `folder`: each instance is a DICOM file, named by a template.

A file is complete and synced before it gets its name, since other programs may read the folder at any time. An existing
file is never replaced: equal bytes count as delivered, others get a name of their own. `template.py` makes the names.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import glob
import os
import re
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
from gateway.remote.outgoing_file import choosing, file_of, unreadable
from gateway.remote.rate_limit import Bandwidth, RateLimited
from gateway.remote.template import Template, numbered
from gateway.scu.transfer import Instance
from gateway.storage import naming
from gateway.storage.naming import name_file, sync_folder

Items = TypeVarTuple("Items")
Result = TypeVar("Result")

_STUDY, _SERIES, _SOP = "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"
_MAX_VALUE_BYTES: Final = 1024
"""Bytes of an attribute used in a name."""
_ANY: Final = "\ue000"
"""Stands for any text, in a name that is searched for."""
_INFLATE_LIMIT: Final = 16 << 20
_TEMPORARY: Final = re.compile(r"\.[0-9a-f]{32}\.part")
_TRIES: Final = 3
"""Attempts at a temporary file, since another gateway that sweeps the folder may remove it."""
_MAX_ALIKE: Final = 1000
"""Files whose names differ by their number alone."""


class Folder:
    """A folder as a destination."""

    def __init__(self, name: str, section: FolderDestination) -> None:
        """Raises ConfigurationError for an invalid name template."""
        self._name = name
        self._root = Path(section.path)
        self._template = Template.parse(f"destinations.{name}.name", section.name)
        self._choose = choosing(section.transfer_syntaxes)
        self._bandwidth = Bandwidth(section.bandwidth)
        self._turn = asyncio.Semaphore(section.connections)
        self._swept = False

    async def send(self, instance: Instance) -> Answer:
        """Write one instance; see `Destination.send`."""
        limited = RateLimited(instance, self._bandwidth)
        async with self._turn:
            if not self._swept:
                self._swept = True
                await _in_thread(_sweep, self._root)
            try:
                content = await limited.prepare(self._choose)
            except Exception as error:
                return unreadable(error)
            try:
                async with aclosing(file_of(limited, content)) as pieces:
                    return await self._write(limited, pieces)
            finally:
                content.close()

    async def has(self, instances: Sequence[Named]) -> set[str]:
        """Look for files under the possible names of each instance; any text stands for attributes beside the three
        UIDs."""
        try:
            return await asyncio.to_thread(self._look, instances)
        except OSError as error:
            raise self._unavailable(error) from None

    async def close(self) -> None:
        """Do nothing: no file is open between two instances."""

    async def _write(self, limited: RateLimited, pieces: AsyncGenerator[bytes, None]) -> Answer:
        target = _Target(self._root, self._template)
        try:
            await _in_thread(target.open)
            async for piece in _read(pieces):
                await _in_thread(target.write, piece)
            name = await _in_thread(target.place)
        except _Unreadable as error:
            return unreadable(error.why, limited.sent)
        except DataSetError as error:
            return Answer("refused", None, f"no file name can be made from the instance: {error}", limited.sent)
        except OSError as error:
            raise self._unavailable(error) from None
        finally:
            await _in_thread(target.discard)
        if name is None:
            return Answer("refused", None, f"there are {_MAX_ALIKE} files of this name already", limited.sent)
        return Answer("delivered", None, name, limited.sent)

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
    """Raised when reading an instance failed, rather than writing the file."""

    def __init__(self, why: Exception) -> None:
        super().__init__(str(why))
        self.why = why


def _sweep(root: Path) -> None:
    """Remove the temporary files of killed gateways: those without a lock. Blocks."""
    with suppress(OSError):
        for path in [path for path in root.iterdir() if _TEMPORARY.fullmatch(path.name)]:
            file = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            except OSError:
                continue
            finally:
                os.close(file)


def _temporary(root: Path) -> Path:
    """A new temporary name, which `_TEMPORARY` matches."""
    return root / f".{secrets.token_hex(16)}.part"


class _Target:
    """One file being written into the folder. Every method blocks."""

    def __init__(self, root: Path, template: Template) -> None:
        self._root = root
        self._template = template
        self._temporary = _temporary(root)
        self._file = -1

    def open(self) -> None:
        """Create and lock the file. Another gateway that sweeps the folder may remove it in between."""
        for _ in range(_TRIES):
            self._file = os.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass  # locked by the gateway that is about to remove it
            except OSError:
                return  # Some shares have no locks.
            else:
                if os.fstat(self._file).st_nlink:
                    return
            self.discard()
            self._temporary = _temporary(self._root)
        raise BlockingIOError(errno.EAGAIN, "another program locks every file that the gateway creates")

    def write(self, piece: bytes) -> None:
        view = memoryview(piece)
        while view:
            view = view[os.write(self._file, view) :]

    def place(self) -> str | None:
        """Sync the file and give it its name. Returns the path within the folder, None when all names are in use.

        Raises: DataSetError.
        """
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
        for number in range(1, _MAX_ALIKE + 1):
            path = where / (name if number == 1 else numbered(name, number))
            if name_file(self._temporary, path) is not naming.Named.TAKEN:
                sync_folder(where)
                return str(path.relative_to(self._root))
        return None

    def discard(self) -> None:
        """Close the file, and remove it if it has no name yet."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            with suppress(FileNotFoundError):
                self._temporary.unlink()


def _attributes(file: int, template: Template) -> dict[str, str]:
    """Read the attributes that the name is made from. Raises DataSetError."""
    tags = {tag: keyword for keyword, tag in template.tags.items()}

    def read(offset: int, length: int) -> bytes:
        return os.pread(file, length, offset)

    meta = read_header(read)
    found = read_data_set(
        read,
        meta.data_set_offset,
        os.fstat(file).st_size,
        meta.transfer_syntax_uid,
        lambda tag, length: tag in tags and length <= _MAX_VALUE_BYTES,
        most=len(tags),
        inflate_limit=_INFLATE_LIMIT,
    )
    return {tags[tag]: "_".join(str(value) for value in each.values) for tag, each in found.items()}


def _holds(path: Path, uid: str) -> bool:
    """Whether the file is of that instance: a template without UIDs can give two instances one name."""
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
    """Run a function in a thread; when cancelled, wait for the thread, which still uses the file."""
    task = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
