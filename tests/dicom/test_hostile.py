"""Every parser of this room on random, mutated and cut input: DataSetError or a result, and nothing else.

Bounded in count, not in time; `fuzz` marks the ones that run in bulk.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dicom.elements import Element, inflate, pick
from gateway.dicom.json import encode_data_set, encode_element
from gateway.dicom.part10 import PREAMBLE, file_header, read_header
from gateway.dicom.recode import to_explicit_little_endian
from gateway.dicom.source import CHUNK, Window
from gateway.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from gateway.dicom.walk import Kind, walk
from gateway.errors import DataSetError
from tests.support.datasets import BIG_ENDIAN, CT, DEFLATED, EXPLICIT, IMPLICIT, ct_header, encode, instance

SYNTAXES = (EXPLICIT, IMPLICIT, BIG_ENDIAN)
VRS = ("AE", "AT", "DS", "FD", "IS", "LO", "OB", "OW", "PN", "SQ", "SS", "UI", "UN", "UV", "US")
TAGS = frozenset({0x00080005, 0x00080018, 0x00100010, 0x0020000D, 0x00400275, 0x7FE00010})


class Reader:
    """`read` over bytes that refuses to be asked for more than a bounded piece."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __call__(self, offset: int, length: int) -> bytes:
        assert offset >= 0
        assert 0 <= length <= CHUNK
        return self.data[offset : offset + length]


def everything(data: bytes, syntax: str) -> None:
    """All that may be done with bytes from outside."""
    attempt(lambda: pick(data, syntax, TAGS, 0x0040FFFF))
    attempt(lambda: pick(memoryview(data), syntax, TAGS, 0xFFFFFFFF))
    attempt(lambda: json.loads(encode_data_set(Reader(data), 0, len(data), syntax, bulk_data_uri=str)))
    attempt(lambda: sum(map(len, to_explicit_little_endian(Reader(data), 0, len(data), syntax))))


def attempt(action: Callable[[], Any]) -> None:
    with suppress(DataSetError):
        action()


