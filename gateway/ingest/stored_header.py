"""The header of a stored file, read as the intake read it, to the end of the data set.

For callers that have a file and no row: a rebuild of the index, and recovery after a crash.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.dicom import part10
from gateway.errors import DataSetError
from gateway.index.record import InstanceRecord, of_tenant
from gateway.index.store import FileLocation
from gateway.ingest.header_scan import HeaderScanner
from gateway.storage.store import StoredObject

_FIRST_READ_BYTES = 64 * 1024
"""Bytes of a data set that are read first; mostly the index needs no more."""


class StoredHeader(NamedTuple):
    """The header of one file, and the location of the file."""

    meta: part10.FileMeta
    record: InstanceRecord
    placement: FileLocation
    broken: DataSetError | None
    """The error if the data set ends inside an element; the intake refuses such instances today."""


def read_stored_header(stored: StoredObject, key: str, max_header: int) -> StoredHeader:
    """Read the header of the object `key`, and follow its lengths to the end. Blocks.

    Raises: DataSetError if there is no header, or none within `max_header` bytes (TruncatedDataSet if the file
    ends in it); StorageError.
    """
    meta = part10.read_header(stored.read)
    scanner = HeaderScanner(meta.transfer_syntax_uid, max_header)
    at, length = meta.data_set_offset, _FIRST_READ_BYTES
    while not scanner.found or at < stored.size:
        data = stored.read(at, length)
        at += len(data)
        if scanner.scan([data], complete=at >= stored.size or not data):
            scanner.resume()
        if scanner.found:
            at += scanner.skip(max(0, stored.size - at))
            length = _FIRST_READ_BYTES
        else:
            length = min(4 * length, max_header)
        if not data:
            break
    record, broken = of_tenant(scanner.record(), meta.tenant), None
    try:
        lacking = scanner.lacking()
    except DataSetError as error:
        lacking, broken = str(error), error
    placement = FileLocation(key, stored.size, meta.data_set_offset, meta.transfer_syntax_uid, lacking)
    return StoredHeader(meta, record, placement, broken)
