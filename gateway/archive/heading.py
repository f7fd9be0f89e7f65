"""Finding the index attributes in the first bytes of a data set, while their memory is still there.

The bytes come as views of receive blocks that are soon given back. Mostly the first view holds all that is wanted;
where it does not, what has come so far is copied and looked at again with the next, up to a bound.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

from gateway.dicom import elements, uids
from gateway.errors import DataSetError, TruncatedDataSet
from gateway.index.record import INDEX_STOP, INDEX_TAGS, InstanceRecord, build_record

Buffer = bytes | bytearray | memoryview


class Heading:
    """The index attributes of one data set of at most `limit` bytes before the first attribute past them."""

    def __init__(self, transfer_syntax_uid: str, limit: int) -> None:
        self._syntax = transfer_syntax_uid
        self._deflated = uids.transfer_syntax(transfer_syntax_uid).deflated
        self._limit = limit
        self._kept = b""
        self._found: InstanceRecord | DataSetError | None = None

    def look(self, views: Sequence[Buffer], *, complete: bool) -> None:
        """Look at the next bytes, with all that came before; `complete` when they are the last."""
        if self._found is not None:
            return
        for data, is_all in self._attempts(views):
            try:
                self._found = self._build(data, final=is_all and complete)
            except TruncatedDataSet as error:
                if not is_all:
                    continue
                if complete:
                    self._found = error
                elif len(data) > self._limit:
                    self._found = DataSetError(
                        f"the attributes for the index do not stand within {self._limit} bytes (storage.max_header)"
                    )
                else:
                    self._kept = bytes(data)
                    return
            except DataSetError as error:
                self._found = error
            self._kept = b""
            return

    def record(self) -> InstanceRecord:
        """What was found. Raises DataSetError with the reason when it cannot be read."""
        if self._found is None:
            raise DataSetError("the data set is empty")
        if isinstance(self._found, DataSetError):
            raise self._found
        return self._found

    def _attempts(self, views: Sequence[Buffer]) -> Iterator[tuple[Buffer, bool]]:
        """What to try, cheapest first, and whether it is all that has come."""
        if not self._kept and views and not self._deflated:
            yield views[0], len(views) == 1
            if len(views) == 1:
                return
        yield b"".join((self._kept, *views)), True

    def _build(self, data: Buffer, *, final: bool) -> InstanceRecord:
        if self._deflated:
            try:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, self._limit)
            except zlib.error as error:
                raise DataSetError(f"the deflated data set is corrupt: {error}") from None
        found, end = elements.pick(data, self._syntax, INDEX_TAGS, INDEX_STOP)
        if end == len(data) and not final:
            raise TruncatedDataSet("more may follow")
        return build_record(found, self._syntax)
