"""What a gateway has been told and has acknowledged, instance by instance. No network here, and no waiting."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.support.traffic import Item, patient_of

Content = bytes | None
"""Digest of a data set; None: the instance is not there."""

PIXELS = b"\xe0\x7f\x10\x00OW\0\0"
RECENT = 600
"""Of so many entries, the newest, one is picked to be changed."""


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:16]


def pixels_of(data_set: bytes) -> bytes:
    """Digest of the pixel data of what `make_item` makes, and of what became of it."""
    return digest(data_set[data_set.find(PIXELS) :])


@dataclass(slots=True)
class Entry:
    """One instance. `possible` is what the gateway may have of it now."""

    study: str
    series: str
    uid: str
    patient: str
    possible: set[Content] = field(default_factory=lambda: {None})
    busy: bool = False
    """Something about it is under way, or ended without an answer; what comes next waits for the judge."""
    derived: bool = False
    """The gateway made it of another one."""
    size: int = 0
    """Bytes of its file, as the judge has seen it last."""

    @property
    def acknowledged(self) -> bool:
        """It must be there."""
        return None not in self.possible

    @property
    def content(self) -> Content:
        """What it is for certain; None where it is not there, or where that is not certain."""
        return next(iter(self.possible)) if len(self.possible) == 1 else None


@dataclass(slots=True)
class Derivation:
    """A study that the gateway was asked to make of another; it carries `mark` as its description."""

    mark: str
    count: int
    pixels: frozenset[bytes]
    patient: str
    acknowledged: bool = False


class Attempt:
    """One request about some instances, until it is answered."""

    def __init__(self, ledger: Ledger, contents: Mapping[str, Content], what: str) -> None:
        self._ledger, self._contents, self._what = ledger, contents, what
        self._open = set(contents)

    def succeeded(self, uid: str) -> None:
        """The gateway has said so: this is what it has, and nothing else."""
        entry = self._ledger.entries[uid]
        entry.possible, entry.busy = {self._contents[uid]}, False
        self._open.discard(uid)
        self._ledger.counts[self._what] += 1

    def end(self) -> None:
        """What has not been answered by now may have happened, or may yet: it stays busy."""
        self._ledger.counts["unanswered or refused"] += len(self._open)


class Ledger:
    """Everything that was asked of one gateway. A fault that the load itself sees is put into `seen`."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.ever: dict[str, set[bytes]] = {}
        """Every content that an instance may ever have had."""
        self.pixels: dict[bytes, bytes] = {}
        self.derivations: list[Derivation] = []
        self.touched: set[str] = set()
        """Instances asked about since the judge looked."""
        self.counts: Counter[str] = Counter()
        self.seen: list[str] = []

    def know(self, item: Item) -> bytes:
        """The digest of what is about to be sent."""
        content = digest(item.data)
        if item.uid not in self.entries:
            self.entries[item.uid] = Entry(item.study, item.series, item.uid, patient_of(item.study))
        self.ever.setdefault(item.uid, set()).add(content)
        self.pixels[content] = pixels_of(item.data)
        return content

    @contextmanager
    def attempt(self, contents: Mapping[str, Content], what: str) -> Iterator[Attempt]:
        """A request that makes these instances have these contents."""
        for uid, content in contents.items():
            entry = self.entries[uid]
            assert not entry.busy, f"two clients are at {uid}"
            entry.possible.add(content)
            entry.busy = True
        self.touched |= contents.keys()
        attempt = Attempt(self, contents, what)
        try:
            yield attempt
        finally:
            attempt.end()

    def pick(self, chance: random.Random, *, derived: bool = True, deleted: bool = False) -> Entry | None:
        """An instance that is certainly there, or certainly deleted, and that nobody is at, one of the last; None where
        a few looks find none.
        """
        keys = list(self.entries)[-RECENT:]
        for uid in chance.sample(keys, min(len(keys), 20)):
            entry = self.entries[uid]
            fits = entry.possible == {None} if deleted else entry.acknowledged
            if fits and not entry.busy and (derived or not entry.derived):
                return entry
        return None

    def of_study(self, study: str) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.study == study]

    def settle(self, uid: str, content: Content) -> None:
        """What the judge has seen, with nothing under way, is what it has to stay."""
        entry = self.entries[uid]
        entry.possible, entry.busy = {content}, False

    @property
    def present(self) -> list[Entry]:
        """What is there, once all is settled."""
        return [entry for entry in self.entries.values() if entry.acknowledged]
