"""Where a data set ends, by its lengths alone: in every encoding, whatever the pieces."""

from __future__ import annotations

import io
import zlib
from contextlib import AbstractContextManager, nullcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from gateway.dicom import elements
from gateway.dicom.extent import TAIL_BYTES, Extent, InflatedExtent, check_end
from gateway.dicom.source import Window
from gateway.dicom.uids import transfer_syntax
from gateway.dicom.walk import UNDEFINED, walk
from gateway.errors import DataSetError, TruncatedDataSet
from tests.support.datasets import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    JPEG_BASELINE,
    UNCOMPRESSED,
    data_sets,
    encode,
    instance,
)


def followed(data: bytes, syntax: str, piece: int = 0, position: int = 0) -> Extent:
    """The extent of all of it, in pieces of so many bytes."""
    extent = Extent(transfer_syntax(syntax), position)
    piece = piece or len(data) or 1
    for at in range(0, len(data), piece):
        assert extent.feed([memoryview(data)[at : at + piece]], at)
    return extent


def is_whole(data: bytes, syntax: str, piece: int = 0) -> bool:
    try:
        followed(data, syntax, piece).finish(len(data))
    except TruncatedDataSet:
        return False
    return True


def boundaries(data: bytes, syntax: str) -> set[int]:
    """Offsets between two elements at the top level, as another reader finds them."""
    depth, found = 0, {0, len(data)}
    for event in walk(Window.over(data), 0, transfer_syntax(syntax)):
        if depth == 0:
            found.add(event.start)
        depth += event.kind.name in ("SEQUENCE", "ITEM")
        depth -= event.kind.name in ("SEQUENCE_END", "ITEM_END")
    return found


def small(**values: object) -> Dataset:
    """Nested sequences, private elements, pixel data, and an element behind them."""
    data_set = instance(rows=2, columns=4)
    inner = Dataset()
    inner.ReferencedSOPInstanceUID = "1.2.3"
    outer = Dataset()
    outer.ReferencedImageSequence = [inner, inner]
    data_set.ReferencedSeriesSequence = [outer, Dataset()]
    data_set.private_block(0x0009, "TEST", create=True).add_new(1, "OB", b"1234")
    data_set.add_new(0xFFFCFFFC, "OB", bytes(6))
    for keyword, value in values.items():
        setattr(data_set, keyword, value)
    return data_set


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [each for each in UNCOMPRESSED if each != DEFLATED])
@pytest.mark.case("what ends inside an element is cut short, wherever it is cut")
def test_every_cut_but_between_two_elements_is_one(syntax: str, undefined: bool) -> None:
    data = encode(small(), syntax, undefined_lengths=undefined)
    whole = boundaries(data, syntax)
    assert len(whole) > 20
    for size in range(2, len(data) + 1):
        for piece in (0, *((1, 7) if size % 23 == 0 else ())):
            # Zeros may pad the end, and the header of a big endian element may begin with one.
            padding = not any(data[max(each for each in whole if each <= size) : size])
            assert is_whole(data[:size], syntax, piece) == padding, (size, piece)


def test_every_cut_of_fragments_is_one() -> None:
    data_set = small()
    data_set.PixelData = encapsulate([b"\xff\xd8abcd\xff\xd9", b"\xff\xd8ef\xff\xd9\0\0"])
    data = encode(data_set, JPEG_BASELINE)
    whole = boundaries(data, JPEG_BASELINE)
    for size in range(1, len(data) + 1):
        assert is_whole(data[:size], JPEG_BASELINE, 3) == (size in whole), size


def test_deflated_ones_too() -> None:
    data = encode(small(), DEFLATED)
    inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    inflate.decompress(data)
    end = len(data) - len(inflate.unused_data)  # a NULL may stand behind it, to make it even
    for size in range(2, len(data) + 1):
        extent = InflatedExtent(transfer_syntax(DEFLATED))
        extent.feed([data[:size]])
        if size >= end:
            extent.finish()
        else:
            with pytest.raises(TruncatedDataSet, match="deflate stream ends early"):
                extent.finish()
    plain = encode(small(), EXPLICIT)
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    extent = InflatedExtent(transfer_syntax(DEFLATED))
    for byte in deflate.compress(plain[:-3]) + deflate.flush():
        extent.feed([bytes([byte])])
    with pytest.raises(TruncatedDataSet, match=r"\(FFFC,FFFC\)"):
        extent.finish()
    with pytest.raises(DataSetError, match="corrupt"):
        InflatedExtent(transfer_syntax(DEFLATED)).feed([b"\xff" * 100])


def test_the_place_is_named() -> None:
    data = encode(instance(), EXPLICIT)
    start = len(data) - 512 - 12
    for size, words in [
        (len(data) - 12, rf"cut short in \(7FE0,0010\) at offset {start}: 500 of 512 bytes"),
        (start + 6, f"cut short at offset {start + 6}, in the header of the element at {start}"),
    ]:
        with pytest.raises(TruncatedDataSet, match=words):
            followed(data[:size], EXPLICIT).finish(size)
    data = encode(small(), EXPLICIT, undefined_lengths=True)
    place = data.index(b"\x08\x00\x15\x11SQ")
    with pytest.raises(TruncatedDataSet, match=rf"\(0008,1115\) at offset {place}: its end is missing"):
        followed(data[: place + 12], EXPLICIT).finish(place + 12)


