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

from gateway.dicom import elements
from gateway.errors import DataSetError
from gateway.ingest import header_scan as module
from gateway.ingest import header_templates
from gateway.ingest.header_scan import INDEX, HeaderScanner, WantedTags, wanted_tags
from gateway.ingest.header_templates import HeaderTemplateCache
from loadtest.data import Synthetic, parse_size
from tests.support.datasets import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, UNCOMPRESSED, ct_header, data_sets, encode
from tests.support.headers import Row, headers, rows
from tests.support.headers import encode_rows as encoded
from tests.support.mutations import mutate

RULES = wanted_tags([0x00080060, 0x00081140, 0x00100010, 0x00200013, 0x00200032, 0x00201041])
LIMIT = 20_000


def read(pieces: list[bytes], syntax: str, wanted: WantedTags, *, complete: bool = True) -> tuple[object, ...]:
    """What is found, the attributes, and the words of the error."""
    scanner = HeaderScanner(syntax, LIMIT, wanted)
    for number, piece in enumerate(pieces, 1):
        scanner.scan([memoryview(bytearray(piece))], complete=complete and number == len(pieces))
    try:
        return scanner.found, scanner.record(), scanner.attributes
    except DataSetError as error:
        return scanner.found, type(error), str(error), scanner.attributes


def read_anew(pieces: list[bytes], syntax: str, wanted: WantedTags, *, complete: bool = True) -> tuple[object, ...]:
    """The same by one that has seen no other."""
    with patch.object(module, "_templates", HeaderTemplateCache()):
        return read(pieces, syntax, wanted, complete=complete)


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> HeaderTemplateCache:
    """What is known of series: nothing at first."""
    known = HeaderTemplateCache()
    monkeypatch.setattr(module, "_templates", known)
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
    with patch.object(module, "_templates", HeaderTemplateCache()):
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
def test_slices_are_not_read_as_a_whole(syntax: str, wanted: WantedTags, picks: list[int]) -> None:
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
    monkeypatch.setattr(header_templates.HeaderTemplate, "widen", lambda *_: bool(widened.append(1)))
    base = rows()
    for number in range(1000):
        extra = struct.pack("<HH2sH", 0x0009, 0x1000 + number, b"LO", 2) + b"x "
        read([encoded(base[:10], EXPLICIT) + extra + encoded(base[10:], EXPLICIT)], EXPLICIT, INDEX)
    assert 8 < len(widened) < 80


def test_memory_is_bounded(known: HeaderTemplateCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_templates, "_MAX_CACHE_BYTES", 100_000)
    for number in range(200):
        read([encoded(rows(f"1.2.{number}"), EXPLICIT)], EXPLICIT, INDEX)
    assert 5 < len(known._series) < 50
    assert known._weight == sum(series.weight for series in known._series.values()) <= 100_000


def test_long_headers_are_not_kept(known: HeaderTemplateCache) -> None:
    private = struct.pack("<HH2s2xI", 0x0029, 0x1020, b"OB", 40_000) + bytes(40_000)
    data = encoded(rows()[:-2], EXPLICIT) + private + encoded(rows()[-2:], EXPLICIT)
    assert read([data], EXPLICIT, INDEX) == read_anew([data], EXPLICIT, INDEX)
    assert not known._series


class TestPieces:
    """However the bytes come: found as soon as they are there, and what is found is what was sent."""

    SENT = rows(number=7)
    BEFORE_PIXELS = len(encoded(SENT[:-1], EXPLICIT))
    UIDS = ("1.2.3", "1.2.3.4", "1.2.3.4.7")

    @staticmethod
    def uids(scanner: HeaderScanner) -> tuple[str, str, str]:
        record = scanner.record()
        return record.study_instance_uid, record.series_instance_uid, record.sop_instance_uid

    def test_one_byte_after_the_other(self) -> None:
        scanner = HeaderScanner(EXPLICIT, LIMIT, RULES)
        data = encoded(self.SENT, EXPLICIT)
        sizes = []
        for at in range(len(data)):
            scanner.scan([data[at : at + 1]], complete=at == len(data) - 1)
            if scanner.found:
                sizes.append(at + 1)
        # Looked at each time as much again has come, so found before twice what it takes, or with the last byte.
        assert sizes[0] <= min(2 * self.BEFORE_PIXELS, len(data))
        assert self.uids(scanner) == self.UIDS
        assert scanner.attributes[0x00200013].values == ["7"]

    @pytest.mark.parametrize("at", [1, 100, BEFORE_PIXELS - 1, BEFORE_PIXELS + 5])
    def test_several_at_once_that_are_the_last(self, at: int) -> None:
        data = encoded(self.SENT, EXPLICIT)
        scanner = HeaderScanner(EXPLICIT, LIMIT)
        scanner.scan([data[:at], data[at:]], complete=True)
        assert self.uids(scanner) == self.UIDS

    def test_the_last_are_looked_at_though_they_are_few(self) -> None:
        """There will be no twice as many."""
        data = encoded(self.SENT[:-1], EXPLICIT)
        scanner = HeaderScanner(EXPLICIT, LIMIT)
        scanner.scan([data[:-30]], complete=False)
        assert not scanner.found
        scanner.scan([data[-30:]], complete=True)
        assert self.uids(scanner) == self.UIDS

    def test_between_two_elements_more_may_follow(self) -> None:
        """What has come is whole, but the number of the instance is still to come."""
        place = [row.tag for row in self.SENT].index(0x00200013)
        first, rest = encoded(self.SENT[:place], EXPLICIT), encoded(self.SENT[place:], EXPLICIT)
        scanner = HeaderScanner(EXPLICIT, LIMIT)
        scanner.scan([first], complete=False)
        assert not scanner.found
        scanner.scan([rest], complete=True)
        assert scanner.record().number == 7

    def test_nothing_at_all(self) -> None:
        scanner = HeaderScanner(EXPLICIT, LIMIT)
        assert not scanner.found
        with pytest.raises(DataSetError, match="empty"):
            scanner.record()


