"""Stored and received objects: files, their data sets, the text in these, what the index and a page take of them."""

from __future__ import annotations

import contextlib
import json
import struct
from html.parser import HTMLParser
from unittest.mock import patch
from xml.etree import ElementTree

from gateway.dicom import charset, uids
from gateway.dicom.decode import decode_data_set
from gateway.dicom.encode import encode_data_set
from gateway.dicom.extent import check_end
from gateway.dicom.json import encode_data_set as to_json
from gateway.dicom.json_reader import from_json
from gateway.dicom.part10 import FileMeta, file_header, find_header, read_header
from gateway.dicom.recode import recode
from gateway.dicom.series_json import SeriesJsonEncoder
from gateway.dicom.xml import to_xml
from gateway.errors import DataSetError
from gateway.ingest import header_scan
from gateway.ingest.header_templates import HeaderTemplateCache
from gateway.render import report
from gateway.render.cda import read_cda
from gateway.render.ecg import as_svg, read_waveform
from gateway.web.rest.tags import to_tags
from tests.fuzz.targets.target import EXPLICIT, SYNTAXES, Target, source_of

MODEL = {
    "00080005": {"vr": "CS", "Value": ["ISO_IR 100"]},
    "00080018": {"vr": "UI", "Value": ["1.2.3"]},
    "00080020": {"vr": "DA", "Value": ["20260102"]},
    "00081140": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2.4"]}}, {}]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane", "Ideographic": "Yama^da"}]},
    "00181151": {"vr": "IS", "Value": [1, 2]},
    "00189087": {"vr": "FD", "Value": [1.5]},
    "00280010": {"vr": "US", "Value": [1]},
    "00280030": {"vr": "DS", "Value": [0.5, 0.5]},
    "00091001": {"vr": "UN", "InlineBinary": "AAE="},
    "7FE00010": {"vr": "OW", "InlineBinary": "AAEC"},
}
"""A data set with an element of every kind."""


def data_sets(data: bytes) -> None:
    """The first byte is the transfer syntax. Reading, JSON both ways, recoding and the end must agree on the rest."""
    if not data:
        return
    syntax, data = SYNTAXES[data[0] % len(SYNTAXES)], data[1:]
    source = source_of(data)

    def uri(place: str) -> str:
        return "http://host/" + place

    ended = False
    with contextlib.suppress(DataSetError):
        check_end(source, 0, len(data), uids.TRANSFER_SYNTAXES[syntax])
        ended = True
    with contextlib.suppress(DataSetError):
        text = to_json(source, 0, len(data), syntax, bulk_data_uri=uri)
        assert SeriesJsonEncoder().encode(source, 0, len(data), syntax, uri) == text
        model = json.loads(text)
        with contextlib.suppress(DataSetError):
            to_xml(model, uri)
    with contextlib.suppress(DataSetError):
        found = decode_data_set(data, syntax)
        assert ended
        to_tags(found)
        with contextlib.suppress(DataSetError):
            encode_data_set(found, EXPLICIT)
    for target in SYNTAXES:
        with contextlib.suppress(DataSetError):
            b"".join(recode(source, 0, len(data), syntax, target))


def _data_set_seeds() -> list[bytes]:
    found = from_json(MODEL)
    made = [bytes((number,)) + encode_data_set(found, syntax) for number, syntax in enumerate(SYNTAXES)]
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF) + struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
    end = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    sequence = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + item + end
    fragment = struct.pack("<HHL", 0xFFFE, 0xE000, 2) + b"ab"
    pixels = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + fragment + end
    return [*made, b"\1" + sequence + pixels, b"\0" + sequence]


def part_10_files(data: bytes) -> None:
    """Both readers say the same of a file, and of one that has what they say in its header."""
    strict: FileMeta | None = None
    with contextlib.suppress(DataSetError):
        strict = read_header(source_of(data))
    found: FileMeta | None = None
    with contextlib.suppress(DataSetError):
        found = find_header(source_of(data))
    if found is not None:
        assert 0 <= found.data_set_offset <= len(data)
        with contextlib.suppress(DataSetError):
            decode_data_set(data[found.data_set_offset :], found.transfer_syntax_uid)
    if strict is None:
        return
    assert found == strict
    said = (strict.transfer_syntax_uid, strict.sop_class_uid, strict.sop_instance_uid)
    if all(map(str.isascii, said)):
        header = file_header(
            transfer_syntax_uid=strict.transfer_syntax_uid,
            sop_class_uid=strict.sop_class_uid,
            sop_instance_uid=strict.sop_instance_uid,
        )
        again = read_header(source_of(header + data[strict.data_set_offset :]))
        assert (again.transfer_syntax_uid, again.sop_class_uid, again.sop_instance_uid) == said
        assert again.data_set_offset == len(header)


