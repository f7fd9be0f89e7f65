"""A header that resembles others is read as if it were the first, and not read as a whole."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.archive import heading as module
from gateway.archive import siblings
from gateway.archive.heading import INDEX, Heading, LookedFor, looked_for
from gateway.archive.siblings import Siblings
from gateway.dicom import elements
from gateway.errors import DataSetError
from loadtest.data import Synthetic, parse_size
from tests.support.datasets import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, UNCOMPRESSED, ct_header, data_sets, encode
from tests.support.headers import Row, headers, rows
from tests.support.headers import encode_rows as encoded
from tests.support.mutations import mutate

RULES = looked_for([0x00080060, 0x00081140, 0x00100010, 0x00200013, 0x00200032, 0x00201041])
LIMIT = 20_000


def read(pieces: list[bytes], syntax: str, wanted: LookedFor, *, complete: bool = True) -> tuple[object, ...]:
    """What is found, the attributes, and the words of the error."""
    heading = Heading(syntax, LIMIT, wanted)
    for number, piece in enumerate(pieces, 1):
        heading.look([memoryview(bytearray(piece))], complete=complete and number == len(pieces))
    try:
        return heading.found, heading.record(), heading.attributes
    except DataSetError as error:
        return heading.found, type(error), str(error), heading.attributes


def read_anew(pieces: list[bytes], syntax: str, wanted: LookedFor, *, complete: bool = True) -> tuple[object, ...]:
    """The same by one that has seen no other."""
    with patch.object(module, "_siblings", Siblings()):
        return read(pieces, syntax, wanted, complete=complete)


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> Siblings:
    """What is known of series: nothing at first."""
    known = Siblings()
    monkeypatch.setattr(module, "_siblings", known)
    return known


@pytest.fixture
def picks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """One entry for each header that was read as a whole."""
    made: list[int] = []
    pick = elements.pick

    def counted(*arguments: object) -> object:
        made.append(1)
        return pick(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(elements, "pick", counted)
    return made


@pytest.mark.parametrize("syntax", UNCOMPRESSED)
@settings(deadline=None, max_examples=120)
@given(data=st.data())
def test_whatever_comes(syntax: str, data: st.DataObject) -> None:
    with patch.object(module, "_siblings", Siblings()):
        for header in data.draw(st.lists(headers(syntax), min_size=2, max_size=8)):
            wanted = data.draw(st.sampled_from([INDEX, RULES]))
            if syntax == DEFLATED:
                deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
                header = deflate.compress(header) + deflate.flush()
            at = data.draw(st.sampled_from([0, 0, len(header) // 2]))
            pieces = [header[:at], header[at:]] if at else [header]
            complete = data.draw(st.booleans())
            expected = read_anew(pieces, syntax, wanted, complete=complete)
            assert read(pieces, syntax, wanted, complete=complete) == expected


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_mutated(syntax: str) -> None:
    header = encode(ct_header(PixelData=b"1234"), syntax)
    rng = random.Random(3)
    for number in range(600):
        data = mutate(header, header, rng)
        wanted = (INDEX, RULES)[number % 2]
        assert read([data], syntax, wanted) == read_anew([data], syntax, wanted)


def test_every_sample_with_others_of_its_series() -> None:
    rng = random.Random(4)
    for path, syntax, data in data_sets():
        head = data[: 64 << 10]
        for _ in range(6):
            expected = read_anew([head], syntax, RULES)
            assert read([head], syntax, RULES) == expected, path.name
            at = rng.randrange(min(len(data), 3000))
            head = data[:at] + rng.randbytes(1) + data[at + 1 : 64 << 10]


@pytest.mark.parametrize("wanted", [INDEX, RULES], ids=["index", "rules"])
@pytest.mark.parametrize("syntax", UNCOMPRESSED)
def test_slices_are_not_read_as_a_whole(syntax: str, wanted: LookedFor, picks: list[int]) -> None:
    """UIDs, numbers, positions and times of other lengths, in two series that come by turns."""
    for number in range(1, 151):
        for series in ("1.2.3.4", "1.2.3.40"):
            data = encoded(rows(series, number), EXPLICIT if syntax == DEFLATED else syntax)
            if syntax == DEFLATED:
                deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
                data = deflate.compress(data) + deflate.flush()
            found = read([data], syntax, wanted)
            before = len(picks)
            if number % 10 < 2:
                assert found == read_anew([data], syntax, wanted)
                del picks[before:]
    assert len(picks) == 2


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_one_that_is_cut(syntax: str) -> None:
    for number in (1, 2, 10):
        read([encoded(rows(number=number), syntax)], syntax, INDEX)
    data = encoded(rows(number=20), syntax)
    for size in range(len(data)):
        assert read([data[:size]], syntax, INDEX) == read_anew([data[:size]], syntax, INDEX)


def test_nor_are_those_of_the_load_generator(picks: list[int]) -> None:
    for instance in Synthetic(parse_size("8KB"), 50).feed(0, 1):
        read([b"".join(map(bytes, instance.chunks))], EXPLICIT, INDEX)
    assert len(picks) == 1


def test_series_of_two_structures(picks: list[int]) -> None:
    comment = Row(0x00400280, "ST", b"x ")
    for number in range(1, 101):
        slices = rows(number=number)
        if number % 2:
            slices.insert(-1, comment)
        read([encoded(slices, EXPLICIT)], EXPLICIT, INDEX)
    assert len(picks) == 2


def test_what_is_never_alike_is_not_compared_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    widened: list[int] = []
    monkeypatch.setattr(siblings.Layout, "widen", lambda *_: bool(widened.append(1)))
    base = rows()
    for number in range(1000):
        extra = struct.pack("<HH2sH", 0x0009, 0x1000 + number, b"LO", 2) + b"x "
        read([encoded(base[:10], EXPLICIT) + extra + encoded(base[10:], EXPLICIT)], EXPLICIT, INDEX)
    assert 8 < len(widened) < 80


def test_memory_is_bounded(known: Siblings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(siblings, "_HEAVIEST", 100_000)
    for number in range(200):
        read([encoded(rows(f"1.2.{number}"), EXPLICIT)], EXPLICIT, INDEX)
    assert 5 < len(known._series) < 50
    assert known._weight == sum(series.weight for series in known._series.values()) <= 100_000


def test_long_headers_are_not_kept(known: Siblings) -> None:
    private = struct.pack("<HH2s2xI", 0x0029, 0x1020, b"OB", 40_000) + bytes(40_000)
    data = encoded(rows()[:-2], EXPLICIT) + private + encoded(rows()[-2:], EXPLICIT)
    assert read([data], EXPLICIT, INDEX) == read_anew([data], EXPLICIT, INDEX)
    assert not known._series
