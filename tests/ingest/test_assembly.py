"""Metadata and bulk data put together (PS3.18 §10.5.2): what is written, and what does not fit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any, cast

import pytest

from gateway.dicom.decode import decode_data_set
from gateway.dicom.encode import DataSet
from gateway.dicom.walk import UNDEFINED
from gateway.errors import DataSetError, UnsupportedTransferSyntax
from gateway.index.store import Origin
from gateway.ingest import assembly
from gateway.ingest.assembly import Bulk, assemble, bulk_uris
from gateway.ingest.ingest import Ingest
from gateway.storage.scratch import Scratch
from tests.support.memory_disk import MemoryDisk

CT, UID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"
EXPLICIT, JPEG, LOSSLESS, JPEG_2000 = (f"1.2.840.10008.1.2{rest}" for rest in (".1", ".4.50", ".4.70", ".4.90"))
ORIGIN = Origin("A", "B", "host", 0.0, "stow")
PIXELS = "7FE00010"


class Writer:
    def __init__(self) -> None:
        self.data = bytearray()
        self.largest = 0
        self.committed = self.abandoned = False

    def write(self, data: bytes, block: object) -> None:
        self.data += data
        self.largest = max(self.largest, len(data))

    async def drained(self) -> None:
        pass

    def commit(self) -> asyncio.Task[None]:
        self.committed = True
        return asyncio.ensure_future(asyncio.sleep(0))

    def abandon(self) -> None:
        self.abandoned = True


class Intake:
    """What an ingest is told."""

    def __init__(self) -> None:
        self.begun: dict[str, Any] = {}
        self.writer = Writer()

    def begin(self, **claims: Any) -> Writer:
        self.begun = claims
        return self.writer


class Parts:
    """Parts of a request in a scratch file."""

    def __init__(self) -> None:
        disk = MemoryDisk()
        disk.makedirs("/incoming")
        self.scratch = Scratch(disk, "/incoming/1.tmp")
        self.bulk: dict[str, list[Bulk]] = {}

    def add(self, uri: str, data: bytes, media_type: str = "application/octet-stream", syntax: str = "") -> Parts:
        self.bulk.setdefault(uri, []).append(Bulk(media_type, syntax, self.scratch.size, len(data)))
        self.scratch.append([data])
        return self


@pytest.fixture
def parts() -> Iterator[Parts]:
    parts = Parts()
    yield parts
    parts.scratch.close()


def at(uri: str, vr: str = "OB") -> dict[str, Any]:
    return {"vr": vr, "BulkDataURI": uri}


def model(**members: dict[str, Any]) -> dict[str, Any]:
    base: dict[str, Any] = {"00080016": {"vr": "UI", "Value": [CT]}, "00080018": {"vr": "UI", "Value": [UID]}}
    return base | {tag.removeprefix("x"): member for tag, member in members.items()}


async def written(parts: Parts, wanted: dict[str, Any]) -> tuple[Intake, bytes]:
    intake = Intake()
    await (await assemble(cast(Ingest, intake), json.dumps(wanted).encode(), parts.bulk, parts.scratch, ORIGIN))
    assert intake.writer.committed
    assert not intake.writer.abandoned
    return intake, bytes(intake.writer.data)


async def data_set(parts: Parts, wanted: dict[str, Any]) -> tuple[str, DataSet]:
    intake, data = await written(parts, wanted)
    syntax = intake.begun["transfer_syntax_uid"]
    return syntax, decode_data_set(data, syntax)


async def fails(parts: Parts, wanted: dict[str, Any], error: type[Exception], match: str) -> None:
    intake = Intake()
    with pytest.raises(error, match=match):
        await assemble(cast(Ingest, intake), json.dumps(wanted).encode(), parts.bulk, parts.scratch, ORIGIN)
    assert not intake.begun


class TestReferences:
    def test_are_found_in_items_too(self) -> None:
        inner = {"00091001": at("b")}
        wanted = model(x7FE00010=at("a"), x00081140={"vr": "SQ", "Value": [inner, None, {}]})
        assert bulk_uris(wanted) == {"a", "b"}

    @pytest.mark.parametrize("wrong", [{"00100010": 3}, {"00081140": {"vr": "SQ", "Value": [3]}}])
    def test_of_what_is_no_dicom_json(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(DataSetError):
            bulk_uris(wrong)


class TestWhatIsWritten:
    async def test_goes_around_large_values(self, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(assembly, "_CHUNK_BYTES", 1000)
        parts.add("a", bytes(range(256)) * 40)
        wanted = model(x7FE00010=at("a", "OW"), xFFFCFFFC={"vr": "OB", "InlineBinary": "AAA="})
        intake, data = await written(parts, wanted)
        found = decode_data_set(data, EXPLICIT)
        assert bytes(range(256)) * 40 in data
        assert intake.writer.largest == 1000
        assert list(found) == sorted(found)
        assert (intake.begun["sop_class_uid"], intake.begun["sop_instance_uid"]) == (CT, UID)
        assert intake.begun["transfer_syntax_uid"] == EXPLICIT

    async def test_has_even_lengths(self, parts: Parts) -> None:
        parts.add("a", b"abc").add("t", b"xyz")
        _, data = await written(parts, model(x00091001=at("a"), x00204000=at("t", "LT")))
        assert b"\x04\0\0\0abc\0" in data
        assert b"LT\x04\0xyz " in data

    @pytest.mark.parametrize("length", [0, 1, 2, 3, 6])
    async def test_begins_the_next_element_behind_the_padding(self, parts: Parts, length: int) -> None:
        parts.add("a", bytes(length)).add("t", b"x" * length)
        wanted = model(x00091001=at("a"), x00204000=at("t", "LT"), x00209158=at("t", "LT"), x00324000=at("t", "LT"))
        _, found = await data_set(parts, wanted)
        assert list(found) == [0x00080016, 0x00080018, 0x00091001, 0x00204000, 0x00209158, 0x00324000]
        assert {found[tag].text for tag in list(found)[3:]} == {"x" * length}

    async def test_of_several_parts_is_one_value_where_it_is_not_compressed(self, parts: Parts) -> None:
        parts.add("a", b"abcd").add("a", b"efgh")
        _, data = await written(parts, model(x7FE00010=at("a", "OW")))
        assert b"\x08\0\0\0abcdefgh" in data

    async def test_has_nothing_of_group_0002(self, parts: Parts) -> None:
        _, found = await data_set(parts, model(x00020010={"vr": "UI", "Value": [JPEG]}))
        assert min(found) > 0x0002FFFF

    async def test_text_in_utf_8_stays_that(self, parts: Parts) -> None:
        parts.add("t", "Bär".encode())
        _, data = await written(parts, model(x00204000=at("t", "LT")))
        assert b"ISO_IR 192" in data
        assert "Bär".encode() in data

    async def test_text_in_another_character_set_is_recoded(self, parts: Parts) -> None:
        parts.add("t", "Bär".encode("latin-1"))
        wanted = model(x00204000=at("t", "LT"), x00080005={"vr": "CS", "Value": ["ISO_IR 100"]})
        _, found = await data_set(parts, wanted)
        assert found[0x00204000].text == "Bär"

    @pytest.mark.parametrize("data", [b"\xff\xfe", "ä".encode()[:1]])
    async def test_text_that_is_none(self, parts: Parts, data: bytes) -> None:
        parts.add("t", data)
        await fails(parts, model(x00204000=at("t", "LT")), DataSetError, "00204000: the bytes are not UTF-8")

    async def test_inside_items(self, parts: Parts) -> None:
        parts.add("a", b"\1\2\3\4")
        wanted = model(x00081140={"vr": "SQ", "Value": [{"00280010": at("a", "US")}]})
        _, found = await data_set(parts, wanted)
        (item,) = found[0x00081140].values
        assert item[0x00280010].values == [0x0201, 0x0403]


class TestCompressedFrames:
    """PS3.5 A.4: each frame in fragments of its own, with an offset table where there are several."""

    async def test_are_fragments(self, parts: Parts) -> None:
        for frame in (b"abc", b"defg", b"h"):
            parts.add("a", frame, "image/jpeg", JPEG)
        wanted = model(x7FE00010=at("a"), x00280008={"vr": "IS", "Value": [3]})
        intake, data = await written(parts, wanted)
        assert intake.begun["transfer_syntax_uid"] == JPEG
        item, end = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\0\0\0\0"
        assert data.endswith(
            b"\xe0\x7f\x10\0OB\0\0"
            + UNDEFINED.to_bytes(4, "little")
            + item
            + b"\x0c\0\0\0"
            + b"\0\0\0\0"
            + b"\x0c\0\0\0"
            + b"\x18\0\0\0"
            + item
            + b"\4\0\0\0abc\0"
            + item
            + b"\4\0\0\0defg"
            + item
            + b"\2\0\0\0h\0"
            + end
        )

    async def test_one_needs_no_offset_table(self, parts: Parts) -> None:
        parts.add("a", b"abcd", "image/jpeg", JPEG)
        _, data = await written(parts, model(x7FE00010=at("a")))
        assert b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\4\0\0\0abcd" in data

    async def test_a_large_one_is_several_fragments(self, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(assembly, "_MAX_FRAGMENT_BYTES", 4)
        parts.add("a", b"abcdefg", "image/jpeg", JPEG).add("a", b"", "image/jpeg", JPEG)
        _, data = await written(parts, model(x7FE00010=at("a"), x00280008={"vr": "IS", "Value": [2]}))
        item = b"\xfe\xff\x00\xe0"
        assert item + b"\4\0\0\0abcd" + item + b"\4\0\0\0efg\0" + item + b"\0\0\0\0" in data
        assert item + b"\x08\0\0\0" + b"\0\0\0\0" + b"\x18\0\0\0" in data

    @pytest.mark.parametrize(("frames", "count"), [(2, 1), (1, 2), (0, 1)])
    async def test_are_as_many_as_there_are_parts(self, parts: Parts, frames: int, count: int) -> None:
        for _ in range(count):
            parts.add("a", b"ab", "image/jpeg", JPEG)
        wanted = model(x7FE00010=at("a"), x00280008={"vr": "IS", "Value": [frames]})
        await fails(parts, wanted, DataSetError, f"{count} parts with compressed frames for {frames} frames")

    async def test_of_video_are_one_part(self, parts: Parts) -> None:
        parts.add("a", b"ab", "video/mpeg", "")
        syntax, _ = await data_set(parts, model(x7FE00010=at("a"), x00280008={"vr": "IS", "Value": [500]}))
        assert syntax == "1.2.840.10008.1.2.4.100"

    async def test_inside_items_go_with_the_syntax_of_the_instance(self, parts: Parts) -> None:
        parts.add("i", b"ab", "image/jp2", JPEG_2000).add("a", b"abcd", "image/jpeg", JPEG)
        icon = {"vr": "SQ", "Value": [{PIXELS: at("i")}]}
        await fails(parts, model(x7FE00010=at("a"), x00880200=icon), DataSetError, "but not as those of the instance")


class TestTransferSyntax:
    async def of(self, parts: Parts, **members: dict[str, Any]) -> str:
        syntax, _ = await data_set(parts, model(x7FE00010=at("a"), **members))
        return syntax

    async def test_is_what_the_part_says(self, parts: Parts) -> None:
        parts.add("a", b"ab", "image/jpeg", LOSSLESS)
        assert await self.of(parts) == LOSSLESS

    async def test_or_what_the_metadata_say(self, parts: Parts) -> None:
        parts.add("a", b"ab", "image/jp2")
        hint = {"vr": "UI", "Value": ["1.2.840.10008.1.2.4.91"]}
        assert await self.of(parts, x00083002=hint) == "1.2.840.10008.1.2.4.91"

    @pytest.mark.parametrize(("media_type", "syntax"), sorted(assembly._DEFAULTS.items()))
    async def test_or_that_of_its_media_type(self, parts: Parts, media_type: str, syntax: str) -> None:
        """PS3.18 Tables 8.7.3-2 to 8.7.3-4."""
        parts.add("a", b"ab", media_type)
        assert await self.of(parts) == syntax

    @pytest.mark.parametrize(
        ("frame", "scan", "syntax"),
        [
            (0xC0, b"\1\1\0\0", JPEG),
            (0xC1, b"\1\1\0\0", "1.2.840.10008.1.2.4.51"),
            (0xC3, b"\1\1\0\1", LOSSLESS),
            (0xC3, b"\1\1\0\2", "1.2.840.10008.1.2.4.57"),
        ],
    )
    async def test_of_jpeg_is_told_by_its_headers(self, parts: Parts, frame: int, scan: bytes, syntax: str) -> None:
        """ISO 10918-1 B.2.2, B.2.3: the selection value of a lossless scan is its predictor."""
        header = b"\xff\xd8" + b"\xff\xe0\0\4ab" + bytes([0xFF, frame]) + b"\0\4ab" + b"\xff\xda\0\x08" + scan
        parts.add("a", header, "image/jpeg")
        assert await self.of(parts) == syntax

    async def test_of_uncompressed_pixels_is_little_endian_however_named(self, parts: Parts) -> None:
        """PS3.18 §8.7.3.1."""
        parts.add("a", b"ab", "application/octet-stream", "1.2.840.10008.1.2")
        assert await self.of(parts) == EXPLICIT

    async def test_is_one_for_all_frames(self, parts: Parts) -> None:
        parts.add("a", b"ab", "image/jpeg", JPEG).add("a", b"ab", "image/jpeg", LOSSLESS)
        await fails(parts, model(x7FE00010=at("a")), DataSetError, "not all of one media type and transfer syntax")

    @pytest.mark.parametrize(
        ("media_type", "syntax"),
        [("image/jpeg", EXPLICIT), ("application/octet-stream", "1.2.840.10008.1.2.2"), ("image/unheard-of", "")],
    )
    async def test_that_it_cannot_be(self, parts: Parts, media_type: str, syntax: str) -> None:
        parts.add("a", b"ab", media_type, syntax)
        await fails(parts, model(x7FE00010=at("a")), UnsupportedTransferSyntax, "pixel data as ")


class TestWhatDoesNotFit:
    @pytest.mark.parametrize("tag", ["00080016", "00080018"])
    async def test_without_its_uids(self, parts: Parts, tag: str) -> None:
        wanted = model()
        del wanted[tag]
        await fails(parts, wanted, DataSetError, r"the metadata have no \(0008,00")

    async def test_a_length_of_no_values(self, parts: Parts) -> None:
        parts.add("a", b"abc")
        await fails(parts, model(x00280010=at("a", "US")), DataSetError, "3 bytes are no values of US")

    async def test_a_sequence(self, parts: Parts) -> None:
        parts.add("a", b"ab")
        await fails(parts, model(x00081140=at("a", "SQ")), DataSetError, "cannot be bulk data")

    async def test_more_than_a_value_may_have(self, parts: Parts) -> None:
        parts.bulk["a"] = [Bulk("application/octet-stream", "", 0, 0xFFFFFFFF)]
        await fails(parts, model(x00091001=at("a")), DataSetError, "more than a value may have")

    async def test_more_than_may_be_in_memory(self, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(assembly, "MAX_MEMORY_BYTES", 4)
        parts.add("a", b"\1\2\3\4").add("b", b"\1\2")
        items = {"vr": "SQ", "Value": [{"00280010": at("a", "US")}]}
        await data_set(parts, model(x00081140=items))
        items["Value"] = [{"00280010": at("a", "US"), "00280011": at("b", "US")}]
        await fails(parts, model(x00081140=items), DataSetError, "more than 4 bytes of bulk data inside sequences")

    async def test_what_is_no_json(self, parts: Parts) -> None:
        with pytest.raises(DataSetError, match="the metadata cannot be read"):
            await assemble(cast(Ingest, Intake()), b"{", {}, None, ORIGIN)

    async def test_a_failure_in_the_middle_abandons_what_was_begun(self, parts: Parts) -> None:
        parts.add("a", b"abcd")
        intake = Intake()

        async def full() -> None:
            raise OSError("no room")

        intake.writer.drained = full  # type: ignore[method-assign]
        wanted = json.dumps(model(x00091001=at("a"))).encode()
        with pytest.raises(OSError, match="no room"):
            await assemble(cast(Ingest, intake), wanted, parts.bulk, parts.scratch, ORIGIN)
        assert intake.writer.abandoned
        assert not intake.writer.committed
