"""The object in the store that holds an attachment: a header of ours, then the attached bytes as they came.

The header says what the bytes are attached to, so that a database which has been lost can be made again of the store.
It is no beginning of an instance, which has zeros there (PS3.10 §7.1); what users attach stands behind it, and cannot
be taken for one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec

from gateway.dicom.levels import Level
from gateway.errors import StorageError
from gateway.index.attachments import Attachment
from gateway.storage.store import StoredObject

HEADER_BYTES: Final = 512
_MAGIC: Final = b"\x89gateway attachment\r\n\x1a\n"
_PIECE: Final = 1 << 20


class AttachedTo(msgspec.Struct, frozen=True):
    """The resource that has an attachment, and the name of the attachment there."""

    level: Level
    public_id: str
    name: str


def header(to: AttachedTo) -> bytes:
    """The header of an object; identifiers and names are short and checked before."""
    made = (_MAGIC + msgspec.json.encode(to)).ljust(HEADER_BYTES)
    assert len(made) == HEADER_BYTES
    return made


def read_header(stored: StoredObject) -> AttachedTo | None:
    """The resource that an object is attached to; None for an instance. Blocks. Raises: StorageError."""
    found = stored.read(0, HEADER_BYTES)
    if not found.startswith(_MAGIC):
        return None
    try:
        return msgspec.json.decode(found.removeprefix(_MAGIC), type=AttachedTo)
    except msgspec.DecodeError as error:
        raise StorageError(f"the header of an attachment cannot be read: {error}") from None


def read_attachment(stored: StoredObject, key: str, name: str) -> Attachment:
    """The attachment in an object, as of its first revision. Reads all of it. Blocks. Raises: StorageError."""
    digest, at = md5(), HEADER_BYTES
    while piece := stored.read(at, _PIECE):
        digest.update(piece)
        at += len(piece)
    return Attachment(name, key, HEADER_BYTES, at - HEADER_BYTES, digest.hexdigest())


def md5() -> hashlib._Hash:
    """A digest of MD5, which tells damage from none; it is no proof against whoever means to deceive."""
    return hashlib.md5(usedforsecurity=False)


def md5_of(pieces: Iterable[bytes]) -> str:
    """The MD5 of bytes that come in pieces, in hexadecimal digits."""
    digest = md5()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()
