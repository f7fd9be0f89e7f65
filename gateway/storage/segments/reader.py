"""Reading objects out of segments: descriptors are kept, and what was erased meanwhile is noticed.

An object can be erased under a reader, or moved. Whoever erases overwrites the header of the frame first, durably, so a
reader that finds the header unchanged after a read knows that the bytes were the object's: no lock is needed between
processes. Everything blocks.

A header that was read is remembered, so that the next read of its object, a frame mostly, costs two calls and not
three: for the bytes, and then for the header. What is remembered proves nothing: it says where to read.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from gateway.errors import NoSuchObject, OutOfDescriptors, StorageError
from gateway.storage.failures import NO_DESCRIPTORS
from gateway.storage.segments.folder import SegmentFolder
from gateway.storage.segments.frame import (
    FRAME_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    FrameHeader,
    FrameKind,
    parse_frame_header,
    segment_id_of,
)
from gateway.storage.segments.keys import place_of

_KEPT: Final = 64
"""Descriptors of segments that nobody reads at the moment: 16 GiB of the newest and of what was read last."""
_REMEMBERED: Final = 4096
"""Headers of frames that are remembered: 3 MB."""


class _Open:
    """An open segment, which several readers share."""

    __slots__ = ("descriptor", "name", "readers", "segment_id")

    def __init__(self, name: str, descriptor: int, segment_id: bytes) -> None:
        self.name = name
        self.descriptor = descriptor
        self.segment_id = segment_id
        self.readers = 0


class SegmentReader:
    """Opens objects in the segments of one folder. For any number of threads."""

    def __init__(self, folder: SegmentFolder) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._headers: OrderedDict[str, tuple[bytes, FrameHeader]] = OrderedDict()
        """By key the header of a frame that was read, as bytes and parsed."""

    def open(self, key: str) -> SegmentObject:
        """Open an object. Raises: NoSuchObject when it does not exist (any more), if not at once then as soon as
        anything of it is used; OutOfDescriptors; StorageError."""
        try:
            name, offset = place_of(key)
        except ValueError as error:
            raise StorageError(str(error)) from None
        segment = self._acquire(name, key)
        try:
            return SegmentObject(self, segment, key, offset)
        except BaseException:
            self.release(segment)
            raise

    def prefetch(self, key: str, length: int) -> None:
        """Have the system read the beginning of an object. Raises nothing."""
        try:
            name, offset = place_of(key)
            segment = self._acquire(name, key)
        except (ValueError, StorageError):
            return
        try:
            self._folder.disk.prefetch(segment.descriptor, length, offset)
        except OSError:
            pass
        finally:
            self.release(segment)

    def read(self, segment: _Open, length: int, offset: int) -> bytes:
        """Read of an acquired segment. Raises: StorageError."""
        try:
            return self._folder.disk.read(segment.descriptor, length, offset)
        except OSError as error:
            raise StorageError(f"cannot read segment {segment.name}: {error.strerror}") from error

    def header(self, key: str) -> tuple[bytes, FrameHeader] | None:
        """The header of an object as it once was; None if it is not remembered."""
        with self._lock:
            if (found := self._headers.get(key)) is not None:
                self._headers.move_to_end(key)
            return found

    def remember(self, key: str, header: bytes, frame: FrameHeader) -> None:
        """Remember the header of an object."""
        with self._lock:
            self._headers[key] = header, frame
            if len(self._headers) > _REMEMBERED:
                self._headers.popitem(last=False)

    def forget_header(self, key: str) -> None:
        """Remember nothing of an object that is gone."""
        with self._lock:
            self._headers.pop(key, None)

    def _acquire(self, name: str, key: str) -> _Open:
        with self._lock:
            segment = self._open.get(name)
            if segment is None:
                segment = self._open[name] = self._opened(name, key)
            segment.readers += 1
            self._open.move_to_end(name)
            self._close_idle()
            return segment

    def _opened(self, name: str, key: str) -> _Open:
        disk = self._folder.disk
        try:
            descriptor = disk.open(self._folder.path_of(name), 0)
        except FileNotFoundError:
            raise NoSuchObject(f"no object {key}") from None
        except OSError as error:
            kind = OutOfDescriptors if error.errno in NO_DESCRIPTORS else StorageError
            raise kind(f"cannot open segment {name}: {error.strerror}") from error
        try:
            segment_id = segment_id_of(disk.read(descriptor, SEGMENT_HEADER_BYTES, 0), name)
        except OSError as error:
            disk.close(descriptor)
            raise StorageError(f"cannot read segment {name}: {error.strerror}") from error
        if segment_id is None:
            disk.close(descriptor)
            raise NoSuchObject(f"no object {key}: segment {name} has no header")
        return _Open(name, descriptor, segment_id)

    def release(self, segment: _Open) -> None:
        """End one use of a segment."""
        with self._lock:
            segment.readers -= 1
            if self._open.get(segment.name) is not segment and not segment.readers:
                self._folder.disk.close(segment.descriptor)
            else:
                self._close_idle()

    def _close_idle(self) -> None:
        """Close the descriptors used longest ago, past the number that is kept."""
        if len(self._open) <= _KEPT:
            return
        for name, segment in list(self._open.items()):
            if not segment.readers:
                self._folder.disk.close(self._open.pop(name).descriptor)
            if len(self._open) <= _KEPT:
                return

    def forget(self, name: str) -> None:
        """Close a segment that is gone, now or once its readers are done."""
        with self._lock:
            segment = self._open.pop(name, None)
            if segment is not None and not segment.readers:
                self._folder.disk.close(segment.descriptor)

    def close(self) -> None:
        """Close what nobody reads; the rest closes with its readers."""
        for name in list(self._open):
            self.forget(name)


class SegmentObject:
    """One object in a segment. A read raises NoSuchObject once the object was erased."""

    def __init__(self, reader: SegmentReader, segment: _Open, key: str, offset: int) -> None:
        self._reader = reader
        self._segment: _Open | None = segment
        self._key = key
        self._at = offset
        known = reader.header(key)
        self._is_certain = known is None
        """Whether the header was found in the segment since the object was opened."""
        self._header, self._frame = known or self._found(segment)

    def _found(self, segment: _Open) -> tuple[bytes, FrameHeader]:
        header = self._reader.read(segment, FRAME_HEADER_BYTES, self._at)
        frame = parse_frame_header(header, segment.segment_id, self._at)
        if frame is None or frame.kind is not FrameKind.INSTANCE:
            raise NoSuchObject(f"no object {self._key}")
        self._reader.remember(self._key, header, frame)
        return header, frame

    @property
    def frame(self) -> FrameHeader:
        """The header of its frame. Raises: NoSuchObject; StorageError."""
        if not self._is_certain:
            self._check()
        return self._frame

    @property
    def size(self) -> int:
        return self.frame.object_length

    def read(self, offset: int, length: int) -> bytes:
        length = min(length, self._frame.object_length - offset)
        if length <= 0:
            return b""
        assert self._segment is not None
        data = self._reader.read(self._segment, length, self._frame.object_offset + offset)
        self._check()
        return data

    def notes(self) -> bytes:
        """Read the notes of the object. Raises: NoSuchObject; StorageError."""
        assert self._segment is not None
        notes = self._reader.read(self._segment, self._frame.notes_length, self._at + FRAME_HEADER_BYTES)
        self._check()
        return notes

    def _check(self) -> None:
        assert self._segment is not None
        if self._reader.read(self._segment, FRAME_HEADER_BYTES, self._at) != self._header:
            self._reader.forget_header(self._key)
            raise NoSuchObject(f"no object {self._key}: it was erased while it was read")
        self._is_certain = True

    def close(self) -> None:
        if self._segment is not None:
            segment, self._segment = self._segment, None
            self._reader.release(segment)
