"""gateway/ingest/stored_header.py: what a file alone says of its instance, read in parts that grow."""

from __future__ import annotations

import pytest

from gateway.dicom.part10 import file_header
from gateway.errors import DataSetError, TruncatedDataSet
from gateway.ingest.stored_header import read_stored_header
from gateway.storage.memory import MemoryObject
from tests.support.datasets import CT, EXPLICIT
from tests.support.headers import Row, encode_rows, rows

MAX_HEADER = 1 << 20


class File(MemoryObject):
    """Counts what is read of it."""

    def __init__(self, found: list[Row], missing: int = 0) -> None:
        self.head = file_header(sop_class_uid=CT, sop_instance_uid="1.2.3.4.1", transfer_syntax_uid=EXPLICIT)
        data = self.head + encode_rows(found, EXPLICIT)
        super().__init__(data[: len(data) - missing])
        self.bytes_read = 0

    def read(self, offset: int, length: int) -> bytes:
        data = super().read(offset, length)
        self.bytes_read += len(data)
        return data


def with_private(size: int) -> list[Row]:
    """A header with so much before the attributes that the index needs last."""
    found = rows()
    return [*found[:12], Row(0x00191011, "OB", bytes(size)), *found[12:]]


def test_a_small_file() -> None:
    file = File(rows())
    header = read_stored_header(file, "KEY", MAX_HEADER)
    assert (header.meta.sop_instance_uid, header.record.sop_instance_uid) == ("1.2.3.4.1", "1.2.3.4.1")
    placement = header.placement
    assert (placement.key, placement.size, placement.data_set_offset) == ("KEY", file.size, len(file.head))
    assert placement.transfer_syntax_uid == EXPLICIT
    assert header.broken is None


@pytest.mark.parametrize("size", [65_000, 66_000, 300_000, 900_000])
def test_a_header_that_is_longer_than_the_first_read(size: int) -> None:
    header = read_stored_header(File(with_private(size)), "KEY", MAX_HEADER)
    assert (header.record.series_instance_uid, header.broken) == ("1.2.3.4", None)


def test_pixels_are_passed_over() -> None:
    file = File([*rows()[:-1], Row(0x7FE00010, "OW", bytes(32 << 20))])
    assert read_stored_header(file, "KEY", MAX_HEADER).broken is None
    assert file.bytes_read < 1 << 20


def test_one_that_is_cut_short_has_its_record_and_says_so() -> None:
    header = read_stored_header(File([*rows()[:-1], Row(0x7FE00010, "OW", bytes(1 << 20))], 100), "KEY", MAX_HEADER)
    assert header.record.sop_instance_uid == "1.2.3.4.1"
    assert isinstance(header.broken, DataSetError)
    assert header.placement.lacking == str(header.broken) != ""


def test_one_that_ends_in_its_header() -> None:
    file = File(rows())
    with pytest.raises(TruncatedDataSet):
        read_stored_header(File(rows(), file.size - len(file.head) - 200), "KEY", MAX_HEADER)


def test_a_header_that_does_not_stand_within_the_limit() -> None:
    with pytest.raises(DataSetError, match=r"are not within 100000 bytes"):
        read_stored_header(File(with_private(300_000)), "KEY", 100_000)


def test_a_file_that_is_no_dicom() -> None:
    with pytest.raises(DataSetError):
        read_stored_header(MemoryObject(bytes(1000)), "KEY", MAX_HEADER)
