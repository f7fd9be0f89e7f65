"""Synthetic instances, read back with pydicom."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from loadtest.data import PRESETS, Identifiers, Instance, Preset, Synthetic, parse_size
from tests.support.datasets import decode


def read(instance: Instance) -> Dataset:
    data = b"".join(instance.chunks)
    assert len(data) == instance.size
    return decode(data, instance.transfer_syntax_uid)


@pytest.mark.parametrize(
    ("text", "size"),
    [("512KB", 512 << 10), ("8kb", 8 << 10), ("1.5 MB", 3 << 19), ("8192", 8192), ("1GiB", 1 << 30), ("2", 2)],
)
def test_sizes_are_of_the_pixels(text: str, size: int) -> None:
    preset = parse_size(text)
    assert preset.size == size
    assert max(preset.rows, preset.columns) <= 65535


@pytest.mark.parametrize("text", ["", "KB", "0", "-3MB", "8GB", "512 pixels", "xray"])
def test_what_is_no_size_says_what_is(text: str) -> None:
    with pytest.raises(ValueError, match=r"512KB.*us-cine"):
        parse_size(text)


def test_512_kilobytes_are_what_ct_scanners_send() -> None:
    assert (parse_size("512KB").rows, parse_size("512KB").columns) == (512, 512)


@pytest.mark.parametrize("name", [*PRESETS, "8KB", "33MB"])
def test_each_preset_is_a_sound_data_set(name: str) -> None:
    preset = parse_size(name)
    (instance,) = Synthetic(preset, 1).feed(0, 1)
    data_set = read(instance)
    assert data_set.SOPClassUID == instance.sop_class_uid == preset.sop_class_uid
    assert data_set.SOPInstanceUID == instance.sop_instance_uid
    assert data_set.StudyInstanceUID == instance.study_instance_uid
    assert len(data_set.PixelData) == preset.size
    assert data_set.Rows * data_set.Columns * data_set.BitsAllocated // 8 * int(
        data_set.get("NumberOfFrames", 1)
    ) == len(data_set.PixelData)
    assert data_set.RequestAttributesSequence[0].RequestedProcedureID == "R1"


def test_studies_have_the_structure_of_the_preset() -> None:
    preset = Preset("small", "CT", "1.2.840.10008.5.1.4.1.1.2", 2, 2, series=2, instances=3)
    sets = [read(instance) for instance in Synthetic(preset, 13).feed(0, 1)]
    assert [int(data_set.InstanceNumber) for data_set in sets] == [1, 2, 3] * 4 + [1]
    assert [int(data_set.SeriesNumber) for data_set in sets] == [1, 1, 1, 2, 2, 2] * 2 + [1]
    studies = [data_set.StudyInstanceUID for data_set in sets]
    assert len(set(studies[:6])) == len(set(studies[6:12])) == 1
    assert len(set(studies)) == len({data_set.PatientID for data_set in sets}) == 3
    assert len({data_set.AccessionNumber for data_set in sets}) == 3
    assert len({data_set.SeriesInstanceUID for data_set in sets}) == 5
    assert len({data_set.SOPInstanceUID for data_set in sets}) == 13


def test_associations_never_share_a_study_or_an_instance() -> None:
    source = Synthetic(parse_size("8"), 50)
    feeds = [source.feed(number, 3) for number in range(3)]
    taken = [next(feeds[turn % 3]) for turn in range(150)]
    assert source.total(3) == 150
    assert len({instance.sop_instance_uid for instance in taken}) == 150
    assert len({instance.study_instance_uid for instance in taken}) == 3


def test_an_instance_stays_as_it_is_when_the_next_is_made() -> None:
    feed = Synthetic(parse_size("8"), 2).feed(0, 1)
    first, second = next(feed), next(feed)
    assert read(first).SOPInstanceUID == first.sop_instance_uid != second.sop_instance_uid


def test_a_large_instance_takes_no_memory_for_its_pixels() -> None:
    (instance,) = Synthetic(parse_size("1GB"), 1).feed(0, 1)
    chunks = list(instance.chunks)
    assert sum(map(len, chunks)) == instance.size > 1 << 30
    assert len({id(chunk) for chunk in chunks}) == 2


def test_uids_have_one_length_and_come_of_a_uuid() -> None:
    identifiers = [Identifiers() for _ in range(20)]
    for one in identifiers:
        uid = one.uid()
        assert len(uid) == 44
        number = int(uid.removeprefix(b"2.25."))
        assert number >> 76 & 15 == 4  # version 4
        assert number >> 62 & 3 == 2  # variant 1
    assert len({one.run for one in identifiers}) == 20
