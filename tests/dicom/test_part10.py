"""File header: made as pydicom reads it, read as others make it."""

from __future__ import annotations

import io
import struct

import pydicom
import pytest

from gateway.dicom.part10 import MAX_META_BYTES, PREAMBLE, file_header, find_header, read_header
from gateway.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, is_valid_uid
from gateway.errors import DataSetError, TruncatedDataSet
from tests.support.datasets import BIG_ENDIAN, CT, EXPLICIT, IMPLICIT, data_sets, encode, instance, samples


def reading(data: bytes):
    return lambda offset, length: data[offset : offset + length]


HEADER = file_header(
    sop_class_uid=CT,
    sop_instance_uid="1.2.3",
    transfer_syntax_uid=EXPLICIT,
    source_aet="SCANNER",
    sending_aet="PACS",
    receiving_aet="GATEWAY",
)


class TestFileHeader:
    def test_pydicom_reads_it(self):
        meta = pydicom.dcmread(io.BytesIO(HEADER + b"\x10\x00\x10\x00PN\x04\x00A^B ")).file_meta
        assert meta.FileMetaInformationGroupLength == len(HEADER) - 144
        assert meta.FileMetaInformationVersion == b"\0\1"
        assert meta.MediaStorageSOPClassUID == CT
        assert meta.MediaStorageSOPInstanceUID == "1.2.3"
        assert meta.TransferSyntaxUID == EXPLICIT
        assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
        assert meta.ImplementationVersionName == IMPLEMENTATION_VERSION_NAME
        assert meta.SourceApplicationEntityTitle == "SCANNER"
        assert meta.SendingApplicationEntityTitle == "PACS"
        assert meta.ReceivingApplicationEntityTitle == "GATEWAY"

    def test_ours_is_a_name(self):
        assert is_valid_uid(IMPLEMENTATION_CLASS_UID)
        assert 1 <= len(IMPLEMENTATION_VERSION_NAME) <= 16

    def test_aets_are_left_out_where_empty(self):
        header = file_header(sop_class_uid=CT, sop_instance_uid="1.2.3", transfer_syntax_uid=EXPLICIT)
        assert not {0x00020016, 0x00020017, 0x00020018} & set(read_header(reading(header)).elements)

    def test_it_reads_back(self):
        meta = read_header(reading(HEADER + bytes(100)))
        assert (meta.transfer_syntax_uid, meta.sop_class_uid, meta.sop_instance_uid) == (EXPLICIT, CT, "1.2.3")
        assert meta.data_set_offset == len(HEADER)


class TestReadHeader:
    def test_every_sample(self):
        seen = 0
        for path, uid, data in data_sets():
            content = path.read_bytes()
            meta = read_header(reading(content))
            assert meta.transfer_syntax_uid == uid, path.name
            assert content[meta.data_set_offset :] == data, path.name
            seen += 1
        assert seen >= len(samples()) - 1 > 150

    def test_no_dicm(self):
        with pytest.raises(DataSetError, match="not a DICOM file: no DICM at 128"):
            read_header(reading(b"\x89PNG" + bytes(500)))

    def test_truncated_anywhere(self):
        for cut in range(len(HEADER)):
            try:
                meta = read_header(reading(HEADER[:cut]))
            except DataSetError:
                continue
            assert meta.data_set_offset == cut  # between two elements, past the transfer syntax

    def test_no_transfer_syntax(self):
        data = PREAMBLE + b"\x02\x00\x02\x00UI\x04\x001.2\0" + b"\x08\x00\x05\x00CS\x00\x00"
        with pytest.raises(DataSetError, match=r"no Transfer Syntax UID \(0002,0010\)"):
            read_header(reading(data))

    def test_wrong_group_length_is_no_matter(self):
        data = HEADER[:140] + struct.pack("<I", 7) + HEADER[144:] + b"\x08\x00\x05\x00CS\x00\x00"
        assert read_header(reading(data)).data_set_offset == len(HEADER)

    def test_large_private_information(self):
        private = bytes(100_000)
        data = HEADER + struct.pack("<HH2sHI", 2, 0x102, b"OB", 0, len(private)) + private + b"\x08\x00\x05\x00"
        meta = read_header(reading(data))
        assert meta.elements[0x00020102].length == 100_000
        assert meta.data_set_offset == len(data) - 4

    def test_reads_are_bounded(self):
        asked = []

        def read(offset: int, length: int) -> bytes:
            asked.append(offset + length)
            return (HEADER + struct.pack("<HH2sHI", 2, 0x102, b"OB", 0, 0xFFFFFFF0) + bytes(8 * MAX_META_BYTES))[
                offset : offset + length
            ]

        with pytest.raises(TruncatedDataSet, match=r"File Meta Information: \(0002,0102\)"):
            read_header(read)
        assert max(asked) <= 4 * MAX_META_BYTES


class TestFindHeader:
    """Files without preamble, group 0002, or its transfer syntax."""

    GROUP = HEADER[132:]

    def test_every_sample_as_read_header(self):
        for path in samples():
            data = path.read_bytes()
            try:
                expected = read_header(reading(data))
            except DataSetError:
                continue
            assert find_header(reading(data)) == expected

    @pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
    @pytest.mark.parametrize("before", [b"", PREAMBLE], ids=["bare", "preamble"])
    def test_without_group_0002(self, syntax: str, before: bytes):
        meta = find_header(reading(before + encode(instance(), syntax)))
        assert meta is not None
        assert (meta.transfer_syntax_uid, meta.sop_class_uid, meta.data_set_offset) == (syntax, "", len(before))

    def test_without_preamble(self):
        meta = find_header(reading(self.GROUP + encode(instance())))
        assert meta is not None
        assert (meta.transfer_syntax_uid, meta.sop_instance_uid) == (EXPLICIT, "1.2.3")
        assert meta.data_set_offset == len(self.GROUP)

    @pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
    def test_without_transfer_syntax(self, syntax: str):
        header = file_header(sop_class_uid=CT, sop_instance_uid="1.2.3", transfer_syntax_uid="")
        meta = find_header(reading(header + encode(instance(), syntax)))
        assert meta is not None
        assert (meta.transfer_syntax_uid, meta.sop_instance_uid) == (syntax, "1.2.3")

    def test_where_nothing_tells(self):
        with pytest.raises(DataSetError, match="does not begin with an element of group 0008"):
            find_header(reading(PREAMBLE + b"\x10\0\x10\0PN\x04\0A^B "))

    @pytest.mark.parametrize(
        "data", [b"", b"text", b"\x08", b"\x02\0\xff", b"\0\x08\0\x05\1\2", bytes(200), b"\x02\0" * 90]
    )
    def test_other_files(self, data: bytes):
        found = find_header(reading(data))
        assert found is None
