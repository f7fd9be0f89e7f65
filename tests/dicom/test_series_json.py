"""gateway/dicom/series_json.py gives what json.encode_data_set gives, whatever it is given, and faster."""

from __future__ import annotations

import random
import struct

import pytest
from pydicom.dataset import Dataset

from gateway.dicom import json
from gateway.dicom.series_json import SeriesJsonEncoder
from gateway.errors import DataSetError
from tests.support.datasets import EXPLICIT, IMPLICIT, UNCOMPRESSED, ct_header, data_sets, encode, instance
from tests.support.mutations import mutate


def outcomes(alike: SeriesJsonEncoder, data: bytes, syntax: str, name: str = "x") -> tuple[object, object]:
    """What each of the two makes of a data set in the midst of an object: a text, or an error's words."""

    def read(offset: int, length: int) -> bytes:
        assert offset >= 5
        assert length >= 0
        return data[offset - 5 : offset - 5 + length]

    def uri(path: str) -> str:
        return f"/{name}/{path}"

    found: list[object] = []
    for work in (
        lambda: alike.encode(read, 5, 5 + len(data), syntax, uri),
        lambda: json.encode_data_set(read, 5, 5 + len(data), syntax, bulk_data_uri=uri),
    ):
        try:
            found.append(work())
        except DataSetError as error:
            found.append(str(error))
    return found[0], found[1]


def same(alike: SeriesJsonEncoder, data: bytes, syntax: str, name: str = "x") -> None:
    mine, other = outcomes(alike, data, syntax, name)
    assert mine == other


def test_every_sample_twice():
    alike = SeriesJsonEncoder()
    for _ in range(2):
        for path, syntax, data in data_sets():
            same(alike, data, syntax, path.name)


@pytest.mark.parametrize("syntax", UNCOMPRESSED)
def test_a_series(syntax: str):
    alike = SeriesJsonEncoder()
    for number in range(20):
        data_set = instance(InstanceNumber=number, SpecificCharacterSet=["ISO_IR 100", "ISO_IR 144"][number % 2])
        data_set.PatientName = "Müller" if number % 2 == 0 else "Jurij Ю"
        data_set.IconImageSequence = [instance(rows=1, columns=1)]
        data_set.PixelRepresentation = number % 3 // 2
        data_set.add_new(0x00280120, "SS" if data_set.PixelRepresentation else "US", 1000)
        data_set.add_new(0x7FE10010, "LO", "after the pixels")
        for undefined in (False, True):
            same(alike, encode(data_set, syntax, undefined_lengths=undefined), syntax, str(number))


def test_what_is_not_plain():
    alike = SeriesJsonEncoder()

    def text(tag: int, value: bytes) -> bytes:
        return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, b"LO", len(value)) + value

    for data in (
        b"",
        text(0x00100020, b"a ") + text(0x00100010, b"b "),
        text(0x00100020, b"a ") + text(0x00100020, b"b "),
        text(0x00020010, b"1 "),
        text(0x00100020, b"a ") + bytes(8),
        text(0x00100020, b"a ") + bytes(20),
        text(0x00100020, b"x" * 65000) + text(0x00100030, b"y" * 65000) + text(0x00100020, b"z "),
        encode(ct_header(), EXPLICIT) + text(0x00100020, b"z "),
    ):
        same(alike, data, EXPLICIT)
        same(alike, data, IMPLICIT)


def test_mutated():
    header = encode(ct_header())
    alike = SeriesJsonEncoder()
    same(alike, header, EXPLICIT)
    rng = random.Random(7)
    for _ in range(300):
        same(alike, mutate(header, header, rng), EXPLICIT)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gateway.dicom.series_json._MAX_CACHE_BYTES", 10_000)
    alike = SeriesJsonEncoder()
    for number in range(500):
        data_set = Dataset()
        data_set.PatientID = f"{number:050}"
        same(alike, encode(data_set), EXPLICIT)
        assert sum(map(len, alike._texts.values())) < 50
