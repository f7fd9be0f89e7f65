"""What WADO-RS gives out as metadata and bulk data, STOW-RS takes back: the same data set, bit for bit.

What is not the same, since the models of PS3.18 Annex F and PS3.19 A.1 cannot say it: sequences and items come with
defined length; padding is one space or NUL; spaces that PS3.5 Table 6.2-1 calls insignificant are gone, and empty
component groups and carets at the end of a person name; an IS is written as an integer (+7 is 7), a DS with its
digits where these are a number of JSON (RFC 8259); group lengths are left out; VRs longer than they can say are UN;
fragments of one frame are one, with a Basic Offset Table for several frames. And text in other character sets than
UTF-8 becomes UTF-8, as Specific Character Set says; that of an item goes, which is the same as what it inherits.
"""

from __future__ import annotations

import asyncio
import json
import random
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydicom
import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.charset import encode_string, python_encoding
from pydicom.dataset import Dataset
from yarl import URL

from gateway.config import Dicomweb
from gateway.database.database import Query
from gateway.dicom.json import MAX_INLINE_BYTES
from gateway.dicom.part10 import file_header, read_header
from tests.support.datasets import CT, EXPLICIT, JPEG_BASELINE, encode, instance
from tests.support.web import House, archive, parts

STUDY, SERIES, INSTANCE = "1.1", "1.1.1", "1.1.1.1"
ONE = f"/dicom-web/studies/{STUDY}/series/{SERIES}/instances/{INSTANCE}"
ANYTHING = "*/*; transfer-syntax=*"
JSON, XML = "application/dicom+json", "application/dicom+xml"
_LONG_HEADER = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
WORDS = {
    "US": 2,
    "SS": 2,
    "AT": 4,
    "UL": 4,
    "SL": 4,
    "FL": 4,
    "OF": 4,
    "OL": 4,
    "FD": 8,
    "SV": 8,
    "UV": 8,
    "OD": 8,
    "OV": 8,
}

# --- data sets as bytes ---------------------------------------------------------------------------------------------

Items = list["Elements"]
Elements = dict[int, tuple[str, bytes | Items]]


def element(tag: int, vr: str, value: bytes | Items) -> bytes:
    data = b"".join(item(each) for each in value) if isinstance(value, list) else value
    data += (b"\0" if vr in ("UI", "OB", "UN") else b" ") * (len(data) & 1)
    if vr in _LONG_HEADER:
        return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr.encode(), 0, len(data)) + data
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(data)) + data


def encoded(elements: Elements) -> bytes:
    return b"".join(element(tag, *elements[tag]) for tag in sorted(elements))


def item(elements: Elements) -> bytes:
    data = encoded(elements)
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(data)) + data


def whole(elements: Elements, term: bytes | None) -> bytes:
    """A data set that says what it is, and has these elements."""
    said: Elements = {
        0x00080016: ("UI", CT.encode()),
        0x00080018: ("UI", INSTANCE.encode()),
        0x00100020: ("LO", b"P1"),
        0x0020000D: ("UI", STUDY.encode()),
        0x0020000E: ("UI", SERIES.encode()),
    }
    if term is not None:
        said[0x00080005] = ("CS", term)
    return encoded(elements | said)


# --- values ---------------------------------------------------------------------------------------------------------

ASCII = "".join(map(chr, range(0x21, 0x7F))).replace("\\", "").replace("^", "").replace("=", "")


def letters(codec: str) -> str:
    """What a set of single bytes has beside ASCII."""
    return bytes(range(0xA0, 0x100)).decode(codec, "ignore").replace("\xa0", "")


HAN, KANA, HANGUL = "山田太郎王小东漢字", "ﾔﾏﾀﾞﾀﾛｳ", "김희중홍길동"
SETS: dict[str, str] = {
    "ISO_IR 192": "äßñ漢字Ωж\u0301\U0001f600\ufeff\ufffe\x85\u2028",
    **{
        f"ISO_IR {number}": letters(python_encoding[f"ISO_IR {number}"])
        for number in (100, 101, 109, 110, 126, 127, 138, 144, 148, 166)
    },
    "ISO_IR 13": KANA,
    "GB18030": HAN + "ä€\U0001f600",
    "GBK": HAN,
    "\\ISO 2022 IR 87": "山田太郎",
    "ISO 2022 IR 13\\ISO 2022 IR 87": KANA + "山田太郎",
    "\\ISO 2022 IR 149": HANGUL,
    "\\ISO 2022 IR 58": "王小东",
    "ISO 2022 IR 100\\ISO 2022 IR 144": "äßñжЯ",
}
"""Specific Character Set to some of its letters."""


