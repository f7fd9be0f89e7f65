"""Instances out of real files: verbatim, or with other UIDs and nothing else changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import DataSetError
from loadtest.files import File, Files
from tests.support import datasets
from tests.support.datasets import data_sets, decode, sample

READABLE = [(path, syntax, data) for path, syntax, data in data_sets() if b"DICOMDIR" not in bytes(path)]


def test_every_sample_is_sent_as_it_stands() -> None:
    by_path = {path: (syntax, data) for path, syntax, data in READABLE}
    files = Files(list(by_path))
    assert len(files.files) > 100
    for instance, file in zip(files.feed(0, 1), files.files, strict=True):
        syntax, data = by_path[file.path]
        assert b"".join(instance.chunks) == data
        assert (instance.size, instance.transfer_syntax_uid) == (len(data), syntax)
        assert (instance.sop_class_uid, [syntax]) in files.contexts


@pytest.mark.parametrize("syntax", [datasets.IMPLICIT, datasets.EXPLICIT, datasets.BIG_ENDIAN])
def test_new_uids_replace_three_values_and_nothing_else(tmp_path: Path, syntax: str) -> None:
    (tmp_path / "one").write_bytes(part10(syntax, datasets.encode(datasets.instance(StudyInstanceUID="1.2"), syntax)))
    (old,) = Files([tmp_path]).feed(0, 1)
    (new,) = Files([tmp_path], new_uids=True).feed(0, 1)
    before, data = decode(b"".join(old.chunks), syntax), b"".join(new.chunks)
    after = decode(data, syntax)
    assert len(data) == new.size
    assert after.SOPInstanceUID == new.sop_instance_uid != before.SOPInstanceUID
    assert after.StudyInstanceUID == new.study_instance_uid != before.StudyInstanceUID
    assert after.SeriesInstanceUID != before.SeriesInstanceUID
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        delattr(before, keyword)
        delattr(after, keyword)
    assert after == before


def test_files_of_one_study_stay_together_and_each_turn_is_new(tmp_path: Path) -> None:
    for name, study in (("a", "1.1"), ("b", "1.1"), ("c", "1.2")):
        data_set = datasets.instance(StudyInstanceUID=study, SeriesInstanceUID=study + ".1")
        (tmp_path / name).write_bytes(part10(datasets.EXPLICIT, datasets.encode(data_set)))
    sent = list(Files([tmp_path], 6, new_uids=True).feed(0, 1))
    studies = [instance.study_instance_uid for instance in sent]
    assert studies[0] == studies[1] != studies[2]
    assert studies[3] == studies[4] != studies[5]
    assert len(set(studies)) == 4
    assert len({instance.sop_instance_uid for instance in sent}) == 6


def test_files_are_shared_out_once_each() -> None:
    files = Files([path for path, _, _ in READABLE[:10]])
    sent = [instance.sop_instance_uid for number in range(3) for instance in files.feed(number, 3)]
    assert sorted(sent) == sorted(file.uids[0x00080018] for file in files.files)
    assert files.total(3) == 10


def test_what_is_no_dicom_is_passed_over_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    files = Files([tmp_path, sample("CT_small.dcm")])
    assert [path.name for path, _ in files.skipped] == ["notes.txt"]
    assert "no DICM" in files.skipped[0][1]
    with pytest.raises(DataSetError, match="no DICOM file"):
        Files([tmp_path])


def test_a_deflated_file_is_understood_but_keeps_its_uids(tmp_path: Path) -> None:
    path = tmp_path / "deflated"
    path.write_bytes(
        part10(datasets.DEFLATED, datasets.encode(datasets.instance(StudyInstanceUID="1.2"), datasets.DEFLATED))
    )
    assert File.read(path).uids[0x0020000D] == "1.2"
    with pytest.raises(DataSetError):
        Files([path], new_uids=True)


def part10(syntax: str, data: bytes) -> bytes:
    from gateway.dicom.part10 import file_header

    return file_header(sop_class_uid=datasets.CT, sop_instance_uid="1.2.3", transfer_syntax_uid=syntax) + data
