"""STOW-RS (PS3.18 §10.5): every way in which instances come, and what is said of each."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse
from pydicom.charset import encode_string, python_encoding
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

from gateway.config import Dicomweb, Http
from gateway.database.database import Query
from gateway.dicom.part10 import file_header, read_header
from gateway.dicom.xml import to_xml
from gateway.dicom.xml_reader import from_xml
from gateway.web.dicomweb import stow_parts
from gateway.web.receiving import UPLOADS
from gateway.web.streaming import RateGuard
from tests.support.datasets import EXPLICIT, IMPLICIT, decode, encode, instance
from tests.support.waiting import paced
from tests.support.web import House, archive

DICOM = "application/dicom"
Part = tuple[dict[str, str], bytes]

WITHOUT_PIXELS = {"PixelData": None, "Rows": None, "Columns": None}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[House]:
    async with asyncio.timeout(50), archive(tmp_path / "data") as made:
        yield made


def part10(data_set: Dataset, syntax: str = EXPLICIT) -> bytes:
    head = file_header(
        sop_class_uid=data_set.SOPClassUID,
        sop_instance_uid=data_set.SOPInstanceUID,
        transfer_syntax_uid=syntax,
        source_aet="MODALITY",
    )
    return head + encode(data_set, syntax)


def multipart(parts: Sequence[Part], line: bytes = b"\r\n") -> bytes:
    body = b""
    for headers, content in parts:
        fields = b"".join(f"{name}: {value}".encode() + line for name, value in headers.items())
        body += b"--XX" + line + fields + line + content + line
    return body + b"--XX--" + line


def files(*data_sets: Dataset) -> list[Part]:
    return [({"Content-Type": DICOM}, part10(data_set)) for data_set in data_sets]


async def post(
    gateway: House, body: Any, kind: str = DICOM, path: str = "/dicom-web/studies", **headers: str
) -> ClientResponse:
    """`kind` is the type parameter, or with a semicolon or without a slash a whole Content-Type."""
    content_type = kind if ";" in kind or kind.startswith("=") else f'multipart/related; type="{kind}"; boundary=XX'
    fields = {"Content-Type": content_type.removeprefix("="), **headers}
    return await gateway.client.post(path, data=body, headers=fields)


def items(model: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    return list(model.get(tag, {}).get("Value", []))


def value(item: dict[str, Any], tag: str) -> Any:
    return item[tag]["Value"][0]


async def stored(gateway: House, answer: ClientResponse, status: int = 200) -> list[str]:
    """SOP Instance UIDs of a receipt with this status."""
    assert answer.status == status, await answer.text()
    assert answer.headers["Content-Type"] == "application/dicom+json"
    return [value(item, "00081155") for item in items(json.loads(await answer.read()), "00081199")]


async def file_of(gateway: House, uid: str) -> bytes:
    ((key,),) = await gateway.database.fetch(Query("key_of: one", "SELECT key FROM instances WHERE uid = $1"), uid)
    opened = gateway.store.open(key)
    try:
        return opened.read(0, opened.size)
    finally:
        opened.close()


class TestFiles:
    async def test_stored_whole_and_said_so(self, gateway: House):
        one, two = instance(), instance()
        two.StudyInstanceUID = one.StudyInstanceUID
        answer = await post(gateway, multipart(files(one, two)))
        assert await stored(gateway, answer) == [one.SOPInstanceUID, two.SOPInstanceUID]
        model = json.loads(await answer.read())
        assert value(model, "00081190").endswith(f"/dicom-web/studies/{one.StudyInstanceUID}")
        (first, _) = items(model, "00081199")
        assert value(first, "00081150") == one.SOPClassUID
        url = value(first, "00081190")
        assert url.endswith(
            f"/studies/{one.StudyInstanceUID}/series/{one.SeriesInstanceUID}/instances/{one.SOPInstanceUID}"
        )
        assert "00081198" not in model
        found = await file_of(gateway, one.SOPInstanceUID)
        meta = read_header(lambda offset, length: found[offset : offset + length])
        assert found[meta.data_set_offset :] == encode(one)
        assert bytes(meta.elements[0x00020018].value).strip() == b"GATEWAY"
        assert 0x00020016 not in meta.elements
        metadata = await gateway.json(f"/dicom-web/studies/{one.StudyInstanceUID}/metadata")
        assert len(metadata) == 2

    async def test_xml_answer(self, gateway: House):
        one = instance()
        answer = await post(gateway, multipart(files(one)), Accept="application/dicom+xml")
        assert answer.headers["Content-Type"] == "application/dicom+xml"
        (item,) = items(from_xml(await answer.read()), "00081199")
        assert value(item, "00081155") == one.SOPInstanceUID

    async def test_an_answer_that_cannot_be_had_is_no_reason_to_refuse(self, gateway: House):
        one = instance()
        assert await stored(gateway, await post(gateway, multipart(files(one)), Accept="text/html"))

    @pytest.mark.parametrize(
        ("content_type", "change"),
        [
            ("multipart/related; type=application/dicom; boundary=XX", lambda body: body),
            ("multipart/related; boundary=XX", lambda body: body),
            ('Multipart/Related; Boundary="XX"; Type="application/DICOM"', lambda body: body),
            ("multipart/related; boundary=XX", lambda body: b"\r\n" + body),
            ("multipart/related; boundary=XX", lambda body: b"preamble\r\n" + body + b"epilogue"),
            ("multipart/related; boundary=XX", lambda body: body.removesuffix(b"\r\n")),
            ("multipart/related; boundary=XX", lambda body: body.replace(b"Content-Type: application/dicom", b"X: y")),
            ("multipart/related; boundary=XX", lambda body: body.replace(DICOM.encode(), b"application/octet-stream")),
        ],
    )
    async def test_as_clients_write_it(self, gateway: House, content_type: str, change: Callable[[bytes], bytes]):
        one = instance()
        answer = await post(gateway, change(multipart(files(one))), "=" + content_type)
        assert await stored(gateway, answer) == [one.SOPInstanceUID]

    async def test_line_feeds_alone(self, gateway: House):
        one = instance()
        assert await stored(gateway, await post(gateway, multipart(files(one), b"\n"))) == [one.SOPInstanceUID]

    async def test_in_chunks_without_a_length(self, gateway: House):
        one = instance()
        body = multipart(files(one))

        async def chunks() -> AsyncIterator[bytes]:
            for at in range(0, len(body), 37):
                yield body[at : at + 37]

        assert await stored(gateway, await post(gateway, chunks())) == [one.SOPInstanceUID]

    async def test_one_file_without_multipart(self, gateway: House):
        one = instance()
        answer = await post(gateway, part10(one, IMPLICIT), "=" + DICOM)
        assert await stored(gateway, answer) == [one.SOPInstanceUID]

    async def test_more_than_are_on_their_way_at_once(self, gateway: House):
        many = [instance() for _ in range(3 * stow_parts.WINDOW)]
        uids = [each.SOPInstanceUID for each in many]
        assert await stored(gateway, await post(gateway, multipart(files(*many)))) == uids

    async def test_the_same_again(self, gateway: House):
        one = instance()
        for _ in range(2):
            assert await stored(gateway, await post(gateway, multipart(files(one)))) == [one.SOPInstanceUID]


class TestFailures:
    async def test_one_harms_no_other(self, gateway: House):
        one, two = instance(), instance()
        broken = ({"Content-Type": DICOM}, part10(instance())[:700])
        nothing = ({"Content-Type": DICOM}, b"not an image")
        parts = [files(one)[0], broken, nothing, ({}, b""), files(two)[0]]
        answer = await post(gateway, multipart(parts))
        assert await stored(gateway, answer, 202) == [one.SOPInstanceUID, two.SOPInstanceUID]
        model = json.loads(await answer.read())
        (failed,) = items(model, "00081198")
        assert value(failed, "00081197") == 0xC000
        others = items(model, "0008119A")
        assert [value(other, "00081197") for other in others] == [0xC000, 0xC000]
        assert "DICOM" in value(others[0], "00000902")

    async def test_another_study_than_that_of_the_url(self, gateway: House):
        one, two = instance(), instance()
        path = f"/dicom-web/studies/{one.StudyInstanceUID}"
        answer = await post(gateway, multipart(files(one, two)), path=path)
        assert await stored(gateway, answer, 202) == [one.SOPInstanceUID]
        (failed,) = items(json.loads(await answer.read()), "00081198")
        assert value(failed, "00081155") == two.SOPInstanceUID
        assert value(failed, "00081197") == 0xC409
        answer = await post(gateway, multipart(files(two)), path=path)
        assert answer.status == 409

    async def test_a_transfer_syntax_that_nobody_knows(self, gateway: House):
        one = instance()
        body = part10(one).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0", 1)
        answer = await post(gateway, multipart([({}, body)]))
        assert answer.status == 409
        (failed,) = items(json.loads(await answer.read()), "00081198")
        assert value(failed, "00081197") == 0xC122

    @pytest.mark.parametrize(("policy", "status"), [("keep", 202), ("overwrite", 200), ("reject", 409)])
    async def test_other_bytes(self, tmp_path: Path, policy: str, status: int):
        one = instance()
        async with asyncio.timeout(20), archive(tmp_path / "data", duplicates=policy) as gateway:
            await post(gateway, multipart(files(one)))
            one.PatientComments = "other"
            answer = await post(gateway, multipart(files(one)))
            assert answer.status == status
            model = json.loads(await answer.read())
        if policy == "reject":
            assert [value(item, "00081197") for item in items(model, "00081198")] == [0xC111]
        else:
            (item,) = items(model, "00081199")
            assert item.get("00081196", {}).get("Value") == ([0xB111] if policy == "keep" else None)

    async def test_no_room(self, tmp_path: Path):
        async with asyncio.timeout(20), archive(tmp_path / "data") as gateway:
            gateway.ingest.store.free_bytes = lambda: -1  # type: ignore[method-assign]
            answer = await post(gateway, multipart(files(instance())))
            assert answer.status == 507
            (failed,) = items(json.loads(await answer.read()), "00081198")
            assert value(failed, "00081197") == 0xA700

    async def test_nothing_can_be_vouched_for(self, gateway: House):
        gateway.ingest.health.fail("a sync failed")
        answer = await post(gateway, multipart(files(instance())))
        assert answer.status == 503
        assert answer.headers["Retry-After"]

    @pytest.mark.parametrize(
        "content_type",
        ["", "text/plain", "image/jpeg", 'multipart/related; type="image/jpeg"; boundary=XX', "application/zip"],
    )
    async def test_media_types_that_are_not_taken(self, gateway: House, content_type: str):
        answer = await post(gateway, b"--XX--", "=" + content_type)
        assert answer.status == 415

    async def test_a_part_that_is_not_taken(self, gateway: House):
        answer = await post(gateway, multipart([({"Content-Type": "image/jpeg"}, b"")]))
        assert answer.status == 415

    @pytest.mark.parametrize("body", [b"", b"nonsense", b"--XX--", b"--XX\r\n\r\n"])
    async def test_no_multipart_at_all(self, gateway: House, body: bytes):
        assert (await post(gateway, body)).status == 400
        assert (await post(gateway, body, "=multipart/related; type=application/dicom")).status == 400

    async def test_nothing_at_all_any_number_of_times(self, gateway: House):
        """aiohttp has one reader for all empty bodies, which says another thing each time."""
        async with asyncio.timeout(10):
            for _ in range(3):
                assert (await post(gateway, b"")).status == 400

    async def test_cut_off_in_the_middle(self, gateway: House):
        """What was whole before stays, and the answer says what failed."""
        one, two = instance(), instance()
        body = multipart(files(one, two))
        answer = await post(gateway, body[:-200])
        assert await stored(gateway, answer, 202) == [one.SOPInstanceUID]
        model = json.loads(await answer.read())
        assert [value(item, "00081155") for item in items(model, "00081198")] in ([], [two.SOPInstanceUID])
        assert len(items(model, "00081198") + items(model, "0008119A")) == 1

    async def test_more_than_is_taken(self, gateway: House):
        one, two = instance(), instance(rows=512, columns=512)
        body = multipart(files(one, two))
        gateway.dicomweb = Dicomweb(max_upload=len(body) - 1000)
        answer = await post(gateway, body)
        assert answer.status == 413

        async def chunks() -> AsyncIterator[bytes]:
            yield body

        answer = await post(gateway, chunks())
        assert await stored(gateway, answer, 413) == [one.SOPInstanceUID]

    async def test_too_many_requests(self, gateway: House, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("gateway.web.receiving.PATIENCE", 0.05)
        slots = gateway.client.app[UPLOADS]._slots
        async with AsyncExitStack() as held:
            for number in range(gateway.dicomweb.uploads):
                await held.enter_async_context(slots.slot(f"10.1.1.{number}"))
            answer = await post(gateway, multipart(files(instance())))
        assert answer.status == 503
        assert answer.headers["Retry-After"]


class TestHostile:
    async def test_a_million_empty_parts(self, gateway: House):
        async def body() -> AsyncIterator[bytes]:
            for _ in range(1000):
                yield b"--XX\r\n\r\n\r\n" * 1000

        answer = await post(gateway, body())
        assert answer.status == 400
        assert "other parts" in (await answer.json(content_type=None))["Details"]

    async def test_a_part_header_of_a_hundred_megabytes(self, gateway: House):
        async def body() -> AsyncIterator[bytes]:
            yield b"--XX\r\nX: "
            for _ in range(100):
                yield b"y" * (1 << 20)

        assert (await post(gateway, body())).status == 400

    async def test_metadata_without_end(self, gateway: House, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(stow_parts, "MAX_METADATA", 1000)
        part = ({"Content-Type": "application/dicom+json"}, b"[" + b" " * 1000 + b"]")
        assert (await post(gateway, multipart([part]))).status == 400

    @pytest.mark.parametrize(
        "document",
        [b"[" * 100_000, b'[{"00081199":{"vr":"SQ","Value":[' * 5000, b"[1]", b"{", b"[{}", b"[{}{}]", b"[NaN]"],
    )
    async def test_metadata_that_are_none(self, gateway: House, document: bytes):
        part = ({"Content-Type": "application/dicom+json"}, document)
        assert (await post(gateway, multipart([part]))).status == 400

    @pytest.mark.case("broken 25 an upload that trickles is let go")
    async def test_a_body_that_never_ends(self, gateway: House, monkeypatch: pytest.MonkeyPatch):
        """A byte now and then: its sender is let go, and nothing of it stays."""
        monkeypatch.setattr(RateGuard.__init__, "__defaults__", (0.3,))
        gateway.http = Http(min_rate=1 << 20)
        server = gateway.client.server
        _, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(
            b"POST /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n"
            b"Content-Type: multipart/related; boundary=XX\r\n\r\n" + multipart(files(instance()))[:-20]
        )
        async for _ in paced(writer.transport.is_closing):
            writer.write(b"x")
        assert not list(gateway.ingest.store.keys())


def metadata(data_set: Dataset, uri: str) -> dict[str, Any]:
    """DICOM JSON of all but the pixels, which come from `uri`."""
    copy = Dataset()
    copy.update({tag: data_set[tag] for tag in data_set.keys() if tag != 0x7FE00010})  # noqa: SIM118
    return {**copy.to_json_dict(), "7FE00010": {"vr": "OW", "BulkDataURI": uri}}


def bulk(uri: str, content: bytes, content_type: str = "application/octet-stream") -> Part:
    return {"Content-Type": content_type, "Content-Location": uri}, content


def json_part(*models: dict[str, Any]) -> Part:
    return {"Content-Type": "application/dicom+json"}, json.dumps(models).encode()


def jpeg(kind: int = 0xC0, odd: bool = True) -> bytes:
    """Enough of a JPEG stream to tell its kind."""
    frame = bytes([0xFF, kind]) + b"\0\x0b\x08\0\x10\0\x10\x01\x01\x11\0"
    return b"\xff\xd8" + frame + b"\xff\xda\0\x08\x01\x01\0\x01\x3f\0" + b"\x12" * (7 + odd) + b"\xff\xd9"


class TestMetadataAndBulkData:
    async def read(self, gateway: House, uid: str) -> tuple[str, Dataset]:
        found = await file_of(gateway, uid)
        meta = read_header(lambda offset, length: found[offset : offset + length])
        return meta.transfer_syntax_uid, decode(found[meta.data_set_offset :], meta.transfer_syntax_uid)

    async def test_json_and_octets(self, gateway: House):
        one, two = instance(PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100"), instance()
        parts = [
            json_part(metadata(one, "bulk/1"), metadata(two, "http://example.org/2")),
            bulk("bulk/1", one.PixelData),
            bulk("http://example.org/2", two.PixelData),
        ]
        answer = await post(gateway, multipart(parts), "application/dicom+json")
        assert sorted(await stored(gateway, answer)) == sorted([one.SOPInstanceUID, two.SOPInstanceUID])
        for each in (one, two):
            syntax, found = await self.read(gateway, each.SOPInstanceUID)
            assert syntax == EXPLICIT
            assert found == each

    async def test_xml(self, gateway: House):
        one, two = instance(), instance()
        parts: list[Part] = [
            ({"Content-Type": "application/dicom+xml"}, to_xml(metadata(one, "1"))),
            ({"Content-Type": "application/dicom+xml; charset=utf-8"}, to_xml(metadata(two, "2"))),
            bulk("1", one.PixelData),
            bulk("2", two.PixelData),
        ]
        answer = await post(gateway, multipart(parts), "application/dicom+xml")
        assert len(await stored(gateway, answer)) == 2
        for each in (one, two):
            assert (await self.read(gateway, each.SOPInstanceUID))[1] == each

    async def test_without_bulk_data(self, gateway: House):
        one = instance()
        for keyword in ("PixelData", "Rows", "Columns"):
            delattr(one, keyword)
        body = json.dumps([one.to_json_dict()]).encode()
        assert await stored(gateway, await post(gateway, body, "=application/dicom+json")) == [one.SOPInstanceUID]
        assert (await self.read(gateway, one.SOPInstanceUID))[1] == one

    async def test_inside_sequences(self, gateway: House):
        one = instance()
        item = Dataset()
        item.WaveformData = b"\1\2\3\4"
        item["WaveformData"].VR = "OW"
        one.WaveformSequence = [item]
        model = {
            **one.to_json_dict(),
            "7FE00010": {"vr": "OW", "InlineBinary": base64.b64encode(one.PixelData).decode()},
        }
        model["54000100"]["Value"][0]["54001010"] = {"vr": "OW", "BulkDataURI": "w"}
        answer = await post(gateway, multipart([json_part(model), bulk("w", b"\1\2\3\4")]))
        assert await stored(gateway, answer) == [one.SOPInstanceUID]
        assert (await self.read(gateway, one.SOPInstanceUID))[1] == one

    @pytest.mark.parametrize(
        ("content_type", "content", "syntax"),
        [
            ("image/jpeg", jpeg(0xC0), "1.2.840.10008.1.2.4.50"),
            ("image/jpeg", jpeg(0xC1), "1.2.840.10008.1.2.4.51"),
            ("image/jpeg", jpeg(0xC3), "1.2.840.10008.1.2.4.70"),
            ("image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.57", jpeg(0xC3), "1.2.840.10008.1.2.4.57"),
            ("image/jp2", b"12\xff\xd9", "1.2.840.10008.1.2.4.90"),
            ('image/jp2; transfer-syntax="1.2.840.10008.1.2.4.91"', b"12\xff\xd9", "1.2.840.10008.1.2.4.91"),
            ("image/jls", b"12\xff\xd9", "1.2.840.10008.1.2.4.80"),
            ("image/dicom-rle", b"12", "1.2.840.10008.1.2.5"),
            ("video/mp4", b"12", "1.2.840.10008.1.2.4.102"),
            ("application/octet-stream; transfer-syntax=1.2.840.10008.1.2.4.50", jpeg(), "1.2.840.10008.1.2.4.50"),
        ],
    )
    async def test_compressed(self, gateway: House, content_type: str, content: bytes, syntax: str):
        one = instance()
        answer = await post(gateway, multipart([json_part(metadata(one, "p")), bulk("p", content, content_type)]))
        assert await stored(gateway, answer) == [one.SOPInstanceUID]
        found_syntax, found = await self.read(gateway, one.SOPInstanceUID)
        assert found_syntax == syntax
        content += b"\0" * (len(content) & 1)
        assert found.PixelData == b"\xfe\xff\0\xe0\0\0\0\0\xfe\xff\0\xe0" + len(content).to_bytes(4, "little") + content

    @pytest.mark.case("file 02 the boxes of a JP2 file come off where it is stored as bulk data")
    @pytest.mark.parametrize("last", [False, True])
    async def test_of_a_jp2_file_the_codestream_is_encapsulated(self, gateway: House, last: bool):
        """PS3.5 A.4.4: without boxes; its last one may have no length."""
        codestream = b"\xff\x4f\xff\x51 the stream\xff\xd9"
        box = (8 + len(codestream)).to_bytes(4, "big") if last else bytes(4)
        file = b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\x0cftypjp2 " + box + b"jp2c" + codestream
        file += b"\0\0\0\x09xml <" * last
        one = instance()
        answer = await post(gateway, multipart([json_part(metadata(one, "p")), bulk("p", file, "image/jp2")]))
        assert await stored(gateway, answer) == [one.SOPInstanceUID]
        _, found = await self.read(gateway, one.SOPInstanceUID)
        padded = codestream + b"\0" * (len(codestream) & 1)
        assert list(generate_frames(found.PixelData, number_of_frames=1)) == [padded]

    async def test_frames_follow_each_other_under_one_location(self, gateway: House):
        one, two = instance(frames=3), instance()
        frames = [b"frame 1", b"frame 2!", b"3.\xff\xd9"]
        parts = [json_part(metadata(one, "p"), metadata(two, "q"))]
        parts += [bulk("p", frame, "image/jp2") for frame in frames]
        parts += [bulk("q", two.PixelData)]
        answer = await post(gateway, multipart(parts))
        assert sorted(await stored(gateway, answer)) == sorted([one.SOPInstanceUID, two.SOPInstanceUID])
        _, found = await self.read(gateway, one.SOPInstanceUID)
        assert list(generate_frames(found.PixelData, number_of_frames=3)) == [b"frame 1\0", b"frame 2!", b"3.\xff\xd9"]

    @pytest.mark.parametrize("uri", ["http://{}/x", "//{}/x", "dicom://{}/x", "file:///etc/hostname", "../../x"])
    async def test_no_uri_is_fetched(self, gateway: House, uri: str):
        """Bulk data are parts of the request; nobody is asked for what an URI names, neither here nor elsewhere."""
        one, calls = instance(), []
        async with await asyncio.start_server(lambda _, writer: calls.append(writer), "127.0.0.1", 0) as other:
            place = "{}:{}".format(*other.sockets[0].getsockname())
            answer = await post(gateway, multipart([json_part(metadata(one, uri.format(place)))]))
        assert await stored(gateway, answer, 400) == []
        assert calls == []

    async def test_what_does_not_fit_together(self, gateway: House):
        one, two, three, four = (instance() for _ in range(4))
        nameless = metadata(instance(), "f")
        del nameless["00080018"]
        parts = [
            json_part(
                metadata(one, "never"), metadata(two, "two"), metadata(three, "big"), metadata(four, "four"), nameless
            ),
            bulk("two", b"1", "image/jp2"),
            bulk("two", b"2", "image/jp2"),
            bulk("big", b"12", "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.2"),
            bulk("unknown", b"x"),
            bulk("f", b"12"),
            bulk("four", four.PixelData),
        ]
        answer = await post(gateway, multipart(parts))
        assert await stored(gateway, answer, 202) == [four.SOPInstanceUID]
        model = json.loads(await answer.read())
        reasons = {value(item, "00081155"): value(item, "00081197") for item in items(model, "00081198")}
        assert reasons == {one.SOPInstanceUID: 0xC000, two.SOPInstanceUID: 0xC000, three.SOPInstanceUID: 0xC122}
        assert len(items(model, "0008119A")) == 2

    @pytest.mark.case("case 03 text as bulk data is stored under the character set that its bytes are in")
    @pytest.mark.parametrize(("vr", "tag"), [("UT", "0040A160"), ("LT", "00104000"), ("UC", "00080119")])
    @pytest.mark.parametrize("other", ["plain", "Müller"])
    @pytest.mark.parametrize("terms", [None, ["ISO_IR 192"], ["ISO_IR 100"], ["", "ISO 2022 IR 87"]])
    @pytest.mark.parametrize("nested", [False, True])
    async def test_text(self, gateway: House, vr: str, tag: str, other: str, terms: list[str] | None, nested: bool):
        one = instance(StudyDescription=other, **WITHOUT_PIXELS)
        text = "größe" if terms == ["ISO_IR 100"] else "größe 漢字" if terms in (None, ["ISO_IR 192"]) else "漢字"
        codecs = ["utf-8"] if terms in (None, ["ISO_IR 192"]) else [python_encoding[term] for term in terms or ()]
        member = {"vr": vr, "BulkDataURI": "bulk/1"}
        model = json.loads(one.to_json()) | {"00081030": {"vr": "LO", "Value": [other]}}
        if terms:
            model["00080005"] = {"vr": "CS", "Value": terms}
        model |= {"00081115": {"vr": "SQ", "Value": [{tag: member}]}} if nested else {tag: member}
        answer = await post(gateway, multipart([json_part(model), bulk("bulk/1", encode_string(text, codecs))]))
        assert await stored(gateway, answer) == [one.SOPInstanceUID]
        _, found = await self.read(gateway, one.SOPInstanceUID)
        found.decode()
        place = found.ReferencedSeriesSequence[0] if nested else found
        value = place[int(tag, 16)].value
        assert value == text
        assert found.StudyDescription == other

    @pytest.mark.case("case 03 text of odd length is padded with a space")
    async def test_text_of_odd_length(self, gateway: House):
        one = instance(**WITHOUT_PIXELS)
        model = one.to_json_dict() | {"0040A160": {"vr": "UT", "BulkDataURI": "1"}}
        await stored(gateway, await post(gateway, multipart([json_part(model), bulk("1", b"odd")])))
        assert b"\x40\0\x60\xa1UT\0\0\4\0\0\0odd " in await file_of(gateway, one.SOPInstanceUID)

    @pytest.mark.case("case 10 numbers as bulk data are stored, in sequences too")
    @pytest.mark.parametrize("nested", [False, True])
    @pytest.mark.parametrize(
        ("tag", "vr", "raw"),
        [
            ("00409225", "FD", struct.pack("<d", math.nan)),
            ("00720076", "FL", b"\1\0\x80\x7f" + struct.pack("<f", 2)),  # a signalling NaN, whose bits stay
            ("00283006", "US", struct.pack("<3H", 1, 300, 65535)),
            ("00189219", "SS", struct.pack("<h", -5)),
            ("00720078", "UL", struct.pack("<I", 70000)),
            ("0072007C", "SL", struct.pack("<i", -70000)),
            ("00720082", "SV", struct.pack("<q", -5)),
            ("00720083", "UV", struct.pack("<Q", 1 << 63)),
            ("00720060", "AT", struct.pack("<2H", 0x10, 0x20)),
            ("00720064", "IS", b"1\\2 "),
            ("00720074", "DS", b"1.50"),
            ("00720065", "OB", b"\1\2"),
        ],
    )
    async def test_numbers(self, gateway: House, tag: str, vr: str, raw: bytes, nested: bool):
        one = instance(**WITHOUT_PIXELS)
        member = {tag: {"vr": vr, "BulkDataURI": "bulk/1"}}
        model = one.to_json_dict() | ({"00081115": {"vr": "SQ", "Value": [member]}} if nested else member)
        answer = await post(gateway, multipart([json_part(model), bulk("bulk/1", raw)]))
        assert await stored(gateway, answer) == [one.SOPInstanceUID]
        length = struct.pack("<HI", 0, len(raw)) if vr in ("OB", "SV", "UV") else struct.pack("<H", len(raw))
        name = bytes.fromhex(tag)
        element = name[1::-1] + name[:1:-1] + vr.encode() + length + raw
        assert element in await file_of(gateway, one.SOPInstanceUID)

    @pytest.mark.case("case 19 JSON numbers are what their VR has, or refused for that one instance, with its reason")
    async def test_json_numbers(self, gateway: House):
        right, fraction, yes, text, odd = (instance(PixelData=None) for _ in range(5))
        models = [
            right.to_json_dict()
            | {
                "00200011": {"vr": "IS", "Value": [3.0]},
                "00280106": {"vr": "US", "Value": [2.0]},
                "00281053": {"vr": "DS", "Value": [2.0]},
            },
            fraction.to_json_dict() | {"00280106": {"vr": "US", "Value": [1.5]}},
            yes.to_json_dict() | {"00200011": {"vr": "IS", "Value": [True]}},
            text.to_json_dict() | {"00200011": {"vr": "IS", "Value": [1.5]}},
            odd.to_json_dict() | {"00283006": {"vr": "US", "BulkDataURI": "odd"}},
        ]
        answer = await post(gateway, multipart([json_part(*models), bulk("odd", b"123")]))
        assert await stored(gateway, answer, 202) == [right.SOPInstanceUID]
        file = await file_of(gateway, right.SOPInstanceUID)
        assert b"\x20\0\x11\0IS\2\x003 " in file
        assert b"\x28\0\x06\1US\2\0\2\0" in file
        failed = items(json.loads(await answer.read()), "00081198")
        assert {value(each, "00081155"): value(each, "00000902") for each in failed} == {
            fraction.SOPInstanceUID: "00280106: '1.5' is no value of US, which takes whole numbers",
            yes.SOPInstanceUID: "00200011: 'True' is no value of IS",
            text.SOPInstanceUID: "00200011: '1.5' is no value of IS, which takes whole numbers",
            odd.SOPInstanceUID: "00283006: 3 bytes are no values of US, which takes 2 for each",
        }

    @pytest.mark.case("a refusal reason over HTTP is whole")
    async def test_a_long_reason(self, gateway: House):
        one = instance(PixelData=None)
        model = one.to_json_dict() | {"0040A160": {"vr": "UT", "BulkDataURI": "1"}}
        answer = await post(gateway, multipart([json_part(model), bulk("1", b"gr\xf6\xdfe")]))
        (failed,) = items(await answer.json(content_type=None), "00081198")
        reason = "0040A160: the bytes are not UTF-8, but Specific Character Set says so or is absent"
        assert value(failed, "00000902") == reason

    @pytest.mark.parametrize(
        "member",
        [
            {"vr": "SQ", "InlineBinary": "AAAA"},
            {"vr": "SQ", "BulkDataURI": "b"},
            {"vr": ["US"], "Value": [1]},
            {"vr": "AT", "Value": ["1_0"]},
            {"vr": "US", "Value": ["1_0"]},
            {"vr": "US", "Value": ["\u0661"]},
            {"vr": "FL", "Value": [1e300]},
            {"vr": "DS", "Value": [False]},
            {"vr": "LO", "Value": [True]},
            {"vr": "US", "InlineBinary": "AAAA"},
        ],
    )
    async def test_values_that_are_none(self, gateway: House, member: dict[str, Any]):
        one = instance(PixelData=None)
        model = one.to_json_dict() | {"00081115": {"vr": "SQ", "Value": [{"00720080": member}]}}
        for each in (model, one.to_json_dict() | {"00720080": member}):
            answer = await post(gateway, multipart([json_part(each), bulk("b", b"12")]))
            assert answer.status in (400, 409), await answer.text()
            (failed,) = items(await answer.json(content_type=None), "00081198")
            assert value(failed, "00081197") == 0xC000
            assert "00720080" in value(failed, "00000902").replace("(0072,", "0072").replace(")", "")

    async def test_temporary_files_are_gone(self, gateway: House, tmp_path: Path):
        one = instance()
        await post(gateway, multipart([json_part(metadata(one, "p")), bulk("p", one.PixelData)]))
        (worker,) = (tmp_path / "data" / "incoming").iterdir()
        assert not [path for path in worker.iterdir() if path.stat().st_nlink == 1 and path.stat().st_size]


@pytest.mark.case("STOW says what is cut short, and what lacks pixel data")
async def test_what_is_cut_short_and_what_lacks_pixel_data(gateway: House):
    cut, short, whole = instance(), instance(PixelData=bytes(400)), instance()
    parts = [({"Content-Type": DICOM}, part10(cut)[:-100]), *files(short, whole)]
    answer = await post(gateway, multipart(parts))
    assert await stored(gateway, answer, 202) == [short.SOPInstanceUID, whole.SOPInstanceUID]
    model = json.loads(await answer.read())
    (failed,) = items(model, "00081198")
    assert value(failed, "00081155") == cut.SOPInstanceUID
    assert value(failed, "00081197") == 0xC000
    assert value(failed, "00000902").startswith("cut short in (7FE0,0010) at offset ")
    warned, fine = items(model, "00081199")
    assert value(warned, "00081196") == 0xB007
    assert value(warned, "00000902") == "400 of 512 bytes of pixel data"
    assert "00081196" not in fine
