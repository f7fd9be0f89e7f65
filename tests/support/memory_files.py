"""Files and folders of a disk in memory: as they are, as the disk has them, and what a power cut leaves of them."""

from __future__ import annotations

import dataclasses
from random import Random
from typing import NamedTuple

BLOCK = 4096
"""Bytes that a disk writes whole or not at all."""


class Status(NamedTuple):
    st_size: int
    st_mtime_ns: int
    st_nlink: int
    st_dev: int = 1


@dataclasses.dataclass(eq=False)
class File:
    data: bytearray = dataclasses.field(default_factory=bytearray)
    durable: bytes = b""
    links: int = 0
    changed: int = 0
    lost: bool = False
    """A sync has failed: what was to be synced never will be, though later syncs succeed."""


@dataclasses.dataclass(eq=False)
class Folder:
    names: dict[str, Node] = dataclasses.field(default_factory=dict)
    durable: dict[str, tuple[int, Node | None]] = dataclasses.field(default_factory=dict)
    """By name the number of the change that it is of, and what has the name."""
    changed: int = 0


Node = File | Folder


class Change(NamedTuple):
    """Names that change together."""

    number: int
    names: tuple[tuple[Folder, str, Node | None], ...]


def write_name(durable: dict[str, tuple[int, Node | None]], name: str, number: int, node: Node | None) -> None:
    """Write the change of a name to the disk, unless a later one of the same name is there."""
    if durable.get(name, (0, None))[0] <= number:
        durable[name] = number, node


class Crash:
    """What a power cut leaves of each file and folder, with the links between them. It changes nothing of these."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.share = random.choice((0.0, 0.5, 0.5, 1.0))
        """Of what was not synced, how much survives."""
        self._names: dict[int, dict[str, tuple[int, Node | None]]] = {}
        self._left: dict[int, Node] = {}

    def apply(self, change: Change) -> None:
        """Let a change survive."""
        for folder, name, node in change.names:
            write_name(self._durable(folder), name, change.number, node)

    def _durable(self, folder: Folder) -> dict[str, tuple[int, Node | None]]:
        return self._names.setdefault(id(folder), dict(folder.durable))

    def folder(self, before: Folder) -> Folder:
        left = Folder(changed=before.changed)
        for name, (number, node) in self._durable(before).items():
            if node is not None:
                survived = self._node(node)
                left.names[name], left.durable[name] = survived, (number, survived)
                if isinstance(survived, File):
                    survived.links += 1
        return left

    def _node(self, before: Node) -> Node:
        if id(before) not in self._left:
            self._left[id(before)] = self._file(before) if isinstance(before, File) else self.folder(before)
        return self._left[id(before)]

    def _file(self, before: File) -> File:
        """What was synced, with some blocks of what was not: those that are lost are as before, or zeros."""
        new, old, random = before.data, before.durable, self._random
        if new == old or random.random() >= self.share:
            return File(bytearray(old), old, changed=before.changed)
        size = random.choice((len(new), random.randint(*sorted((len(old), len(new))))))
        data = bytearray(old[:size].ljust(size, b"\0"))
        for at in range(0, size, BLOCK):
            if random.random() < self.share:
                data[at : at + BLOCK] = new[at : min(at + BLOCK, size)].ljust(min(BLOCK, size - at), b"\0")
        return File(data, bytes(data), changed=before.changed)


def status_of(node: Node) -> Status:
    if isinstance(node, File):
        return Status(len(node.data), node.changed, node.links)
    return Status(0, node.changed, 2)


def is_of(change: Change, folder: Folder) -> bool:
    return any(each is folder for each, _, _ in change.names)
