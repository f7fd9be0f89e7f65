"""The zip of instances: its names, what readers make of it, and an archive that is left before its end."""

from __future__ import annotations

import gc
import io
import struct
import zipfile
import zlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.retrieve.retrieval import Content, Retrieval
from gateway.retrieve.zip_stream import zip_stream
from gateway.web.dicomweb.wado import named_by_series


class Here:
    """Stands for a Retrieval: work is done where it is asked for."""

    async def run(self, work: Callable[..., Any], *arguments: object) -> Any:
        return work(*arguments)


@dataclass
class Opened:
    """Stands for a Content of a series, in these chunks."""

    series: str
    pieces: list[bytes]
    closed: list[str] = field(default_factory=list)

    @property
    def located(self) -> Any:
        return SimpleNamespace(series_uid=self.series)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            for piece in self.pieces:
                yield piece
        finally:
            self.closed.append(self.series)


def sent(*contents: Opened) -> AsyncGenerator[bytes, None]:
    async def opened() -> AsyncGenerator[Content, None]:
        for content in contents:
            yield cast(Content, content)

    return zip_stream(cast(Retrieval, Here()), named_by_series(opened()))


async def whole(*contents: Opened) -> bytes:
    return b"".join([piece async for piece in sent(*contents)])


@pytest.mark.case("item 10 No two files of a zip have one name where a series comes back after another one")
async def test_files_are_counted_by_folder():
    """As of one study under two patients, whose series have equal numbers."""
    data = await whole(*(Opened(series, [bytes([at])]) for at, series in enumerate("AABA")))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = ["series-001/000001.dcm", "series-001/000002.dcm", "series-002/000001.dcm", "series-001/000003.dcm"]
        assert archive.namelist() == names
        assert [archive.read(name) for name in names] == [bytes([at]) for at in range(4)]


async def test_what_it_holds_can_be_read_as_it_is_sent():
    """Each member has its checksum and sizes of 64 bits behind its data (APPNOTE 4.3.9.2)."""
    pieces = [b"one", b"", b"two" * 1000]
    data = await whole(Opened("A", pieces), Opened("A", []))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    names, extra = struct.unpack_from("<2H", data, 26)
    start = 30 + names + extra
    assert extra == 20
    assert data[start:].startswith(b"".join(pieces))
    signature, checksum, packed, size = struct.unpack_from("<4sLQQ", data, start + 3003)
    assert (signature, checksum, packed, size) == (b"PK\7\x08", zlib.crc32(b"".join(pieces)), 3003, 3003)


async def test_of_nothing():
    assert zipfile.ZipFile(io.BytesIO(await whole())).namelist() == []


@pytest.mark.parametrize("after", [1, 2, 3, 5])
async def test_one_that_is_left_before_its_end(after: int):
    """Everything is closed, and nothing complains of it later."""
    contents = [Opened("A", [b"1", b"2"]), Opened("B", [b"3", b"4"])]
    sending = sent(*contents)
    for _ in range(after):
        await anext(sending)
    await sending.aclose()
    del sending
    gc.collect()
    assert contents[0].closed == ["A"]
    assert contents[1].closed == (["B"] if after == 5 else [])
