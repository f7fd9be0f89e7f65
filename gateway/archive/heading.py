"""Finding the index attributes in the first bytes of a data set, while their memory is still there.

The bytes come as views of receive blocks that are soon given back. Mostly the first view holds all that is wanted;
where it does not, what has come so far is copied and looked at again with the next, up to a bound. What resembles
another of its series is not read anew: see `siblings.py`.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from gateway.archive.siblings import LONGEST, Siblings, key_of
from gateway.dicom import elements, uids
from gateway.dicom.decode import decode_elements
from gateway.dicom.elements import Element
from gateway.dicom.encode import DataSet
from gateway.errors import DataSetError, TruncatedDataSet
from gateway.index.attributes import SPECIFIC_CHARACTER_SET
from gateway.index.record import INDEX_STOP, INDEX_TAGS, InstanceRecord, Sibling

log = logging.getLogger(__name__)

Buffer = bytes | bytearray | memoryview
_MOST: Final = 4096
"""Attributes, those in sequences too, that are taken for others than the index."""
_siblings: Final = Siblings()


class LookedFor(NamedTuple):
    """Which attributes of the data set itself are picked."""

    tags: frozenset[int]
    stop: int
    """The highest of them."""
    others: frozenset[int]
    """Those that `Heading.attributes` has."""


INDEX: Final = LookedFor(INDEX_TAGS, INDEX_STOP, frozenset())


def looked_for(others: Iterable[int]) -> LookedFor:
    """What the index needs, and others; all stand before the pixel data."""
    tags = frozenset({*others, SPECIFIC_CHARACTER_SET})
    return LookedFor(INDEX_TAGS | tags, max(INDEX_STOP, *tags), tags)


class Heading:
    """The index attributes of one data set of at most `limit` bytes before the first attribute past them."""

    def __init__(self, transfer_syntax_uid: str, limit: int, wanted: LookedFor = INDEX) -> None:
        self.attributes: DataSet = {}
        """Those of `wanted.others` that are there, once `found`; none where they do not stand within the limit."""
        self._wanted = wanted
        self._syntax = transfer_syntax_uid
        self._deflated = uids.transfer_syntax(transfer_syntax_uid).deflated
        self._limit = limit
        self._kept: list[bytes] = []
        self._size = 0
        self._look_again_at = 0
        self._found: InstanceRecord | DataSetError | None = None

    def look(self, views: Sequence[Buffer], *, complete: bool) -> None:
        """Look at the next bytes, with all that came before; `complete` when they are the last."""
        if self._found is not None:
            return
        plain_start = not self._kept and not self._deflated and bool(views)
        if plain_start and self._look_at(views[0], final=complete and len(views) == 1):
            return
        self._kept.extend(map(bytes, views))
        self._size += sum(map(len, views))
        # Twice as much each time, so that a header in many pieces is not read again for each of them.
        if not complete and self._size < self._look_again_at:
            return
        self._look_again_at = 2 * self._size
        joined = b"".join(self._kept)
        self._kept = [joined]
        if self._look_at(joined, final=complete) or self._size <= self._limit:
            return
        if self._wanted is not INDEX:
            log.warning("attributes that rules look at do not stand within %d bytes (storage.max_header)", self._limit)
            self._wanted = INDEX
        if not self._look_at(joined, final=complete):
            self._settle(
                DataSetError(
                    f"the attributes for the index do not stand within {self._limit} bytes (storage.max_header)"
                )
            )

    @property
    def found(self) -> bool:
        """Whether more bytes would change nothing."""
        return self._found is not None

    def record(self) -> InstanceRecord:
        """What was found. Raises DataSetError with the reason when it cannot be read."""
        if self._found is None:
            raise DataSetError("the data set is empty")
        if isinstance(self._found, DataSetError):
            raise self._found
        return self._found

    def _look_at(self, data: Buffer, *, final: bool) -> bool:
        """Whether these bytes decide it."""
        try:
            self._settle(self._build(data, final=final))
        except TruncatedDataSet as error:
            if not final:
                return False
            self._settle(error)
        except DataSetError as error:
            self._settle(error)
        return True

    def _settle(self, found: InstanceRecord | DataSetError) -> None:
        # The traceback of an error holds frames, and those the receive block that was looked at.
        self._found = found.with_traceback(None) if isinstance(found, DataSetError) else found
        self._kept = []

    def _build(self, data: Buffer, *, final: bool) -> InstanceRecord:
        if self._deflated:
            try:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, self._limit)
            except zlib.error as error:
                raise DataSetError(f"the deflated data set is corrupt: {error}") from None
        tags, stop, others = self._wanted
        head = bytes(data[:LONGEST])
        key = key_of(head, self._syntax, tags, stop)
        alike = None if key is None else _siblings.find(key, head)
        if alike is not None:
            sibling, changed = alike
            if others:
                self._understand({**sibling.elements, **changed})
            return sibling.with_other(changed)
        found, end = elements.pick(data, self._syntax, tags, stop)
        if end == len(data) and not final:
            raise TruncatedDataSet("more may follow")
        if others:
            self._understand(found)
        sibling = Sibling(found, self._syntax)
        if key is not None and end + 4 <= len(head):
            _siblings.add(key, head[: end + 4], sibling)
        return sibling.record

    def _understand(self, found: dict[int, Element]) -> None:
        wanted = {tag: found[tag] for tag in self._wanted.others if tag in found}
        try:
            self.attributes = decode_elements(wanted, lambda _tag, _length: True, most=_MOST)
        except DataSetError as error:
            log.warning("attributes that rules look at cannot be read: %s", error)
