"""Scanning the first bytes of a data set for the index attributes, while their memory is still valid.

The bytes arrive as views of receive blocks that are soon released. Mostly the first view holds all wanted attributes;
otherwise the bytes so far are copied and scanned again with the next, up to a bound. A header that resembles
another of its series is not parsed again: see `header_templates.py`. Behind the header only lengths are followed, so
that in the end it is known whether the data set ended between two elements, and what its pixel data lack.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from gateway.dicom import elements, uids
from gateway.dicom.decode import decode_elements
from gateway.dicom.elements import Element
from gateway.dicom.encode import DataSet
from gateway.dicom.extent import TAIL_BYTES, Extent, InflatedExtent
from gateway.errors import DataSetError, TruncatedDataSet
from gateway.index import main_tags
from gateway.index.attributes import SPECIFIC_CHARACTER_SET
from gateway.index.main_tags import NONE, FurtherTags
from gateway.index.record import INDEX_STOP, INDEX_TAGS, InstanceRecord, RecordTemplate
from gateway.ingest.header_templates import MAX_HEADER_BYTES, HeaderTemplateCache, key_of
from gateway.ingest.pixel_length import DESCRIBING, Described, described, lacking

log = logging.getLogger(__name__)

Buffer = bytes | bytearray | memoryview
_MAX_ATTRIBUTES: Final = 4096
"""Attributes decoded for routing conditions, nested ones included."""
_MAX_STEPS: Final = 256
"""Headers of elements and fragments followed at once: about 0.4 ms. A thread continues with more."""
_BEFORE_LARGE: Final = (0x00420010, 0x0040A72F)
"""Tags before an encapsulated document and the content tree of a report, which may be larger than any header. What the
index has of attributes behind them is of PET images."""
_templates: Final = HeaderTemplateCache()


class WantedTags(NamedTuple):
    """The attributes of the data set itself to pick."""

    tags: frozenset[int]
    stop: int
    """The highest of these tags."""
    others: frozenset[int]
    """Tags for `HeaderScanner.attributes`."""
    main: FurtherTags = NONE
    """Attributes of the index that the settings name."""


_DESCRIBING: Final = frozenset(DESCRIBING)
_TAGS: Final = INDEX_TAGS.union(DESCRIBING)
INDEX: Final = WantedTags(_TAGS, INDEX_STOP, frozenset())


def wanted_tags(others: Iterable[int] = ()) -> WantedTags:
    """The tags of the index, with those that the settings name, and others; all are before the pixel data."""
    return _wanted(frozenset(others), main_tags.current())


@lru_cache(16)
def _wanted(others: frozenset[int], main: FurtherTags) -> WantedTags:
    if not others and main is NONE:
        return INDEX
    tags = others | {SPECIFIC_CHARACTER_SET} if others else others
    further = tags | main.all
    return WantedTags(_TAGS | further, max({INDEX_STOP, *further}), tags, main)


class _RecordTemplate(RecordTemplate):
    """A record template with the attributes that describe its pixel data."""

    __slots__ = ("described",)

    def __init__(self, elements: dict[int, Element], transfer_syntax_uid: str, main: FurtherTags) -> None:
        super().__init__(elements, transfer_syntax_uid, main)
        self.described = described(elements, {})


class HeaderScanner:
    """Scans one data set, with at most `limit` bytes before the first element past the wanted ones."""

    def __init__(self, transfer_syntax_uid: str, limit: int, wanted: WantedTags | None = None) -> None:
        """`wanted`: by default what `wanted_tags` returns."""
        self.attributes: DataSet = {}
        """Attributes of `wanted.others`, once `found`; empty if they are not within the limit."""
        self._wanted = wanted_tags() if wanted is None else wanted
        self._syntax = transfer_syntax_uid
        syntax = uids.transfer_syntax(transfer_syntax_uid)
        self._deflated = syntax.deflated
        self._limit = limit
        self._head: list[bytes] = []
        self._size = 0
        self._scan_again_at = 0
        self._result: InstanceRecord | DataSetError | None = None
        self._described: Described = ()
        self._end = 0
        """The end of the picked header."""
        self._scanned = 0
        """Bytes scanned before."""
        self._extent: Extent | InflatedExtent | None = InflatedExtent(syntax) if syntax.deflated else None
        self._unfollowed: tuple[Sequence[Buffer], int] | None = None
        """Views whose lengths are still to be followed, and the offset of the first."""
        self._broken: DataSetError | None = None

    def scan(self, views: Sequence[Buffer], *, complete: bool) -> bool:
        """Scan the next bytes, with all before; `complete` if they are the last.

        True if more is to be done with them than may be done here: call `resume`, before the next scan.
        """
        offset, self._scanned = self._scanned, self._scanned + sum(map(len, views))
        if self._result is None:
            joined = self._scan_header(views, complete)
            if joined is not None and not self._deflated:
                views, offset = [joined], 0
        self._follow(views, offset)
        return self._unfollowed is not None

    def skip(self, most: int) -> int:
        """Count unneeded bytes, at most `most`, as scanned; returns their number. For callers that read a file."""
        if not isinstance(self._extent, Extent):
            return 0
        skipped = min(most, max(0, self._extent.next - TAIL_BYTES - self._scanned))
        self._scanned += skipped
        return skipped

    def resume(self) -> None:
        """Follow the rest of the bytes scanned last. In a thread: the time grows with the number of elements."""
        unfollowed, self._unfollowed = self._unfollowed, None
        if unfollowed is None:
            return
        views, offset = unfollowed
        try:
            if isinstance(self._extent, InflatedExtent):
                self._extent.feed(views)
            elif self._extent is not None:
                self._extent.feed(views, offset)
        except DataSetError as error:
            self._broken = error.with_traceback(None)

    def lacking(self) -> str:
        """The defect of the pixel data, in words; '' if there is none. Call it after `record` has succeeded.

        Raises: DataSetError, with the place, if the data set ends inside an element.
        """
        if self._broken is not None:
            raise self._broken
        extent = self._extent
        if extent is None:
            return ""
        if isinstance(extent, InflatedExtent):
            extent.finish()
            extent = extent.extent
        else:
            extent.finish(self._scanned)
        return lacking(extent, self._described, extent.syntax)

    def _follow(self, views: Sequence[Buffer], offset: int) -> None:
        if isinstance(self._result, DataSetError):
            return
        if self._extent is None:
            if self._result is None:
                return
            self._extent = Extent(uids.transfer_syntax(self._syntax), self._end)
        if isinstance(self._extent, InflatedExtent):
            # Inflating takes longer than anything else here.
            self._unfollowed = views, offset
        elif not self._extent.feed(views, offset, _MAX_STEPS):
            self._unfollowed = views, offset

    def _scan_header(self, views: Sequence[Buffer], complete: bool) -> bytes | None:
        """Scan for the header. Returns all bytes so far if more than these views were needed."""
        plain_start = not self._head and not self._deflated and bool(views)
        if plain_start and self._try(views[0], final=complete and len(views) == 1):
            return None
        self._head.extend(map(bytes, views))
        self._size += sum(map(len, views))
        # The size doubles each time, so that a header in many pieces is not parsed again for each of them.
        if not complete and self._size < self._scan_again_at:
            return None
        self._scan_again_at = 2 * self._size
        joined = b"".join(self._head)
        self._head = [joined]
        if self._try(joined, final=complete) or self._size <= self._limit:
            return joined
        if self._wanted is not INDEX:
            log.warning(
                "attributes that rules or storage.main_tags name are not within %d bytes (storage.max_header)",
                self._limit,
            )
            self._wanted = INDEX
        if not any(self._try_up_to(stop, joined, complete) for stop in (INDEX_STOP, *_BEFORE_LARGE)):
            self._decide(
                DataSetError(f"the attributes for the index are not within {self._limit} bytes (storage.max_header)")
            )
        return joined

    def _try_up_to(self, stop: int, data: Buffer, complete: bool) -> bool:
        """Parse the header up to the tag `stop`. Whether that decides the scan."""
        self._wanted = INDEX._replace(stop=stop)
        return self._try(data, final=complete)

    @property
    def found(self) -> bool:
        """Whether the scan is decided: more bytes would change nothing."""
        return self._result is not None

    def record(self) -> InstanceRecord:
        """The record of the instance. Raises: DataSetError with the reason when it cannot be read."""
        if self._result is None:
            raise DataSetError("the data set is empty")
        if isinstance(self._result, DataSetError):
            raise self._result
        return self._result

    def _try(self, data: Buffer, *, final: bool) -> bool:
        """Parse the header in these bytes. Whether they decide the scan."""
        try:
            self._decide(self._build(data, final=final))
        except TruncatedDataSet as error:
            if not final:
                return False
            self._decide(error)
        except DataSetError as error:
            self._decide(error)
        return True

    def _decide(self, result: InstanceRecord | DataSetError) -> None:
        # The traceback of an error retains frames, and those the receive block that was scanned.
        self._result = result.with_traceback(None) if isinstance(result, DataSetError) else result
        self._head = []

    def _build(self, data: Buffer, *, final: bool) -> InstanceRecord:
        if self._deflated:
            try:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, self._limit)
            except zlib.error as error:
                raise DataSetError(f"the deflated data set is corrupt: {error}") from None
        tags, stop, others, main = self._wanted
        head = bytes(data[:MAX_HEADER_BYTES])
        key = key_of(head, self._syntax, tags, stop)
        match = None if key is None else _templates.find(key, head)
        if match is not None:
            template, changed, self._end = match
            assert isinstance(template, _RecordTemplate)
            self._described = (
                template.described if _DESCRIBING.isdisjoint(changed) else described(template.elements, changed)
            )
            if others:
                self._decode({**template.elements, **changed})
            return template.with_other(changed)
        picked, end = elements.pick(data, self._syntax, tags, stop)
        if end == len(data) and not final:
            raise TruncatedDataSet("more may follow")
        if others:
            self._decode(picked)
        template = _RecordTemplate(picked, self._syntax, main)
        self._end, self._described = end, template.described
        if key is not None and end + 4 <= len(head):
            _templates.add(key, head[: end + 4], template)
        return template.record

    def _decode(self, picked: dict[int, Element]) -> None:
        wanted = {tag: picked[tag] for tag in self._wanted.others if tag in picked}
        try:
            self.attributes = decode_elements(wanted, lambda _tag, _length: True, most=_MAX_ATTRIBUTES)
        except DataSetError as error:
            log.warning("attributes used by rules cannot be read: %s", error)
