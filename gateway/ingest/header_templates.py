"""Templates for headers of a series, from its earlier instances.

A series is identified by the bytes of its Series Instance UID, wherever they are. Whether a header really matches a
template is checked in `dicom/header_template.py`; here is the cache: its size, eviction, and when it learns.
"""

from __future__ import annotations

import threading
from typing import Final, NamedTuple

from gateway import telemetry
from gateway.dicom.elements import Element
from gateway.dicom.header_template import HeaderTemplate
from gateway.dicom.uids import transfer_syntax
from gateway.index.record import RecordTemplate

MAX_HEADER_BYTES: Final = 32 << 10
"""Bytes of a header that are compared; a longer one matches no template."""
_MAX_CACHE_BYTES: Final = 16 << 20
"""Cached bytes of all series, roughly."""
_MAX_TEMPLATES: Final = 4
"""Templates of one series: some of its instances may have elements that others lack."""
_MAX_MISSES: Final = 8
"""Headers of a series without a match from which a template is learned; then every 2^n-th: learning takes longer
than parsing."""

_SERIES_INSTANCE_UID: Final = {False: b"\x20\x00\x0e\x00", True: b"\x00\x20\x00\x0e"}
"""The tag of Series Instance UID, by whether it is big endian."""


class Key(NamedTuple):
    """The common properties of headers that are compared."""

    transfer_syntax_uid: str
    tags: frozenset[int]
    """Tags that are picked."""
    stop: int
    series: bytes
    """The bytes of the element Series Instance UID."""


class TemplateMatch(NamedTuple):
    """A header that matches a template, except for the elements in `changed`."""

    template: RecordTemplate
    changed: dict[int, Element]
    end: int
    """The offset behind the wanted part of the header."""


class _Series:
    def __init__(self) -> None:
        self.known: tuple[tuple[HeaderTemplate, RecordTemplate], ...] = ()
        self.misses = 0
        """Headers without a match."""

    @property
    def weight(self) -> int:
        """Size in bytes, roughly."""
        return sum(3 * len(layout.header) + 512 * len(template.elements) for layout, template in self.known)

    @property
    def eager(self) -> bool:
        return self.misses <= _MAX_MISSES or not self.misses & (self.misses - 1)


class HeaderTemplateCache:
    """Templates of recently received series. For any thread, at any time."""

    def __init__(self) -> None:
        self._series: dict[Key, _Series] = {}
        self._weight = 0
        self._lock = threading.Lock()

    def find(self, key: Key, head: bytes) -> TemplateMatch | None:
        """The match of an instance that begins with `head`; None if its header must be parsed."""
        series = self._series.get(key)
        if series is None:
            return None
        for layout, template in series.known:
            if (followed := layout.follow(head)) is not None:
                return TemplateMatch(template, *followed)
        if series.eager:
            for layout, template in series.known:
                if layout.widen(head) and (followed := layout.follow(head)) is not None:
                    return TemplateMatch(template, *followed)
        return None

    def add(self, key: Key, header: bytes, template: RecordTemplate) -> None:
        """Learn from an instance without a match; `header` as for `HeaderTemplate`."""
        with self._lock:
            series = self._series.get(key)
            if series is None:
                series = self._series[key] = _Series()
            series.misses += 1
            if not series.eager:
                return
            self._weight -= series.weight
            layout = HeaderTemplate(header, key.transfer_syntax_uid, key.tags, key.stop)
            series.known = ((layout, template), *series.known[: _MAX_TEMPLATES - 1])
            self._weight += series.weight
            while self._weight > _MAX_CACHE_BYTES:
                self._weight -= self._series.pop(next(iter(self._series))).weight
            telemetry.CACHE_BYTES.labels("header templates").set(self._weight)


def key_of(head: bytes, transfer_syntax_uid: str, tags: frozenset[int], stop: int) -> Key | None:
    """The cache key of an instance's series; None for one that can have no template."""
    syntax = transfer_syntax(transfer_syntax_uid)
    at = head.find(_SERIES_INSTANCE_UID[syntax.big_endian])
    if not 0 <= at <= len(head) - 8:
        return None
    # The lower byte of its length: a UID has 64 bytes at most.
    length = head[at + (4 if syntax.implicit else 7 if syntax.big_endian else 6)]
    return Key(transfer_syntax_uid, tags, stop, head[at : at + 8 + length])