def in_set(text: str, term: str | None) -> bytes:
    if term is None:
        return text.encode("ascii")
    if "\\" not in term:
        return text.encode(
            {"ISO_IR 192": "utf-8", "GBK": "gbk", "GB18030": "gb18030"}.get(term) or python_encoding[term]
        )
    return encode_string(text, [python_encoding[each] if each else "iso8859" for each in term.split("\\")])


@st.composite
def values(draw: st.DrawFn, vr: str, term: str | None) -> bytes:
    """A value of a VR as writers have it; see the head of this file."""
    more = SETS.get(term or "", "")

    def text(extra: str = "", least: int = 0) -> str:
        letters = draw(st.text(st.sampled_from(ASCII + 20 * more + extra + " "), min_size=least, max_size=12))
        return letters.strip(" ")

    def several(one: Any) -> bytes:
        return b"\\".join(one() for _ in range(draw(st.sampled_from((1, 1, 2, 5)))))

    if vr in WORDS or vr in ("OB", "OW", "UN"):
        size = WORDS.get(vr, 2)
        count = draw(st.sampled_from((0, 1, 3, 600 if vr in _LONG_HEADER else 4)))
        return (
            draw(st.binary(min_size=size, max_size=size)) * count
            if count > 3
            else draw(st.binary(min_size=size * count, max_size=size * count))
        )
    if vr == "IS":
        return several(lambda: str(draw(st.integers(-(1 << 31), (1 << 31) - 1))).encode())
    if vr == "DS":
        number = st.from_regex(r"\A(0|[1-9][0-9]{0,4})(\.[0-9]{1,6})?([eE][-+]?[0-9]{1,2})?\Z").filter(
            lambda n: n != "-0"
        )
        return several(lambda: draw(number).encode())
    if vr == "UI":
        return several(lambda: draw(st.from_regex(r"\A[1-9](\.[1-9][0-9]{0,3}){1,4}\Z")).encode())
    if vr in ("AE", "AS", "CS", "DA", "DT", "TM", "UR"):
        one = lambda: draw(st.text(st.sampled_from(ASCII), max_size=10)).encode()  # noqa: E731
        return one() if vr == "UR" else several(one)
    if vr == "PN":
        group = lambda: "^".join(text() for _ in range(draw(st.integers(1, 5)))).rstrip("^")  # noqa: E731
        return several(lambda: in_set("=".join(group() for _ in range(draw(st.integers(1, 3)))).rstrip("="), term))
    if vr in ("LT", "ST", "UT"):
        # Long is longer than what is inline whatever the character set, so that it is bulk data on either side.
        long = MAX_INLINE_BYTES // 2 + 1 if vr == "UT" and draw(st.integers(0, 3)) == 0 else 1
        body = (text("\\\t\n\f\r") + "\r\n") * long + text(least=1)
        return in_set(body.rstrip(" "), term)
    return several(lambda: in_set(text(), term))


VRS = tuple(
    "AE AS AT CS DA DS DT FL FD IS LO LT OB OD OF OL OV OW PN SH SL SS ST SV TM UC UI UL UN UR US UT UV".split()  # noqa: SIM905
)


@st.composite
def data_sets(draw: st.DrawFn, term: str | None, depth: int = 0) -> Elements:
    found: Elements = {0x00990010: ("LO", b"MAKER OF IT")}
    for number in range(draw(st.integers(1, 6))):
        vr = draw(st.sampled_from(VRS))
        found[0x00991000 + number] = vr, draw(values(vr, term))
    if depth < 3:
        for number in range(draw(st.integers(0, 2))):
            count = draw(st.integers(0, 2))
            found[0x00400275 + number * 0x100] = "SQ", [draw(data_sets(term, depth + 1)) for _ in range(count)]
    return found


# --- there and back -------------------------------------------------------------------------------------------------


def multipart(kind: str, contents: list[tuple[dict[str, str], bytes]]) -> tuple[dict[str, str], bytes]:
    boundary = "".join(random.choice("abcdefgh") for _ in range(40))
    body = b""
    for headers, content in contents:
        body += f"--{boundary}\r\n".encode() + b"".join(f"{n}: {v}\r\n".encode() for n, v in headers.items())
        body += b"\r\n" + content + b"\r\n"
    return {"Content-Type": f'multipart/related; type="{kind}"; boundary={boundary}'}, body + f"--{boundary}--".encode()


async def post(gateway: House, kind: str, contents: list[tuple[dict[str, str], bytes]]) -> None:
    headers, body = multipart(kind, contents)
    answer = await gateway.client.post("/dicom-web/studies", data=body, headers=headers)
    assert answer.status == 200, await answer.text()


async def store(gateway: House, data: bytes, syntax: str = EXPLICIT) -> None:
    head = file_header(sop_class_uid=CT, sop_instance_uid=INSTANCE, transfer_syntax_uid=syntax, source_aet="A")
    await post(gateway, "application/dicom", [({"Content-Type": "application/dicom"}, head + data)])