def _part_10_seeds() -> list[bytes]:
    data_set = encode_data_set(from_json({"00080018": MODEL["00080018"]}), EXPLICIT)
    head = file_header(
        sop_class_uid="1.2", sop_instance_uid="1.2.3", transfer_syntax_uid=EXPLICIT, source_aet="A", sending_aet="B"
    )
    group = head[132:]
    without = group[:12] + group[12 + group[12:].index(b"\x02\0\x12\0") :]
    return [head + data_set, group + data_set, data_set, group[12:] + data_set, head[:132] + without + data_set]


_VRS = ("PN", "LO", "SH", "ST", "UT", "CS", "UI", "DS")


def character_sets(data: bytes) -> None:
    """The first byte is the VR; then come terms up to a zero byte, and a value, which is also taken as a text."""
    if not data:
        return
    vr = _VRS[data[0] % len(_VRS)]
    terms, _, value = data[1:].partition(b"\0")
    text = charset.decode(memoryview(value), terms, vr)
    values = charset.decode_values(value, terms, vr)
    assert len(values) == (1 if vr in charset.SINGLE_VALUED else 1 + text.count("\\"))
    if charset.character_set(terms).codec == "utf_8" and vr in charset.TEXT_VRS:
        assert text == value.decode("utf-8", "replace").rstrip(" \0")
    charset.decode(value, charset.presumed(terms, value), vr)
    for wanted in (text, value.decode("utf-8", "replace")):
        encoded = charset.encode(wanted, terms, vr)
        if encoded is not None:
            assert charset.decode(encoded, terms, vr) == wanted.rstrip(" \0")


def _character_set_seeds() -> list[bytes]:
    made = [
        b"ISO_IR 100\0Buc^J\xe9r\xf4me",
        b"\\ISO 2022 IR 87\0Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B",
        b"ISO 2022 IR 13\\ISO 2022 IR 87\0\xd4\xcf\xc0\xde=\x1b$B;3ED\x1b(J",
        b"\\ISO 2022 IR 149\0Hong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce",
        b"\\ISO 2022 IR 58\0A=\x1b$)A\xcd\xf5",
        b"ISO 2022 IR 6\\ISO 2022 IR 144\0\x1b-L\xbb\xee\\a",
        b"\\ISO 2022 IR 159\0a=\x1b$(D0!\x1b(B",
        b"GB18030\0\xcd\xf5^\xd0\xa1\x5c",
        b"GBK\0\x81\x5c",
        b"ISO_IR 192\0" + "Äneas^Ωμέγα".encode(),
        b"ISO_IR 166\0\xb9",
        b"\0" + "é".encode(),
    ]
    return [bytes((number % 4,)) + each for number, each in enumerate(made)] + [b"\5\0ct \\MR"]


_HEADER_LIMIT = 1 << 16


def headers(data: bytes) -> None:
    """What the index takes of an instance: in one view, in small ones, and when another of its series came before.

    The first byte is the transfer syntax, the second says how long the views are, the next two what is different in
    the other instance: where, and by which bits.
    """
    if len(data) < 5:
        return
    syntax, size, where, bits, data = SYNTAXES[data[0] % len(SYNTAXES)], 1 + data[1], data[2], data[3], data[4:]
    other = bytearray(data)
    if where < len(other):
        other[where] ^= bits
    alone = _headed(data, syntax, len(data) or 1)
    assert _headed(data, syntax, size) == alone
    with patch.object(header_scan, "_templates", HeaderTemplateCache()):
        for each in (bytes(other), data, bytes(other)):
            _heading(each, syntax, len(data) or 1)
        assert _heading(data, syntax, len(data) or 1) == alone


def _headed(data: bytes, syntax: str, size: int) -> tuple[object, object]:
    with patch.object(header_scan, "_templates", HeaderTemplateCache()):
        return _heading(data, syntax, size)


def _heading(data: bytes, syntax: str, size: int) -> tuple[object, object]:
    """The record, and what the pixels lack; an error by its kind alone."""
    scanner = header_scan.HeaderScanner(syntax, _HEADER_LIMIT)
    for at in range(0, len(data), size):
        if scanner.scan([memoryview(data)[at : at + size]], complete=at + size >= len(data)):
            scanner.resume()
    try:
        record: object = scanner.record()
    except DataSetError:
        return None, None
    try:
        return record, scanner.lacking()
    except DataSetError:
        return record, None


def _header_seeds() -> list[bytes]:
    seeds = [bytes((each[0], 7, 60, 1)) + each[1:] for each in _data_set_seeds()]
    model = MODEL | {
        "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]},
        "0020000D": {"vr": "UI", "Value": ["1.2.5"]},
        "0020000E": {"vr": "UI", "Value": ["1.2.6"]},
        "00200013": {"vr": "IS", "Value": [7]},
        "00400275": {"vr": "SQ", "Value": [{"00400009": {"vr": "SH", "Value": ["S"]}}]},
    }
    made = [encode_data_set(from_json(model), syntax) for syntax in SYNTAXES]
    return seeds + [bytes((number, 100, 40, 1)) + each for number, each in enumerate(made)]


