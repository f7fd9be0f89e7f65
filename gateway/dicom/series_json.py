"""The DICOM JSON of many similar data sets, such as those of a series: three to four times as fast as one by one.

Most elements of a series' instances are equal byte for byte, so the text of each is made once and looked up by its
bytes. Anything unusual goes to `json.py`, which also makes the text of everything seen for the first time: the
result equals that of `json.encode_data_set`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from struct import Struct
from typing import Final, NamedTuple

from gateway.dicom import json
from gateway.dicom.elements import skip_explicit_items, skip_implicit_items
from gateway.dicom.source import Read
from gateway.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from gateway.dicom.walk import LONG_VRS, PIXEL_REPRESENTATION, SHORT_VRS, UNDEFINED
from gateway.errors import DataSetError

_PLAIN: Final = frozenset((EXPLICIT_VR_LITTLE_ENDIAN.uid, IMPLICIT_VR_LITTLE_ENDIAN.uid))
_HEAD_BYTES: Final = 64 << 10
"""Leading bytes of a data set that are looked up; the rest is encoded by `json.py`."""
_MAX_TEXT_BYTES: Final = 8 << 10
"""Bytes of an element whose text is cached."""
_MAX_CACHE_BYTES: Final = 8 << 20
"""Bytes of cached elements and texts."""
_CHARSET: Final = 0x00080005
_CONTEXT: Final = frozenset((_CHARSET, PIXEL_REPRESENTATION))
"""Elements that decide how later elements are read."""
_PIXELS: Final = 0x7FE00008
_LOWEST: Final = 0x00080000

_explicit = Struct("<HH2sH").unpack_from
_implicit = Struct("<HHI").unpack_from
_length = Struct("<I").unpack_from
Uri = Callable[[str], str]


class _Run(NamedTuple):
    """Adjacent elements, the members made of them, their first and last tag, and the context before them."""

    raw: bytes
    text: bytes
    first: int
    last: int
    context: bytes


class SeriesJsonEncoder:
    """Encodes data sets one after the other; use one for as long as they are similar. For one thread at a time."""

    def __init__(self) -> None:
        self._texts: dict[bytes, dict[bytes, bytes]] = {}
        """The member of an element, by the bytes of its context (elements in _CONTEXT before it) and its own bytes."""
        self._size = 0
        self._runs: dict[str, list[_Run]] = {}
        """By transfer syntax: the last data set, in runs of elements that it shares with the one before."""

    def encode(self, read: Read, start: int, end: int, transfer_syntax_uid: str, bulk_data_uri: Uri) -> bytes:
        """The JSON object of the data set. Errors as in `json.encode_data_set`."""
        whole = None
        if transfer_syntax_uid in _PLAIN:
            with contextlib.suppress(DataSetError):  # raised again below, with the right offset
                whole = self._encode(read, start, end, transfer_syntax_uid, bulk_data_uri)
        if whole is None:
            whole = json.encode_data_set(read, start, end, transfer_syntax_uid, bulk_data_uri=bulk_data_uri)
        return whole

    def _encode(self, read: Read, start: int, end: int, syntax: str, uri: Uri) -> bytes | None:
        members = self._members(read(start, min(_HEAD_BYTES, end - start)), syntax, uri)
        if members is None:
            return None
        texts, context, position, last = members
        if start + position < end:
            rest = _after(context, read, start + position, end, syntax, uri)
            if rest and int(rest[1:9], 16) <= last:
                return None  # out of order
            texts.append(rest)
        return b"{" + b",".join(filter(None, texts)) + b"}"

    def _members(self, buffer: bytes, syntax: str, uri: Uri) -> tuple[list[bytes], bytes, int, int] | None:
        """Members of the leading elements, their context, their end, and the last tag.

        None if the data set has to be encoded as a whole.
        """
        implicit = syntax == IMPLICIT_VR_LITTLE_ENDIAN.uid
        context, known = b"", self._known(b"")
        texts: list[bytes] = []
        position, last, final = 0, 0, len(buffer) - 12
        before, at = self._runs.get(syntax, []), 0
        runs: list[_Run] = []
        fresh = True
        while position <= final:
            if at < len(before):
                run = before[at]
                if buffer.startswith(run.raw, position) and run.first > last and run.context == context:
                    texts.append(run.text)
                    position += len(run.raw)
                    last = run.last
                    at += 1
                    if fresh:
                        runs.append(run)
                    else:
                        runs[-1] = _joined(runs[-1], run)
                    fresh = False
                    continue
            tag, stop = _extent(buffer, position, implicit)
            if 0 <= tag <= last or 0 <= tag < _LOWEST:
                return None
            if not 0 <= stop <= len(buffer) or tag >= _PIXELS:
                break
            element = buffer[position:stop]
            text = known.get(element)
            if text is None:
                text = self._new(context, element, syntax, uri, known)
            if element in known and tag not in _CONTEXT:
                runs.append(_Run(element, text, tag, tag, context))
            fresh = True
            texts.append(text)
            if tag in _CONTEXT:
                context += element
                known = self._known(context)
            last, position = tag, stop
            while at < len(before) and before[at].last <= tag:
                at += 1
        self._runs[syntax] = runs
        return texts, context, position, last

    def _known(self, context: bytes) -> dict[bytes, bytes]:
        known = self._texts.get(context)
        if known is None:
            known = self._texts[context] = {}
            self._size += len(context)
        return known

    def _new(self, context: bytes, element: bytes, syntax: str, uri: Uri, known: dict[bytes, bytes]) -> bytes:
        pointed = False

        def watched(path: str) -> str:
            nonlocal pointed
            pointed = True
            return uri(path)

        def read(offset: int, length: int) -> bytes:
            return element[offset : offset + length]

        text = _after(context, read, 0, len(element), syntax, watched)
        if not pointed and len(element) <= _MAX_TEXT_BYTES:
            self._size += len(element) + len(text) + 200
            if self._size > _MAX_CACHE_BYTES:
                self._texts.clear()
                self._size = 0
            known[element] = text
        return text


def _extent(buffer: bytes, position: int, implicit: bool) -> tuple[int, int]:
    """Tag and end of the element at `position`, which has at least 12 bytes; the end is -1 for an unusual element."""
    if implicit:
        group, number, length = _implicit(buffer, position)
        start = position + 8
    else:
        group, number, code, length = _explicit(buffer, position)
        start = position + 8
        if code not in SHORT_VRS:
            if code not in LONG_VRS:
                return -1, -1
            (length,) = _length(buffer, start)
            start += 4
            if length == UNDEFINED and code != b"SQ":
                return -1, -1
    tag = group << 16 | number
    if length != UNDEFINED or (not implicit and start == position + 8):
        return tag, start + length
    return tag, (skip_implicit_items if implicit else skip_explicit_items)(buffer, start, False)


def _joined(run: _Run, other: _Run) -> _Run:
    texts = b",".join(filter(None, (run.text, other.text)))
    return _Run(run.raw + other.raw, texts, run.first, other.last, run.context)


def _after(context: bytes, read: Read, start: int, end: int, syntax: str, uri: Uri) -> bytes:
    """The members of the elements from `start` to `end`, read after those of `context`, without braces."""

    def joined(offset: int, length: int) -> bytes:
        if offset >= len(context):
            return read(start + offset - len(context), length)
        head = context[offset : offset + length]
        return head + (read(start, length - len(head)) if len(head) < length else b"")

    whole = json.encode_data_set(joined, 0, len(context) + end - start, syntax, bulk_data_uri=uri)[1:-1]
    if not context:
        return whole
    head = _alone(context, syntax)
    if not whole.startswith(head):
        raise DataSetError("out of order")
    return whole[len(head) :].removeprefix(b",")


def _alone(context: bytes, syntax: str) -> bytes:
    def read(offset: int, length: int) -> bytes:
        return context[offset : offset + length]

    return json.encode_data_set(read, 0, len(context), syntax, bulk_data_uri=str)[1:-1]
