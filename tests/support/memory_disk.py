"""A disk in memory that may lose power, and whose calls can be made to fail: the double of `gateway.storage.disk.Disk`.

What was synced stands apart from what was not: of a file the bytes, of a folder the names. `MemoryDisk.after` is what a
power cut leaves: everything that was synced, and any of the other changes, as chance has it. Every call is counted, so
that the power can go at each of them.
"""

from __future__ import annotations

import dataclasses
import errno
import io
import os
import posixpath
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from random import Random
from typing import IO

from gateway.processes.arena import Buffer
from gateway.storage.disk import IOV_MAX
from tests.support.memory_files import Change, Crash, File, Folder, Node, Status, is_of, status_of, write_name


class PowerCut(BaseException):
    """The power has gone: no call returns any more."""


@dataclasses.dataclass
class Fault:
    """The `at`-th of the calls of one kind to come fails, and `count` - 1 after it."""

    call: str
    error: int
    at: int = 1
    count: int = 1

    def meets(self, call: str) -> bool:
        if call != self.call:
            return False
        self.at -= 1
        return -self.count < self.at <= 0


@dataclasses.dataclass
class Opened:
    node: Node
    flags: int = os.O_RDONLY
    at: int = 0
    locked: bool = False


@dataclasses.dataclass(frozen=True)
class Entry:
    name: str
    path: str
    node: Node

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return isinstance(self.node, Folder)

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return isinstance(self.node, File)

    def stat(self) -> Status:
        return status_of(self.node)