class _Page(HTMLParser):
    """What stands in a page; AssertionError for what no report has."""

    ALLOWED = frozenset(
        ["html", "meta", "title", "style", "h1", "dl", "dt", "dd", "ul", "li", "i", "b", "code", "span"]
    )
    _VOID = frozenset(("html", "meta", "dt", "dd"))

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in self.ALLOWED, tag
        assert not attrs or tag in ("html", "meta"), attrs
        if tag not in self._VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self._VOID:
            assert self.open.pop() == tag

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    handle_pi = handle_comment


def reports(data: bytes) -> None:
    """A structured report becomes a page whose elements are all ours, and all closed; a waveform, a picture in XML; a
    document, lines."""
    with contextlib.suppress(DataSetError):
        assert all(line.text.strip() == line.text != "" for line in read_cda(data))
    with contextlib.suppress(DataSetError):
        drawn = as_svg(read_waveform(source_of(data), 0, len(data), EXPLICIT))
        assert ElementTree.fromstring(drawn).tag.endswith("svg")
    try:
        found = report.read_report(source_of(data), 0, len(data), EXPLICIT)
    except DataSetError:
        return
    page = _Page()
    page.feed(report.as_html(found))
    page.close()
    assert not page.open
    assert report.as_text(found).endswith("\n")


def _code(meaning: str) -> dict[str, object]:
    return {
        "00080100": {"vr": "SH", "Value": ["1"]},
        "00080102": {"vr": "SH", "Value": ["UCUM"]},
        "00080104": {"vr": "LO", "Value": [meaning]},
    }


def _report_seeds() -> list[bytes]:
    def item(kind: str, **more: object) -> dict[str, object]:
        return {
            "0040A010": {"vr": "CS", "Value": ["HAS OBS CONTEXT"]},
            "0040A040": {"vr": "CS", "Value": [kind]},
            "0040A043": {"vr": "SQ", "Value": [_code("<b>Finding")]},
            **more,
        }

    measured = {"004008EA": {"vr": "SQ", "Value": [_code("mm")]}, "0040A30A": {"vr": "DS", "Value": [1.5]}}
    image = {"00081150": {"vr": "UI", "Value": ["1.2"]}, "00081160": {"vr": "IS", "Value": [3]}}
    text = item("TEXT", **{"0040A160": {"vr": "UT", "Value": ["<script>\n&"]}})
    items = [
        item("CONTAINER", **{"0040A730": {"vr": "SQ", "Value": [text, text]}}),
        item("CODE", **{"0040A168": {"vr": "SQ", "Value": [_code("Yes")]}}),
        item("NUM", **{"0040A300": {"vr": "SQ", "Value": [measured]}}),
        item("IMAGE", **{"00081199": {"vr": "SQ", "Value": [image]}}),
        item("SCOORD", **{"00700022": {"vr": "FL", "Value": [1.0, 2.0]}, "00700023": {"vr": "CS", "Value": ["POINT"]}}),
        item("TCOORD", **{"0040A130": {"vr": "CS", "Value": ["POINT"]}}),
        item("PNAME", **{"0040A123": {"vr": "PN", "Value": [{"Alphabetic": "A^B"}]}}),
        {"0040DB73": {"vr": "UL", "Value": [1, 2]}},
    ]
    root = {"00100010": MODEL["00100010"], "0040A043": {"vr": "SQ", "Value": [_code("Report")]}}
    made = [root | {"0040A730": {"vr": "SQ", "Value": [each]}} for each in items]
    return [encode_data_set(from_json(each), EXPLICIT) for each in (*made, _WAVEFORM)] + [_CDA]


_CDA = b"<section><title>A</title><text>b<list><item>c</item></list><td>d</td></text></section>"
_CHANNEL: dict[str, object] = {
    "003A0203": {"vr": "SH", "Value": ["I <&"]},
    "003A0210": {"vr": "DS", "Value": [2.5]},
    "003A0211": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["uV"]}}]},
    "003A0213": {"vr": "DS", "Value": [1]},
}
_GROUP: dict[str, object] = {
    "003A0005": {"vr": "US", "Value": [2]},
    "003A0010": {"vr": "UL", "Value": [3]},
    "003A001A": {"vr": "DS", "Value": [500]},
    "003A0020": {"vr": "SH", "Value": ["RHYTHM"]},
    "003A0200": {"vr": "SQ", "Value": [_CHANNEL, {}]},
    "54001006": {"vr": "CS", "Value": ["SS"]},
    "54001010": {"vr": "OW", "InlineBinary": "AAABAAIAAwAEAAUA"},
}
_WAVEFORM: dict[str, object] = {"54000100": {"vr": "SQ", "Value": [_GROUP]}}


TARGETS = {
    "dataset": Target(data_sets, _data_set_seeds),
    "part10": Target(part_10_files, _part_10_seeds),
    "charset": Target(character_sets, _character_set_seeds),
    "header": Target(headers, _header_seeds),
    "report": Target(reports, _report_seeds),
}