async def stored(gateway: House) -> tuple[str, bytes]:
    """Transfer syntax and data set of the one instance."""
    ((key,),) = await gateway.database.fetch(Query("key_of: one", "SELECT key FROM instances WHERE uid = $1"), INSTANCE)
    opened = gateway.store.open(key)
    try:
        found = opened.read(0, opened.size)
    finally:
        opened.close()
    meta = read_header(lambda offset, length: found[offset : offset + length])
    return meta.transfer_syntax_uid, found[meta.data_set_offset :]


def bulk_uris(model: Mapping[str, Any]) -> list[str]:
    found = []
    for member in model.values():
        if "BulkDataURI" in member:
            found.append(member["BulkDataURI"])
        elif member["vr"] == "SQ":
            found += [uri for each in member.get("Value", ()) for uri in bulk_uris(each)]
    return found


async def metadata(gateway: House, kind: str) -> tuple[list[bytes], list[str]]:
    """The documents as they come, and the bulk data that they refer to."""
    answer = await gateway.get(f"{ONE}/metadata", accept=kind)
    assert answer.status == 200, await answer.text()
    body = await answer.read()
    if kind == JSON:
        return [body], [uri for each in json.loads(body) for uri in bulk_uris(each)]
    documents = [content for _, content in parts(answer, body)]
    return documents, [piece.split('"')[0] for each in documents for piece in each.decode().split('uri="')[1:]]


async def value(gateway: House, uri: str) -> list[tuple[str, bytes]]:
    answer = await gateway.get(URL(uri).path, accept=ANYTHING)
    assert answer.status == 200, await answer.text()
    return parts(answer, await answer.read())


async def carry(here: House, there: House, kind: str) -> None:
    """Retrieve the instance as metadata and bulk data, and store these."""
    documents, uris = await metadata(here, kind)
    contents = [({"Content-Type": kind}, document) for document in documents]
    for uri in uris:
        contents += [
            ({"Content-Type": content_type, "Content-Location": uri}, content)
            for content_type, content in await value(here, uri)
        ]
    await post(there, kind, contents)


async def said(gateway: House) -> tuple[Any, list[list[tuple[str, bytes]]]]:
    """Everything that the metadata say, and the bulk data; URIs as paths, and no character sets."""

    def without(model: dict[str, Any]) -> dict[str, Any]:
        made = {}
        for tag, member in model.items():
            if tag == "00080005":
                continue
            made[tag] = dict(member)
            if "BulkDataURI" in member:
                made[tag]["BulkDataURI"] = URL(member["BulkDataURI"]).path
            elif member["vr"] == "SQ":
                made[tag]["Value"] = [without(each) for each in member.get("Value", ())]
        return made

    (document,), uris = await metadata(gateway, JSON)
    (model,) = json.loads(document, parse_float=str)
    contents = [[(kind, data.rstrip(b" \0")) for kind, data in await value(gateway, uri)] for uri in uris]
    return without(model), contents


async def forget(gateway: House) -> None:
    gateway.dicomweb = Dicomweb(delete=True)
    answer = await gateway.client.delete(f"/dicom-web/studies/{STUDY}")
    assert answer.status in (200, 204, 404), await answer.text()


class Gateways:
    """Two gateways for all examples of a test, which is no coroutine: Hypothesis calls it many times."""

    def __init__(self, folder: Path) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._folder = folder

    def __enter__(self) -> Gateways:
        self._runner.__enter__()
        self._contexts = archive(self._folder / "here"), archive(self._folder / "there")
        self.here, self.there = (self._runner.run(context.__aenter__()) for context in self._contexts)
        return self

    def __exit__(self, *_: object) -> None:
        for context in self._contexts:
            self._runner.run(context.__aexit__(None, None, None))
        self._runner.__exit__(None, None, None)

    def carried(self, data: bytes, kind: str) -> tuple[bytes, Any, Any]:
        """What a data set has become there, and what the metadata say on either side."""

        async def run() -> tuple[bytes, Any, Any]:
            await forget(self.here)
            await forget(self.there)
            await store(self.here, data)
            await carry(self.here, self.there, kind)
            syntax, found = await stored(self.there)
            assert syntax == EXPLICIT
            return found, await said(self.here), await said(self.there)

        return self._runner.run(run())


CASE = "what WADO-RS gives out as metadata and bulk data, STOW-RS stores again, equal to the bit"
SETTINGS = settings(max_examples=25, suppress_health_check=list(HealthCheck))


