"""Any frame of an object of 1000 frames and 1 GB, over HTTP: what is read of it is the frame, and its header once."""

from __future__ import annotations

import dataclasses
import struct
from typing import Any

import pytest

from gateway.dicom.part10 import file_header
from tests.support import index
from tests.support.datasets import EXPLICIT, encode
from tests.support.web import House, parts

FRAMES, SIDE = 1000, 724
FRAME = SIDE * SIDE * 2
"""Bytes: 1.05 GB in all."""
J2K = "1.2.840.10008.1.2.4.90"
ONE = "/dicom-web/studies/1.2/series/1.2.1/instances/1.2.1.7"


class Giant:
    """An object that is made as it is read, and counts what is."""

    def __init__(self, head: bytes, fragments: bool) -> None:
        self.head = head
        self.fragments = fragments
        self.size = len(head) + FRAMES * (FRAME + 8 * fragments) + 8 * fragments
        self.taken = 0

    def read(self, offset: int, length: int) -> bytes:
        data = b""
        length = min(length, self.size - offset)
        while len(data) < length:
            data += self._piece(offset + len(data), length - len(data))
        self.taken += length
        return data

    def _piece(self, offset: int, length: int) -> bytes:
        if offset < len(self.head):
            return self.head[offset : offset + length]
        step = FRAME + 8 * self.fragments
        number, at = divmod(offset - len(self.head), step)
        if number == FRAMES:
            return struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)[at : at + length]
        item = struct.pack("<HHI", 0xFFFE, 0xE000, FRAME) if self.fragments else b""
        begin = item + struct.pack("<I", number)
        if at < len(begin):
            return begin[at : at + length]
        return bytes(min(length, step - at))

    def close(self) -> None:
        pass


@pytest.mark.parametrize("fragments", [False, True], ids=["native", "fragments"])
async def test_a_frame_is_read_by_its_offset(gateway: House, fragments: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    syntax = J2K if fragments else EXPLICIT
    header = index.data_set("1.2", "1.2.1", "1.2.1.7", Rows=SIDE, Columns=SIDE, NumberOfFrames=str(FRAMES))
    for keyword, value in {"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15, "SamplesPerPixel": 1}.items():
        setattr(header, keyword, value)
    header.PixelRepresentation, header.PhotometricInterpretation = 0, "MONOCHROME2"
    meta = file_header(sop_class_uid=header.SOPClassUID, sop_instance_uid="1.2.1.7", transfer_syntax_uid=syntax)
    value = 0xFFFFFFFF if fragments else FRAMES * FRAME
    element = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB" if fragments else b"OW", 0, value)
    table = struct.pack("<HHI", 0xFFFE, 0xE000, 0) if fragments else b""
    giant = Giant(meta + encode(header) + element + table, fragments)
    where = index.placement(size=giant.size, transfer_syntax=syntax)
    where = dataclasses.replace(where, data_set_offset=len(meta))
    await index.store(gateway.database, index.record(header), where)
    opened: Any = gateway.memory.open
    monkeypatch.setattr(gateway.memory, "open", lambda key: giant if key == where.key else opened(key))

    async def frame(number: int) -> int:
        """Bytes that were read for a frame, from 1."""
        giant.taken = 0
        answer = await gateway.get(f"{ONE}/frames/{number}", accept='multipart/related; type="*/*"; transfer-syntax=*')
        assert answer.status == 200, await answer.text()
        ((_, data),) = parts(answer, await answer.read())
        assert (len(data), data[:4]) == (FRAME, struct.pack("<I", number - 1))
        return giant.taken

    await frame(1)
    for number in (1000, 500, 2, 999):
        assert FRAME <= await frame(number) < FRAME + 200_000
