"""Single attributes read from stored files, for queries about what the index does not hold.

Reading ends at the last wanted attribute, or at MAX_HEADER; pixels are never read. `query.py` uses the attributes.
"""

from __future__ import annotations

import zlib
from typing import Final

import msgspec

from gateway.dicom import elements, uids
from gateway.dicom.encode import DataSet
from gateway.dicom.json import decode_model, encode_elements
from gateway.dicom.json_reader import from_json
from gateway.errors import DataSetError, TruncatedDataSet
from gateway.index import attributes as tags
from gateway.storage.store import Store, StoredObject

MAX_HEADER: Final = 16 << 20
"""Bytes of a file within which an attribute is looked for."""
MAX_VALUE: Final = 64 << 10
"""Bytes of a value that is matched or returned from a file; a longer one counts as absent."""
_FIRST_READ: Final = 64 << 10

Members = dict[str, msgspec.Raw]
"""'ggggeeee' to the JSON of the attribute."""


def read_attributes(
    store: Store, key: str, offset: int, size: int, transfer_syntax_uid: str, wanted: frozenset[int]
) -> Members:
    """Read some attributes of a stored instance. Blocking. Raises NoSuchObject, StorageError, DataSetError."""
    stored = store.open(key)
    try:
        return attributes_of(stored, offset, size, transfer_syntax_uid, wanted)
    finally:
        stored.close()


def attributes_of(
    stored: StoredObject, offset: int, size: int, transfer_syntax_uid: str, wanted: frozenset[int]
) -> Members:
    """Read some attributes of an opened instance. Blocking. Raises StorageError, DataSetError."""
    length = _FIRST_READ
    while True:
        whole = length >= size - offset
        data = stored.read(offset, min(length, size - offset))
        try:
            return _pick(data, transfer_syntax_uid, wanted, final=whole)
        except TruncatedDataSet:
            if whole or length >= MAX_HEADER:
                raise
        length *= 8


def _pick(data: bytes, transfer_syntax_uid: str, wanted: frozenset[int], *, final: bool) -> Members:
    if uids.transfer_syntax(transfer_syntax_uid).deflated:
        try:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, MAX_HEADER)
        except zlib.error as error:
            raise DataSetError(f"the deflated data set is corrupt: {error}") from None
    sought = wanted | {tags.SPECIFIC_CHARACTER_SET}
    found, end = elements.pick(data, transfer_syntax_uid, sought, max(sought))
    if end == len(data) and not final:
        raise TruncatedDataSet("more may follow")
    charset = found.pop(tags.SPECIFIC_CHARACTER_SET, None)
    small = {tag: element for tag, element in found.items() if element.length <= MAX_VALUE}
    members: Members = msgspec.json.decode(
        encode_elements(small, None if charset is None else charset.value), type=Members
    )
    return members


def decoded(members: Members) -> DataSet:
    """The attributes of `read_attributes`. Raises DataSetError."""
    return from_json({name: decode_model(member) for name, member in members.items()})
