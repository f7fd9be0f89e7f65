"""Which instance a received one resembles: one of its series that came before it.

A series is known by the bytes of its Series Instance UID, wherever they stand. That a header really is like another
is for `dicom/layout.py` to prove; here is only what is kept, for how long, and when something is learned.
"""

from __future__ import annotations

import threading
from typing import Final, NamedTuple

from gateway.dicom.elements import Element
from gateway.dicom.layout import Layout
from gateway.dicom.uids import transfer_syntax
from gateway.index.record import Sibling

LONGEST: Final = 32 << 10
"""Bytes of a header that are looked at here; a longer one is like no other."""
_HEAVIEST: Final = 16 << 20
"""Bytes, roughly, that are kept of all series."""
_LAYOUTS: Final = 4
"""That are kept of a series: some of its instances may have elements that others lack."""
_EAGER: Final = 8
"""Of a series so many headers that are like none before are learned from, then every 2^n-th: learning takes longer
than reading."""

_SERIES_INSTANCE_UID: Final = {False: b"\x20\x00\x0e\x00", True: b"\x00\x20\x00\x0e"}
"""Its tag, by whether that is big endian."""


class Key(NamedTuple):
    """What headers have in common that are compared."""

    transfer_syntax_uid: str
    tags: frozenset[int]
    """That are picked."""
    stop: int
    series: bytes
    """The element Series Instance UID."""


class Alike(NamedTuple):
    """The header of an instance is that of its sibling, with these elements in the place of others."""

    sibling: Sibling
    changed: dict[int, Element]


class _Series:
    def __init__(self) -> None:
        self.known: tuple[tuple[Layout, Sibling], ...] = ()
        self.strangers = 0
        """Headers that were like none."""

    @property
    def weight(self) -> int:
        """Bytes, roughly."""
        return sum(3 * len(layout.header) + 512 * len(sibling.elements) for layout, sibling in self.known)

    @property
    def eager(self) -> bool:
        return self.strangers <= _EAGER or not self.strangers & (self.strangers - 1)


class Siblings:
    """What is known of the series that came of late. Any thread may call."""

    def __init__(self) -> None:
        self._series: dict[Key, _Series] = {}
        self._weight = 0
        self._lock = threading.Lock()

    def find(self, key: Key, head: bytes) -> Alike | None:
        """A sibling of the instance that begins with `head`; None where it has to be read without one."""
        series = self._series.get(key)
        if series is None:
            return None
        for layout, sibling in series.known:
            if (changed := layout.follow(head)) is not None:
                return Alike(sibling, changed)
        if series.eager:
            for layout, sibling in series.known:
                if layout.widen(head) and (changed := layout.follow(head)) is not None:
                    return Alike(sibling, changed)
        return None

    def add(self, key: Key, header: bytes, sibling: Sibling) -> None:
        """An instance that was like none; `header` as for `Layout`."""
        with self._lock:
            series = self._series.get(key)
            if series is None:
                series = self._series[key] = _Series()
            series.strangers += 1
            if not series.eager:
                return
            self._weight -= series.weight
            layout = Layout(header, key.transfer_syntax_uid, key.tags, key.stop)
            series.known = ((layout, sibling), *series.known[: _LAYOUTS - 1])
            self._weight += series.weight
            while self._weight > _HEAVIEST:
                self._weight -= self._series.pop(next(iter(self._series))).weight


def key_of(head: bytes, transfer_syntax_uid: str, tags: frozenset[int], stop: int) -> Key | None:
    """What to look for the siblings of an instance by; None for one that can have none."""
    syntax = transfer_syntax(transfer_syntax_uid)
    at = head.find(_SERIES_INSTANCE_UID[syntax.big_endian])
    if not 0 <= at <= len(head) - 8:
        return None
    # The lower byte of its length: a UID has 64 bytes at most.
    length = head[at + (4 if syntax.implicit else 7 if syntax.big_endian else 6)]
    return Key(transfer_syntax_uid, tags, stop, head[at : at + 8 + length])