def mutated(data: bytes, chance: random.Random) -> bytes:
    result = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        if not result:
            break
        at = chance.randrange(len(result))
        match chance.randrange(6):
            case 0:
                result[at] = chance.randrange(256)
            case 1:
                result[at] ^= 1 << chance.randrange(8)
            case 2:
                del result[at : at + chance.randint(1, 9)]
            case 3:
                result[at : at + 4] = chance.choice((b"\xff" * 4, bytes(4), b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"))
            case 4:
                result[at:at] = result[at : at + chance.randint(1, 40)]
            case _:
                del result[max(at, 8) :]
    return bytes(result)


@pytest.fixture(scope="module")
def seeds() -> list[tuple[str, bytes]]:
    header = ct_header()
    header.remove_private_tags()
    small = instance(rows=2, columns=2, RequestAttributesSequence=header.RequestAttributesSequence)
    return [
        (syntax, encode(data_set, syntax, undefined_lengths=undefined))
        for syntax in SYNTAXES
        for data_set in (header, small)
        for undefined in (False, True)
    ]


@pytest.mark.fuzz
class TestMutated:
    def test_data_sets(self, seeds):
        chance = random.Random(20261122)
        for _ in range(150):
            for syntax, data in seeds:
                everything(mutated(data, chance), syntax)

    def test_in_another_syntax_than_they_say(self, seeds):
        for _, data in seeds:
            for syntax in SYNTAXES:
                everything(data, syntax)

    def test_deflated(self):
        data = encode(instance(rows=8, columns=8), DEFLATED)
        chance = random.Random(7)
        for _ in range(500):
            bad = mutated(data, chance)
            attempt(lambda bad=bad: inflate(bad, 1 << 20))
            attempt(
                lambda bad=bad: encode_data_set(
                    Reader(bad), 0, len(bad), DEFLATED, bulk_data_uri=str, inflate_limit=1 << 20
                )
            )
            attempt(lambda bad=bad: list(to_explicit_little_endian(Reader(bad), 0, len(bad), DEFLATED)))

    def test_file_meta_information(self):
        header = file_header(sop_class_uid=CT, sop_instance_uid="1.2.3", transfer_syntax_uid=EXPLICIT, source_aet="A")
        chance = random.Random(3)
        for _ in range(3000):
            bad = PREAMBLE + mutated(header[132:], chance)
            attempt(lambda bad=bad: read_header(lambda at, n: bad[at : at + n]))


class TestRandom:
    @given(st.binary(max_size=200), st.sampled_from(SYNTAXES))
    @settings(deadline=None, max_examples=400)
    def test_bytes(self, data, syntax):
        everything(data, syntax)

    @given(
        st.binary(max_size=60),
        st.sampled_from(VRS),
    )
    @settings(deadline=None, max_examples=400)
    def test_values(self, value, vr):
        for syntax in (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, transfer_syntax(BIG_ENDIAN)):
            element = Element(0x00091001, vr, value, 0, 8, len(value), False, syntax)
            attempt(lambda element=element: json.loads(encode_element(element, "\\ISO 2022 IR 87")))

    tokens = st.lists(
        st.sampled_from(
            [
                b"\xfe\xff\x00\xe0\xff\xff\xff\xff",
                b"\xfe\xff\x00\xe0\x0a\0\0\0",
                b"\xfe\xff\x0d\xe0\0\0\0\0",
                b"\xfe\xff\xdd\xe0\0\0\0\0",
                b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff",
                b"\x40\x00\x75\x02SQ\0\0\x12\0\0\0",
                b"\x40\x00\x75\x02UN\0\0\xff\xff\xff\xff",
                b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff",
                b"\x10\x00\x10\x00PN\x02\x00A ",
                b"\x10\x00\x10\x00\x02\0\0\0A ",
                b"\0\0\0\0\0\0\0\0",
            ]
        ),
        max_size=12,
    )

    @given(tokens)
    @settings(deadline=None, max_examples=500)
    def test_delimiters_in_any_order(self, parts):
        data = b"".join(parts)
        for syntax in (EXPLICIT, IMPLICIT):
            everything(data, syntax)

    @given(tokens)
    @settings(deadline=None, max_examples=300)
    def test_a_walk_that_ends_is_balanced(self, parts):
        data = b"".join(parts)
        depth: list[Kind] = []
        opening = {Kind.ITEM_END: Kind.ITEM, Kind.SEQUENCE_END: Kind.SEQUENCE}
        try:
            for event in walk(Window.over(data), 0, EXPLICIT_VR_LITTLE_ENDIAN):
                if event.kind in (Kind.ITEM, Kind.SEQUENCE):
                    depth.append(event.kind)
                elif event.kind in opening:
                    assert depth.pop() is opening[event.kind]
        except DataSetError:
            return
        assert not depth


class TestWindow:
    """However small the pieces that `read` is asked for, the events are those of the whole."""

    @pytest.mark.parametrize("undefined", [False, True])
    def test_pieces(self, undefined):
        data = encode(ct_header(), undefined_lengths=undefined)
        whole = list(walk(Window.over(data), 0, EXPLICIT_VR_LITTLE_ENDIAN))
        for size in (1, 13, 300):
            window = Window(Reader(data), 0, len(data))
            window._size = size
            assert list(walk(window, 0, EXPLICIT_VR_LITTLE_ENDIAN)) == whole
        unbounded = Window(Reader(data), 0, None)
        assert list(walk(unbounded, 0, EXPLICIT_VR_LITTLE_ENDIAN)) == whole

    def test_a_declared_length_is_never_read(self):
        data = struct.pack("<HH2sHI", 0x0009, 0x1001, b"UT", 0, 0xFFFFFFF0) + b"abc"
        attempt(lambda: encode_data_set(Reader(data), 0, len(data), EXPLICIT, bulk_data_uri=str))
        attempt(lambda: list(to_explicit_little_endian(Reader(data), 0, len(data), EXPLICIT)))