@pytest.mark.case(CASE)
@pytest.mark.parametrize("kind", [JSON, XML])
@pytest.mark.parametrize("term", [None, "ISO_IR 192"])
def test_bytes(tmp_path: Path, kind: str, term: str | None):
    with Gateways(tmp_path) as gateways:

        @SETTINGS
        @given(data_sets(term))
        def there_and_back(elements: Elements) -> None:
            data = whole(elements, term.encode() if term else None)
            found, here, there = gateways.carried(data, kind)
            assert there == here
            assert found == data

        there_and_back()


@pytest.mark.case(CASE + ": text of every character set, as UTF-8")
@pytest.mark.parametrize("kind", [JSON, XML])
def test_text(tmp_path: Path, kind: str):
    with Gateways(tmp_path) as gateways:

        @SETTINGS
        @given(st.sampled_from(sorted(SETS)), st.data())
        def there_and_back(term: str, draw: st.DataObject) -> None:
            inner_term = draw.draw(st.sampled_from((None, *sorted(SETS))))
            inner = draw.draw(data_sets(inner_term or term, 3))
            if inner_term:
                inner[0x00080005] = "CS", inner_term.encode()
            elements = draw.draw(data_sets(term)) | {0x00400555: ("SQ", [inner])}
            found, here, there = gateways.carried(whole(elements, term.encode()), kind)
            assert there == here
            assert b"ISO_IR 192" in found[:400]

        there_and_back()


async def both(folder: Path, data: bytes, kind: str, syntax: str, carrying: Any) -> tuple[str, bytes]:
    async with archive(folder / "here") as here, archive(folder / "there") as there:
        await store(here, data, syntax)
        await carrying(here, there, kind)
        assert await said(there) == await said(here)
        return await stored(there)


async def carry_all_bulk_data(here: House, there: House, kind: str) -> None:
    """As `carry`, with the bulk data of the instance in one answer, parts and locations as they come."""
    documents, _ = await metadata(here, kind)
    answer = await here.get(f"{ONE}/bulkdata", accept=ANYTHING)
    assert answer.status == 200, await answer.text()
    boundary = answer.headers["Content-Type"].split("boundary=")[1]
    body = b"".join(
        f"--{boundary}\r\nContent-Type: {kind}\r\n\r\n".encode() + document + b"\r\n" for document in documents
    )
    headers = {"Content-Type": f'multipart/related; type="{kind}"; boundary={boundary}'}
    stowed = await there.client.post("/dicom-web/studies", data=body + await answer.read(), headers=headers)
    assert stowed.status == 200, await stowed.text()


def picture(**values: Any) -> Dataset:
    source = instance(rows=4, columns=4, **values)
    source.StudyInstanceUID, source.SeriesInstanceUID, source.SOPInstanceUID = STUDY, SERIES, INSTANCE
    source.SpecificCharacterSet = "ISO_IR 192"
    item = Dataset()
    item.SelectorFDValue = float("nan")
    item.TextValue = "größe " * 20_000 + "."
    item.WaveformData = bytes(3000)
    item["WaveformData"].VR = "OW"
    source.ContentSequence = [Dataset(), item]
    source.TextValue = "größe\r\n" * 20_000 + "."
    return source


@pytest.mark.case(CASE + ": pixels, compressed or not, and icons")
@pytest.mark.parametrize("carrying", [carry, carry_all_bulk_data])
@pytest.mark.parametrize("kind", [JSON, XML])
class TestPixels:
    async def test_uncompressed(self, tmp_path: Path, kind: str, carrying: Any):
        icon = instance(rows=1, columns=1)
        data = encode(picture(frames=2, IconImageSequence=[icon]))
        assert await both(tmp_path, data, kind, EXPLICIT, carrying) == (EXPLICIT, data)

    async def test_compressed(self, tmp_path: Path, kind: str, carrying: Any):
        icon = instance(rows=1, columns=1, PixelData=pydicom.encaps.encapsulate([b"icon"], has_bot=False))
        icon["PixelData"].VR = "OB"
        icon["PixelData"].is_undefined_length = True
        frames = pydicom.encaps.encapsulate([b"\xff\xd8frame 1 ", b"\xff\xd8frame 2\xff\xd9"], has_bot=True)
        data = encode(picture(frames=2, PixelData=frames, IconImageSequence=[icon]), JPEG_BASELINE)
        assert await both(tmp_path, data, kind, JPEG_BASELINE, carrying) == (JPEG_BASELINE, data)


@pytest.mark.parametrize("kind", [JSON, XML])
async def test_as_deep_as_is_read(tmp_path: Path, kind: str):
    elements: Elements = {0x0040A160: ("UT", b"deep")}
    for _ in range(60):
        elements = {0x00400275: ("SQ", [elements])}
    data = whole(elements, None)

    async def carrying(here: House, there: House, kind: str) -> None:
        await carry(here, there, kind)

    assert await both(tmp_path, data, kind, EXPLICIT, carrying) == (EXPLICIT, data)