class MemoryDisk:
    """Folders and files below `/`. For one thread."""

    def __init__(self) -> None:
        self.root = Folder()
        self.calls: list[str] = []
        """Calls that may change something, with their paths, in their order."""
        self.faults: list[Fault] = []
        self.off_at: int | None = None
        """The number of the call at which the power goes."""
        self.off_before = True
        """Whether the power goes before that call or after it."""
        self.is_off = False
        self.on_cut: Callable[[], None] = lambda: None
        self.failed = ""
        """The call that has been made to fail; empty where none has."""
        self.free = 1 << 40
        self._opened: dict[int, Opened] = {}
        self._next = 1000
        self._changes: list[Change] = []
        self._lost: list[Change] = []
        """Changes of names that no sync will make durable any more."""
        self._number = 0

    # What tests do.

    def tick(self, call: str, path: str = "") -> Iterator[None]:
        """Count a call, and what comes of it: nothing, an OSError, or the end of the power. For `for _ in tick():`."""
        if self.is_off:
            raise PowerCut
        self.calls.append(f"{call} {path}".rstrip())
        goes = self.off_at is not None and len(self.calls) >= self.off_at
        if goes and self.off_before:
            self.cut()
        for fault in self.faults:
            if fault.meets(call):
                if call in ("fsync", "fdatasync", "flush"):
                    self._lose(path)
                self.failed = call
                raise OSError(fault.error, os.strerror(fault.error), path)
        yield
        if goes:
            self.cut()

    def cut(self) -> None:
        """Take the power away."""
        self.is_off = True
        self.on_cut()
        raise PowerCut

    def after(self, random: Random, *, power_cut: bool = True) -> MemoryDisk:
        """The disk as the next start finds it; without a power cut, as processes that were killed leave it."""
        disk = MemoryDisk()
        disk._number = self._number
        if not power_cut:
            disk.root, disk._changes, disk._lost = self.root, self._changes, self._lost
            return disk
        crash = Crash(random)
        for change in sorted([*self._changes, *self._lost]):
            if random.random() < crash.share:
                crash.apply(change)
        disk.root = crash.folder(self.root)
        return disk

    def files(self, path: str) -> dict[str, bytes]:
        """All files below a folder, by path."""
        found: dict[str, bytes] = {}
        for name, node in self._folder(path).names.items():
            below = f"{path}/{name}"
            found.update(self.files(below) if isinstance(node, Folder) else {below: bytes(node.data)})
        return found

    # Files, by their descriptors.

    def open(self, path: str, flags: int, mode: int = 0o640) -> int:
        for _ in self.tick("open", path):
            folder, name = self._parent(path)
            node = folder.names.get(name) if name else folder
            if node is None:
                if not flags & os.O_CREAT:
                    raise _error(errno.ENOENT, path)
                node = File()
                self._name((folder, name, node))
            elif flags & os.O_CREAT and flags & os.O_EXCL:
                raise _error(errno.EEXIST, path)
            if isinstance(node, File):
                if flags & os.O_DIRECTORY:
                    raise _error(errno.ENOTDIR, path)
                if flags & os.O_TRUNC:
                    node.data.clear()
            elif flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                raise _error(errno.EISDIR, path)
            self._next += 1
            self._opened[self._next] = Opened(node, flags)
        return self._next

    def close(self, descriptor: int) -> None:
        if self._opened.pop(descriptor, None) is None:
            raise _error(errno.EBADF, str(descriptor))

    def write(self, descriptor: int, views: Sequence[Buffer]) -> int:
        opened, file = self._file(descriptor, writes=True)
        assert len(views) <= IOV_MAX
        data = b"".join(views)
        for _ in self.tick("write", str(descriptor)):
            if len(data) > self.free:
                data = data[: self.free]
                if not data:
                    raise _error(errno.ENOSPC, str(descriptor))
            self.free -= len(data)
            at = len(file.data) if opened.flags & os.O_APPEND else opened.at
            if data:
                file.data.extend(bytes(max(0, at - len(file.data))))
            file.data[at : at + len(data)] = data
            opened.at = at + len(data)
            self._touch(file)
        return len(data)

    def write_at(self, descriptor: int, view: Buffer, offset: int, *, durably: bool) -> int:
        _, file = self._file(descriptor, writes=True)
        for _ in self.tick("write", str(descriptor)):
            more = offset + len(view) - len(file.data)
            if more > self.free:
                raise _error(errno.ENOSPC, str(descriptor))
            self.free -= max(0, more)
            file.data.extend(bytes(max(0, more)))
            file.data[offset : offset + len(view)] = view
            self._touch(file)
        if durably:  # By one call: the room that it needs is found, or not, before anything is flushed.
            for _ in self.tick("flush", str(descriptor)):
                if not file.lost:
                    file.durable = bytes(file.data)
        return len(view)

    def read(self, descriptor: int, length: int, offset: int) -> bytes:
        self._check()
        return bytes(self._file(descriptor)[1].data[offset : offset + length])

    def truncate(self, descriptor: int, size: int) -> None:
        _, file = self._file(descriptor, writes=True)
        for _ in self.tick("truncate", str(descriptor)):
            del file.data[size:]
            file.data.extend(bytes(size - len(file.data)))

    def rewind(self, descriptor: int) -> None:
        self._get(descriptor).at = 0

    def allocate(self, descriptor: int, size: int) -> None:
        _, file = self._file(descriptor, writes=True)
        for _ in self.tick("allocate", str(descriptor)):
            file.data.extend(bytes(max(0, size - len(file.data))))

    def fstat(self, descriptor: int) -> Status:
        return status_of(self._get(descriptor).node)

    def fdatasync(self, descriptor: int) -> None:
        node = self._get(descriptor).node
        for _ in self.tick("fdatasync", str(descriptor)):
            if isinstance(node, File) and not node.lost:
                node.durable = bytes(node.data)

    def fsync(self, descriptor: int) -> None:
        node = self._get(descriptor).node
        for _ in self.tick("fsync", str(descriptor)):
            if isinstance(node, File):
                node.durable = node.durable if node.lost else bytes(node.data)
            else:
                for change in [change for change in self._changes if is_of(change, node)]:
                    for folder, name, named in change.names:
                        write_name(folder.durable, name, change.number, named)
                    self._changes.remove(change)

    def begin_sync(self, descriptor: int) -> None:
        self._get(descriptor)

    def prefetch(self, descriptor: int, length: int, offset: int = 0) -> None:
        self._get(descriptor)

    def drop_cache(self, descriptor: int) -> None:
        self._get(descriptor)

    def lock(self, descriptor: int) -> bool:
        self._check()
        opened = self._get(descriptor)
        if any(other.node is opened.node and other.locked for other in self._opened.values() if other is not opened):
            return False
        opened.locked = True
        return True

    def reader(self, descriptor: int) -> IO[bytes]:
        return io.BytesIO(self._file(descriptor)[1].data)

    # Names.

    def link(self, path: str, new: str) -> None:
        for _ in self.tick("link", new):
            node = self._node(path)
            folder, name = self._parent(new)
            if name in folder.names:
                raise _error(errno.EEXIST, new)
            if isinstance(node, Folder):
                raise _error(errno.EPERM, path)
            self._name((folder, name, node))

    def unlink(self, path: str) -> None:
        for _ in self.tick("unlink", path):
            folder, name = self._parent(path)
            if isinstance(self._node(path), Folder):
                raise _error(errno.EISDIR, path)
            self._name((folder, name, None))

    def rename(self, path: str, new: str) -> None:
        for _ in self.tick("rename", new):
            self._parent(path)
            folder, name = self._parent(new)
            node = self._node(path)
            assert isinstance(node, File), "the store renames files alone"
            if isinstance(folder.names.get(name), Folder):
                raise _error(errno.EISDIR, new)
            if folder.names.get(name) is not node:
                self._name((folder, name, node), (*self._parent(path), None))

    def makedirs(self, path: str, mode: int = 0o777) -> None:
        at = ""
        for name in path.strip("/").split("/"):
            folder = self._folder(at)
            at = f"{at}/{name}"
            if name in folder.names:
                if isinstance(folder.names[name], File):
                    raise _error(errno.EEXIST if at == path else errno.ENOTDIR, at)
                continue
            for _ in self.tick("mkdir", at):
                self._name((folder, name, Folder()))

    def rmdir(self, path: str) -> None:
        for _ in self.tick("rmdir", path):
            if self._folder(path).names:
                raise _error(errno.ENOTEMPTY, path)
            folder, name = self._parent(path)
            self._name((folder, name, None))

    def listdir(self, path: str) -> list[str]:
        self._check()
        return list(self._folder(path).names)

    def scandir(self, path: str) -> AbstractContextManager[Iterator[Entry]]:
        self._check()
        return nullcontext(
            iter([Entry(name, f"{path}/{name}", node) for name, node in self._folder(path).names.items()])
        )

    def stat(self, path: str) -> Status:
        self._check()
        return status_of(self._node(path))

    def free_bytes(self, path: str) -> int:
        return self.free

    def free_files(self, path: str) -> int | None:
        return None

    # Within.

    def _check(self) -> None:
        if self.is_off:
            raise PowerCut

    def _get(self, descriptor: int) -> Opened:
        try:
            return self._opened[descriptor]
        except KeyError:
            raise _error(errno.EBADF, str(descriptor)) from None

    def _file(self, descriptor: int, *, writes: bool = False) -> tuple[Opened, File]:
        opened = self._get(descriptor)
        if opened.flags & os.O_ACCMODE == (os.O_RDONLY if writes else os.O_WRONLY):
            raise _error(errno.EBADF, str(descriptor))
        if isinstance(opened.node, Folder):
            raise _error(errno.EISDIR, str(descriptor))
        return opened, opened.node

    def _folder(self, path: str) -> Folder:
        node: Node = self.root
        for name in filter(None, path.split("/")):
            if isinstance(node, File):
                raise _error(errno.ENOTDIR, path)
            if name not in node.names:
                raise _error(errno.ENOENT, path)
            node = node.names[name]
        if isinstance(node, File):
            raise _error(errno.ENOTDIR, path)
        return node

    def _parent(self, path: str) -> tuple[Folder, str]:
        above, name = posixpath.split(path)
        return self._folder(above), name

    def _node(self, path: str) -> Node:
        folder, name = self._parent(path)
        if name not in folder.names:
            raise _error(errno.ENOENT, path)
        return folder.names[name]

    def _touch(self, node: Node) -> None:
        self._number += 1
        node.changed = self._number

    def _name(self, *names: tuple[Folder, str, Node | None]) -> None:
        """Change names, now, and on the disk once it is synced."""
        for folder, name, node in names:
            self._touch(folder)
            before = folder.names.pop(name, None)
            if isinstance(before, File):
                before.links -= 1
            if node is not None:
                folder.names[name] = node
                if isinstance(node, File):
                    node.links += 1
        self._changes.append(Change(self._number, names))

    def _lose(self, descriptor: str) -> None:
        """A sync has failed, and what it was to make durable is clean now, as far as the system knows."""
        node = self._get(int(descriptor)).node
        if isinstance(node, File):
            node.lost = True
        else:
            gone = [change for change in self._changes if is_of(change, node)]
            self._lost += gone
            self._changes = [change for change in self._changes if change not in gone]


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)
