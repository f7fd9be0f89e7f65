"""What comes over HTTP beside data sets: bodies in parts, zips, Accept and other headers, queries."""

from __future__ import annotations

import contextlib
import io
import ipaddress
from types import SimpleNamespace
from typing import cast
from urllib.parse import parse_qsl

from aiohttp import web
from multidict import CIMultiDict, MultiDict

from gateway.access import hosts, proxies
from gateway.access.users import read_basic
from gateway.errors import BadRequest
from gateway.http.multipart import Malformed, Parser, Tail
from gateway.index import attributes
from gateway.ingest.files import READ_ERRORS
from gateway.ingest.zip_members import Budget, TooMuch, open_member, open_zip
from gateway.web import accept, conditional
from gateway.web.dicomweb import media
from gateway.web.dicomweb.render_options import read_options, read_thumbnail_options
from gateway.web.dicomweb.search_query import read_query
from gateway.web.errors import NotAcceptable
from tests.fuzz.targets.index import run_search
from tests.fuzz.targets.target import EXPLICIT, Target


def multiparts(data: bytes) -> None:
    """Whole, and in pieces as long as the first byte says: what comes out is the same."""
    if not data:
        return
    size, body = 1 + data[0] % 64, data[1:]
    whole, in_pieces = _parts(body, len(body) or 1), _parts(body, size)
    assert whole[1] == in_pieces[1]
    assert whole[0] == in_pieces[0][: None if whole[1] else len(whole[0])]  # what is wrong comes before what was right


def _parts(body: bytes, size: int) -> tuple[list[tuple[dict[str, str], bytes]], bool]:
    """The parts that were whole, and whether the body was well formed."""
    parser, found, current = Parser("b"), [], bytearray()
    headers: dict[str, str] = {}
    well_formed = False
    with contextlib.suppress(Malformed):
        for events in (
            *(lambda at=at: parser.feed(body[at : at + size]) for at in range(0, len(body), size)),
            parser.close,
        ):
            for event in events():
                if isinstance(event, memoryview):
                    current += event
                elif isinstance(event, Tail):
                    found.append((headers, bytes(current)))
                else:
                    headers, current = dict(event.headers), bytearray()
        well_formed = True
    return found, well_formed


def _multipart_seeds() -> list[bytes]:
    head = b"--b\r\nContent-Type: application/dicom\r\nContent-Location: x\r\n\r\n"
    return [
        b"\3" + head + b"one\r\n" + head + b"two\r\n--b--\r\n",
        b"\7\r\n" + head.replace(b"\r\n", b"\n") + b"one\n--b--",
        b"\0preamble\r\n--b  \r\n\r\nno head\r\n--b--\r\nepilogue",
        b"\1--b\r\nA: folded\r\n and on\r\n\r\n\r\n--b",
    ]


_UNPACKED = 1 << 18


def zips(data: bytes) -> None:
    """No more comes out of a zip than may, and members are read twice alike."""
    try:
        archive = open_zip(io.BytesIO(data))
    except READ_ERRORS:
        return
    out, budget = 0, Budget(_UNPACKED)
    with archive, contextlib.suppress(TooMuch):
        for member in archive.infolist():
            with contextlib.suppress(*READ_ERRORS), open_member(archive, member, budget) as file:
                out += len(first := file.read(100))
                file.seek(0)
                again = file.read(100)
                assert again == first
                out += len(again)
                while piece := file.read(4096):
                    out += len(piece)
    assert out <= _UNPACKED


def _zip_seeds() -> list[bytes]:
    import zipfile

    def made(method: int, comment: bytes = b"", *, wide: bool = False) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            archive.comment = comment
            for name in ("a/b.dcm", "\u00e4"):
                with archive.open(zipfile.ZipInfo(name, (2026, 1, 2, 3, 4, 6)), "w", force_zip64=wide) as member:
                    member.write(b"abc" * 20)
        return file.getvalue()

    return [made(zipfile.ZIP_STORED), made(zipfile.ZIP_DEFLATED, b"said"), made(zipfile.ZIP_DEFLATED, wide=True)]


_STORED = (EXPLICIT, "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.102.1", "1.2.3")


def accepted(data: bytes) -> None:
    """The first byte is how pixels are stored. What is understood of a header is understood again as it is written
    then, and what is chosen can be had."""
    if not data:
        return
    stored, text = _STORED[data[0] % len(_STORED)], data[1:].decode("utf-8", "surrogateescape")
    ranges = accept.parse(text)
    assert ranges == sorted(ranges, key=lambda each: -each.quality)
    assert all(0 < each.quality <= 1 for each in ranges)
    written = [_written(each) for each in ranges if each.quality > 0.001]
    again = accept.parse(", ".join(written))
    assert [each[:3] for each in again] == [each[:3] for each in ranges[: len(written)]]
    accept.content_type(text)
    for single in (False, True):
        with contextlib.suppress(NotAcceptable):
            form = media.pixel_form(ranges, stored, single=single)
            assert form.multipart or single
            assert media.stored_form(ranges, stored, form) is None or form.content_type
        media.octet_form(ranges, "application/pdf", single=single)
        media.fragment_form(ranges, stored, single=single)


