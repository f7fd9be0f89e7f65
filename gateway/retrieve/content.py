"""The bytes of a stored instance in chunks, as stored or in another transfer syntax. Blocking generators.

`retrieval.py` chooses the instance and the transfer syntax, and runs the generators.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

from gateway.dicom import part10, recode
from gateway.errors import StorageError
from gateway.imaging.transcode import transcode
from gateway.imaging.workspace import Workspace
from gateway.index.attachments import Attachment
from gateway.index.locate import Located
from gateway.retrieve.read_ahead import Batch, MemoryBudget
from gateway.storage.store import Store, StoredObject


def read_stored(store: Store, located: Located, offset: int, memory: MemoryBudget) -> Generator[bytes, None, None]:
    """Yield the stored object from `offset` on. Raises NoSuchObject; StorageError when it is shorter than its row
    says."""
    stored = store.open(located.key)
    try:
        for chunk in read_span(stored, located, offset, located.size, memory):
            offset += len(chunk)
            if offset == located.size:
                stored.close()  # Most instances are one chunk: spares a visit to the thread only to close.
            yield chunk
    finally:
        stored.close()


def read_span(
    stored: StoredObject, located: Located, start: int, stop: int, memory: MemoryBudget
) -> Generator[bytes, None, None]:
    """Yield the bytes of an open object from `start` up to `stop`. Raises StorageError when the object ends before."""
    while start < stop:
        chunk = stored.read(start, min(memory.piece, stop - start))
        if not chunk:
            raise StorageError(f"instance {located.sop_uid}: {located.size} bytes expected, {start} found")
        start += len(chunk)
        yield chunk


def read_attached(
    store: Store, attached: Attachment, start: int, stop: int, memory: MemoryBudget
) -> Generator[bytes, None, None]:
    """Yield the attached bytes from `start` up to `stop`. Raises NoSuchObject; StorageError when the object ends
    before."""
    stored = store.open(attached.key)
    try:
        while start < stop:
            chunk = stored.read(attached.data_offset + start, min(memory.piece, stop - start))
            if not chunk:
                raise StorageError(f"attachment {attached.key}: {attached.size} bytes expected, {start} found")
            start += len(chunk)
            yield chunk
    finally:
        stored.close()


def read_evened(store: Store, located: Located, memory: MemoryBudget) -> Generator[bytes, None, None]:
    """Yield the data set of an instance, padded to even length (`recode.evened`)."""
    stored = store.open(located.key)
    try:
        check_size(stored, located)
        data_set = located.data_set_offset, located.size, located.transfer_syntax_uid
        yield from joined(b"", recode.evened(stored.read, *data_set), memory)
    finally:
        stored.close()


def check_size(stored: StoredObject, located: Located) -> None:
    """Raise StorageError when the object is shorter than its row says."""
    if stored.size < located.size:
        raise StorageError(f"instance {located.sop_uid}: {located.size} bytes expected, {stored.size} found")


def read_converted(
    store: Store,
    located: Located,
    target: str,
    whole: bool,
    workspace: Workspace,
    memory: MemoryBudget,
    *,
    quality: int | None,
    sop_uid: str,
) -> Generator[bytes, None, None]:
    """Yield the instance in the transfer syntax `target`; b"" now and then before the first chunk.

    With `whole`, under a new File Meta Information that repeats the origin of the instance. With a `quality` its pixels
    are compressed with loss, and `sop_uid` is its new SOP Instance UID.
    """
    stored = store.open(located.key)
    try:
        check_size(stored, located)
        header = b""
        if whole:
            header = part10.file_header(
                sop_class_uid=located.sop_class_uid,
                sop_instance_uid=sop_uid,
                transfer_syntax_uid=target,
                **_origin(part10.read_header(stored.read)),
            )
        start, end = located.data_set_offset, located.size
        source = located.transfer_syntax_uid
        body = transcode(stored.read, start, end, source, target, quality=quality, workspace=workspace)
        yield from joined(header, body, memory)
    finally:
        stored.close()


def _origin(meta: part10.FileMeta) -> dict[str, str]:
    """The values of (0002,0016) to (0002,0018) in the stored file."""
    names = {"source_aet": 0x00020016, "sending_aet": 0x00020017, "receiving_aet": 0x00020018}
    found = {name: meta.elements[tag] for name, tag in names.items() if tag in meta.elements}
    return {name: bytes(element.value).decode("ascii", "replace").strip(" \0") for name, element in found.items()}


def joined(header: bytes, body: Iterator[bytes], memory: MemoryBudget) -> Generator[bytes, None, None]:
    """Yield `header` and the chunks of `body`, joined to about `MemoryBudget.piece` bytes.

    Each yield costs a visit to a thread. An empty chunk is passed on while nothing is gathered: it says that the body
    is still being scanned.
    """
    batch = Batch[bytes](memory)
    for piece in body:
        if not piece:
            if not batch:
                yield piece
        elif batch.add(piece, len(piece)):
            yield b"".join((header, *batch.take()))
            header = b""
    if batch or header:
        yield b"".join((header, *batch.take()))
