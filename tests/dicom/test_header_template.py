"""gateway/dicom/header_template.py finds what elements.pick finds, or nothing."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dicom.elements import Element, pick
from gateway.dicom.header_template import HeaderTemplate
from gateway.dicom.uids import transfer_syntax
from gateway.errors import DataSetError
from tests.support.datasets import BIG_ENDIAN, EXPLICIT, IMPLICIT, ct_header, data_sets, encode
from tests.support.headers import Row, encode_rows, headers, rows
from tests.support.mutations import mutate

UNDEFLATED = (EXPLICIT, IMPLICIT, BIG_ENDIAN)
TAGS = frozenset({row.tag for row in rows()} - {0x00201041, 0x7FE00010} | {0x00080022, 0x00204000, 0x00291010})
STOP = max(TAGS)


class Learner:
    """A layout, and what its first header has."""

    def __init__(self, data: bytes, syntax: str) -> None:
        """ValueError where nothing stands behind the header, DataSetError where it cannot be read."""
        self.syntax = syntax
        self.found, self.end = pick(data, syntax, TAGS, STOP)
        if self.end == len(data):
            raise ValueError("nothing behind it")
        self.layout = HeaderTemplate(data[: self.end + 4], syntax, TAGS, STOP)

    def follow(self, data: bytes) -> bool:
        """Whether it is alike; if so, what was found must be right."""
        followed = self.layout.follow(data)
        if followed is None:
            return False
        changed, behind = followed
        found, end = pick(data, self.syntax, TAGS, STOP)
        assert behind == end < len(data)
        assert list(found) == list(self.found)
        for tag, element in found.items():
            if tag in changed:
                assert element == changed[tag]
                assert element.value != self.found[tag].value
            else:
                assert without_place(element) == without_place(self.found[tag])
        return True

    def learn(self, data: bytes) -> bool:
        """Whether it could be, or could be learned to be."""
        if self.follow(data):
            return True
        if not self.layout.widen(data):
            return False
        assert self.follow(data)
        return True


def without_place(element: Element) -> Element:
    return element._replace(start=0, value_start=0)


@pytest.mark.parametrize("syntax", UNDEFLATED)
@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_whatever_comes(syntax: str, data: st.DataObject) -> None:
    learner: Learner | None = None
    for header in data.draw(st.lists(headers(syntax), min_size=2, max_size=6)):
        if learner is None:
            with suppress(DataSetError, ValueError):
                learner = Learner(header, syntax)
        else:
            learner.learn(header)
            learner.follow(header[: data.draw(st.integers(0, len(header)))])


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", UNDEFLATED)
def test_mutated(syntax: str, undefined: bool) -> None:
    header = encode(ct_header(PixelData=b"1234"), syntax, undefined_lengths=undefined)
    learner = Learner(header, syntax)
    rng = random.Random(5)
    alike = sum(learner.learn(mutate(header, header, rng)) for _ in range(1500))
    assert 300 < alike < 1200


def test_every_sample() -> None:
    """Each with some bytes of it changed."""
    rng = random.Random(6)
    for path, syntax, data in data_sets():
        head = data[: 64 << 10]
        if transfer_syntax(syntax).deflated:
            continue
        try:
            learner = Learner(head, syntax)
        except (DataSetError, ValueError):
            continue
        assert learner.follow(head), path.name
        for _ in range(20):
            at = rng.randrange(learner.end + 4)
            learner.learn(head[:at] + rng.randbytes(1) + head[at + 1 :])


@pytest.mark.parametrize("syntax", UNDEFLATED)
class TestASeries:
    def test_slices_are_followed(self, syntax: str) -> None:
        """Their UIDs, numbers, positions, times and sequences differ in value and length."""
        learner = Learner(encode_rows(rows(number=1), syntax), syntax)
        assert all(learner.learn(encode_rows(rows(number=number), syntax)) for number in (2, 10, 101))
        assert all(learner.follow(encode_rows(rows(number=number), syntax)) for number in range(3, 1200, 7))

    def test_other_elements_are_not(self, syntax: str) -> None:
        base = rows()
        learner = Learner(encode_rows(base, syntax), syntax)
        for place in range(len(base) - 1):
            assert not learner.learn(encode_rows(base[:place] + base[place + 1 :], syntax))
            assert not learner.learn(encode_rows([*base[:place], base[place], *base[place:]], syntax))

    def test_nor_is_another_character_set(self, syntax: str) -> None:
        base = rows()
        learner = Learner(encode_rows(base, syntax), syntax)
        for value in (b"ISO_IR 144", b"ISO_IR 192", b""):
            assert not learner.learn(encode_rows([replace(base[0], value=value), *base[1:]], syntax))

    def test_nor_is_one_that_is_cut(self, syntax: str) -> None:
        learner = Learner(encode_rows(rows(number=1), syntax), syntax)
        for number in (2, 10):
            assert learner.learn(encode_rows(rows(number=number), syntax))
        data = encode_rows(rows(number=20), syntax)
        assert learner.follow(data)
        end = pick(data, syntax, TAGS, STOP)[1]
        assert [learner.follow(data[:size]) for size in range(end + 4)] == [False] * (end + 4)
        assert learner.follow(data[: end + 4])

    def test_nor_is_one_where_a_tag_comes_twice(self, syntax: str) -> None:
        for twice in ([*rows()[:6], *rows()[4:]], [rows()[4], *rows()[4:]], [rows()[4], rows()[4], rows()[-1]]):
            learner = Learner(encode_rows(twice, syntax), syntax)
            assert learner.follow(encode_rows(twice, syntax))
            for place, row in enumerate(twice[:-1]):
                other = [*twice[:place], replace(row, value=b"20260103", undefined=False), *twice[place + 1 :]]
                assert not learner.learn(encode_rows(other, syntax))


@pytest.mark.parametrize("vr", ["ZZ", "LO", "UN", "OB"])
def test_vrs_are_part_of_it(vr: str) -> None:
    base = rows()
    learner = Learner(encode_rows(base, EXPLICIT), EXPLICIT)
    other = [row if row.tag != 0x00200013 else replace(row, vr=vr) for row in base]
    assert not learner.learn(encode_rows(other, EXPLICIT))


def test_items_of_unknown_vr() -> None:
    """UN of undefined length is read by the dictionary: here it would be fragments, which have lengths."""
    palette = Row(0x00281201, "UN", b"", undefined=True)
    learner = Learner(encode_rows([*rows()[:-2], palette, *rows()[-2:]], EXPLICIT), EXPLICIT)
    other = replace(palette, value=b"\xfe\xff\x00\xe0\x04\x00\x00\x00abcd")
    assert not learner.learn(encode_rows([*rows()[:-2], other, *rows()[-2:]], EXPLICIT))