@given(
    st.lists(st.integers(1, 9000), min_size=1, max_size=4),
    st.lists(st.lists(st.integers(0, 5000), min_size=1, max_size=4), min_size=1, max_size=4),
)
@settings(deadline=None, max_examples=60)
def test_the_pieces_do_not_matter(frame_sizes: list[int], pieces: list[list[int]]) -> None:
    frames = [bytes(range(1, 101)) * (size // 50) + bytes(2) for size in frame_sizes]
    data_set = small(PixelData=encapsulate(frames))
    encoded = encode(data_set, JPEG_BASELINE)
    extent = Extent(transfer_syntax(JPEG_BASELINE))
    at = 0
    for sizes in [*pieces, [7], [len(encoded)]]:
        views, start = [], at
        for size in sizes:
            views.append(memoryview(encoded)[at : at + size])
            at += len(views[-1])
        while not extent.feed(views, start, 3):
            pass
    extent.finish(len(encoded))
    assert extent.pixel_tag == 0x7FE00010
    assert extent.pixel_length == UNDEFINED
    assert (extent.fragments, extent.fragment_bytes) == (len(frames), sum(map(len, frames)))
    assert extent.last_fragment == len(frames[-1])
    assert extent.tail == frames[-1][-TAIL_BYTES:]


def test_an_icon_is_not_the_image() -> None:
    icon = Dataset()
    icon.add_new(0x7FE00010, "OB", encapsulate([b"icon", b"of 2"]))
    icon["PixelData"].is_undefined_length = True
    data_set = small(PixelData=encapsulate([b"\xff\xd8image\xff\xd9\0"]))
    data_set.IconImageSequence = [icon]
    extent = followed(encode(data_set, JPEG_BASELINE), JPEG_BASELINE)
    assert (extent.fragments, extent.tail) == (1, b"\xff\xd8image\xff\xd9\0")


@pytest.mark.parametrize(
    "after", [b"abcdefghijklmnop", b"\xff" * 20, bytes(3), bytes(20), b"\xfe\xff\xdd\xe0" + bytes(4)]
)
def test_what_stands_behind_and_is_no_element_is_not_called_cut(after: bytes) -> None:
    data = encode(instance(), EXPLICIT) + after
    extent = followed(data, EXPLICIT)
    extent.finish(len(data))
    assert extent.pixel_length == 512


@pytest.mark.case("zeros end a data set in big endian where they are zeros, for every reader alike")
@pytest.mark.parametrize("code", [b"\0\0", b"\3Q"])
def test_zeros_in_the_place_of_a_tag_in_big_endian(code: bytes) -> None:
    data = encode(instance(), BIG_ENDIAN)
    after = data + bytes(4) + code + bytes(20)
    extent = followed(after, BIG_ENDIAN)
    assert extent.over
    extent.finish(len(after))
    events = walk(Window.over(after), 0, transfer_syntax(BIG_ENDIAN))
    if any(code):
        with pytest.raises(DataSetError, match="no VR"):
            list(events)
    else:
        assert max(event.start for event in events) < len(data)


def test_it_can_go_on_where_another_has_stopped() -> None:
    data = encode(small(), EXPLICIT)
    _, end = elements.pick(data, EXPLICIT, frozenset(), 0x00541330)
    extent = followed(data, EXPLICIT, 11, end)
    extent.finish(len(data))
    assert extent.pixel_length == 16


def test_what_lies_in_files_is_whole() -> None:
    """Of pydicom's sample files those that it can read to their ends itself."""
    for _path, uid, data in data_sets():
        syntax = transfer_syntax(uid)
        whole = True
        try:
            if not syntax.deflated:
                for _ in walk(Window.over(data), 0, syntax):
                    pass
        except TruncatedDataSet:
            whole = False
        except DataSetError:
            continue
        context: AbstractContextManager[object] = nullcontext() if whole else pytest.raises(TruncatedDataSet)
        with context:
            check_end(lambda offset, length, data=data: data[offset : offset + length], 0, len(data), syntax)  # type: ignore[misc]


def test_files_are_read_by_their_headers_alone() -> None:
    data = encode(small(PixelData=bytes(5_000_000)), EXPLICIT)
    file, asked = io.BytesIO(data), 0

    def read(offset: int, length: int) -> bytes:
        nonlocal asked
        asked += length
        file.seek(offset)
        return file.read(length)

    check_end(read, 0, len(data), transfer_syntax(EXPLICIT))
    assert asked < 100_000
    with pytest.raises(TruncatedDataSet):
        check_end(read, 0, len(data) - 1, transfer_syntax(EXPLICIT))