class TestLimit:
    LONG = [*rows()[:-2], Row(0x00291020, "OB", bytes(60_000)), *rows()[-2:]]

    def test_the_index_alone_may_stand_within_it(self, caplog: pytest.LogCaptureFixture) -> None:
        """Then rules see no attributes, and the instance is stored all the same."""
        late = wanted_tags([0x00200013, 0x00400275])
        data = encoded(self.LONG, EXPLICIT)
        scanner = HeaderScanner(EXPLICIT, LIMIT, late)
        for at in range(0, len(data), 5000):
            scanner.scan([data[at : at + 5000]], complete=False)
        assert "are not within 20000 bytes" in caplog.text
        assert scanner.attributes == {}

    @pytest.mark.parametrize("piece", [1000, 15_000])
    def test_what_is_not_found_within_it_is_refused(self, piece: int) -> None:
        data = encoded([Row(0x00080015, "OB", bytes(60_000)), *rows()], EXPLICIT)
        scanner = HeaderScanner(EXPLICIT, LIMIT)
        looked = 0
        while not scanner.found:
            assert looked <= 3 * LIMIT, "no more is kept for it"
            scanner.scan([data[looked : looked + piece]], complete=False)
            looked += piece
        with pytest.raises(DataSetError, match=r"are not within 20000 bytes \(storage.max_header\)"):
            scanner.record()

    @pytest.mark.parametrize("large", [Row(0x00420011, "OB", bytes(60_000)), Row(0x0040A730, "UN", bytes(60_000))])
    @pytest.mark.parametrize("syntax", UNCOMPRESSED)
    def test_a_document_or_report_may_be_larger(self, syntax: str, large: Row) -> None:
        """Documents of 20 MB are common, and what the index has behind them is of PET images."""
        before = [row for row in rows() if row.tag < large.tag]
        scanners = []
        for data_set in (before, [*before, large, Row(0x00540081, "US", bytes(2))]):
            data = encoded(data_set, EXPLICIT if syntax == DEFLATED else syntax)
            if syntax == DEFLATED:
                deflate = zlib.compressobj(0, wbits=-zlib.MAX_WBITS)
                data = deflate.compress(data) + deflate.flush()
            scanners.append(scanner := HeaderScanner(syntax, LIMIT))
            for at in range(0, len(data), 1000):
                scanner.scan([data[at : at + 1000]], complete=at + 1000 >= len(data))
                scanner.resume()
        assert scanners[0].record() == scanners[1].record()
        assert scanners[1].lacking() == ""


class TestPassingOver:
    """What a reader of a file need not read."""

    def test_nothing_before_the_header_is_found_nor_of_a_deflated_data_set(self) -> None:
        assert HeaderScanner(EXPLICIT, LIMIT).skip(100) == 0
        scanner = HeaderScanner(DEFLATED, LIMIT)
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        scanner.scan([deflate.compress(encoded(rows(), EXPLICIT)) + deflate.flush()], complete=False)
        assert scanner.skip(100) == 0

    def test_the_pixels_but_for_their_end(self) -> None:
        pixels = bytes(100_000)
        data = encoded([*rows()[:-1], Row(0x7FE00010, "OW", pixels)], EXPLICIT)
        scanner = HeaderScanner(EXPLICIT, LIMIT)
        scanner.scan([data[:5000]], complete=False)
        assert scanner.skip(1000) == 1000
        passed = scanner.skip(1 << 20)
        assert 90_000 < passed < len(data) - 6000
        assert scanner.skip(1 << 20) == 0
        scanner.scan([data[6000 + passed :]], complete=True)
        assert scanner.lacking() == ""