def _written(media_range: accept.MediaRange) -> str:
    quoted = [
        f'{name}="{value}"'.replace("\\", "\\\\").replace('"', '\\"').replace('=\\"', '="', 1)[:-2] + '"'
        for name, value in media_range.parameters.items()
    ]
    return "; ".join([media_range.media_type, *quoted, f"q={media_range.quality:.40f}"])


def _accept_seeds() -> list[bytes]:
    return [
        b'\0multipart/related; type="application/octet-stream"; transfer-syntax=*, */*;q=0.1',
        b'\1multipart/related; type="image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50"',
        b"\2text/html, image/gif, *; q=.2, */*; q=.2, image/jpeg;q=0",
        b'\3application/dicom+json;a="\\"\\\\";;q=1., video/*',
        b"\4application/octet-stream, image/jls;transfer-syntax=1.2.840.10008.1.2.4.81",
    ]


_LEVELS: tuple[attributes.Level, ...] = ("patient", "study", "series", "instance")


def queries(data: bytes) -> None:
    """The first byte is the level, the rest a query: it is refused, or a statement that the index understands."""
    if not data:
        return
    text = data[1:].decode("utf-8", "replace")
    query = MultiDict(parse_qsl(text, keep_blank_values=True))
    for read in (read_options, read_thumbnail_options):
        with contextlib.suppress(BadRequest):
            options = read(query, "image/jpeg")
            assert 1 <= options.quality <= 100
            assert options.viewport is None or 1 <= options.viewport.width <= 8192
    try:
        asked = read_query(query)
        run_search(
            _LEVELS[data[0] & 3],
            asked.keys,
            include="all" if asked.include is None else frozenset(asked.include),
            fuzzy=asked.fuzzy,
            empty=asked.empty,
            combined=bool(data[0] & 4),
        )
    except BadRequest:
        return
    assert all(each.isascii() and each.isprintable() for each in asked.warnings)
    assert asked.limit is None or asked.limit > 0 <= asked.offset


def _query_seeds() -> list[bytes]:
    return [
        b"\1PatientName=Doe*&StudyDate=20260101-&limit=10&offset=2&includefield=all&fuzzymatching=true",
        b"\2StudyInstanceUID=1.2,1.3&Modality=CT\\MR&00100020=A?B&includefield=00091001,StudyID",
        b"\3RequestAttributesSequence.00400009=S&SeriesNumber=3&emptyvaluematching=true&AccessionNumber=%22%22",
        b"\5StudyDate=20260101-20260102&StudyTime=10-11&NumberOfStudyRelatedSeries=1&SOPClassesInStudy=1.2",
        b"\0window=40,400,linear-exact&viewport=64,64,0,0,8,-8&quality=80&annotation=patient&iccprofile=srgb",
    ]


_TRUSTED = ("127.0.0.0/8", "::1")
_HEADERS = ("Range", "If-Range", "If-None-Match")


def fields(data: bytes) -> None:
    """Lines, each the value of another header. None lets a request say of itself what it must not."""
    lines = [*data.decode("utf-8", "surrogateescape").split("\n"), *[""] * 10][:10]
    request = cast(
        web.Request, SimpleNamespace(method="GET", headers=CIMultiDict(zip(_HEADERS, lines[:3], strict=True)))
    )
    with contextlib.suppress(conditional.RangeNotSatisfiable):
        part = conditional.wanted_range(request, 100, lines[1])
        assert part is None or 0 <= part.start < part.stop <= 100
    conditional.unchanged(request, '"tag"')
    for seen in (
        proxies.seen_by_forwarded("127.0.0.1", _TRUSTED, lines[3]),
        proxies.seen_by_x_forwarded("127.0.0.1", _TRUSTED, lines[3], lines[4], lines[5], lines[6]),
    ):
        ipaddress.ip_address(seen.client)
        assert seen.scheme in ("", "http", "https")
        assert not seen.prefix or (seen.prefix[0] == "/" and seen.prefix.isascii() and "//" not in seen.prefix)
        hosts.is_our_host(seen.host, ("gateway.example",))
    if hosts.is_our_host(lines[7], ("gateway.example",)):
        name = hosts.host_name(lines[7])
        assert name in ("localhost", "gateway.example") or ipaddress.ip_address(name)
    if hosts.is_our_origin(lines[8], lines[7], ("gateway.example:8443",)):
        assert hosts.host_name(lines[8].partition("://")[2]) in (hosts.host_name(lines[7]), "gateway.example")
    read_basic(lines[9])


def _field_seeds() -> list[bytes]:
    return [
        b'bytes=0-9\n\n"tag", W/"x"\nfor=10.0.0.1;proto=https;host=a.b, for="[::1]:4"\nhttps\na.b\n/gateway\n'
        b"gateway.example:80\nhttps://gateway.example:8443\nBasic YTpi",
        b'bytes=-5\n"tag"\n*\n10.0.0.1, 127.0.0.1\nhttps, http\na, b\n/a/b/\n[::1]:8042\nhttp://[::1]:8042\nbasic x',
        b"bytes = 5-\n\n\n_hidden, unknown\n\n\n\nlocalhost.\nnull",
    ]


TARGETS = {
    "multipart": Target(multiparts, _multipart_seeds),
    "zip": Target(zips, _zip_seeds),
    "accept": Target(accepted, _accept_seeds),
    "query": Target(queries, _query_seeds),
    "fields": Target(fields, _field_seeds),
}
