"""Files, folders and zips through the ingest, beside a working gateway, and what is said of each."""

from __future__ import annotations

import asyncio
import os
import shutil
import zipfile
from pathlib import Path

import pytest

from gateway.config import Storage
from gateway.dicom import part10
from gateway.errors import ConfigurationError, OutOfSpace
from gateway.ingest.data_folder import open_folder
from gateway.ingest.file_import import ImportReport, import_paths
from tests.support.datasets import BIG_ENDIAN, EXPLICIT, IMPLICIT, ct_header, encode, sample, samples
from tests.support.intake import intake


def settings(path: Path, **changes: object) -> Storage:
    return Storage(path=str(path), min_free=0, **changes)  # type: ignore[arg-type]


def file_of(path: Path, instance: str, *, meta_instance: str = "", **values: object) -> Path:
    data_set = ct_header(SOPInstanceUID=instance, **values)
    header = part10.file_header(
        sop_class_uid=str(data_set.SOPClassUID),
        sop_instance_uid=meta_instance or instance,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
    )
    path.write_bytes(header + encode(data_set))
    return path


async def test_files_folders_and_zips(tmp_path: Path) -> None:
    folder = tmp_path / "files" / "below"
    folder.mkdir(parents=True)
    file_of(folder / "a.dcm", "1.2.1")
    (folder / "notes.txt").write_text("not an image")
    (folder / "empty").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "files" / "some.zip", "w") as archive:
        archive.write(file_of(tmp_path / "b.dcm", "1.2.2"), "deep/b.dcm")
        archive.write(sample("DICOMDIR"), "DICOMDIR")
    single = file_of(tmp_path / "c.dcm", "1.2.3")
    seen: list[int] = []

    def progress(report: ImportReport) -> None:
        seen.append(sum(report.outcomes.values()) + report.skipped)

    async with asyncio.timeout(20):
        report = await import_paths(settings(tmp_path / "data"), [tmp_path / "files", single], progress)
        assert report == ImportReport(outcomes={"stored": 3}, skipped=3, refused=[])
        assert seen == [1, 2, 3, 4, 5, 6]
        again = await import_paths(settings(tmp_path / "data"), [single])
        assert again.outcomes == {"same": 1}


@pytest.mark.case("files without preamble or group 0002 are taken where they can be read")
async def test_files_that_lack_their_beginning(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    syntaxes = {"1.2.1": IMPLICIT, "1.2.2": EXPLICIT, "1.2.3": BIG_ENDIAN}
    for uid, syntax in syntaxes.items():
        (folder / uid).write_bytes(encode(ct_header(SOPInstanceUID=uid), syntax))
    whole = file_of(tmp_path / "whole", "1.2.4").read_bytes()
    (folder / "1.2.4").write_bytes(whole[132:])
    (folder / "text").write_bytes(b"\x08\0 is how a data set begins, and this file")
    (folder / "nobody").write_bytes(encode(ct_header(SOPInstanceUID=""), EXPLICIT))
    async with asyncio.timeout(20):
        report = await import_paths(settings(tmp_path / "data"), [folder])
        assert report == ImportReport(outcomes={"stored": 4}, skipped=2, refused=[])
        found = {}
        async with open_folder(settings(tmp_path / "data")) as opened:
            for key in opened.store.keys():  # noqa: SIM118
                file = opened.store.open(key)
                meta = part10.read_header(file.read)
                found[meta.sop_instance_uid] = meta.transfer_syntax_uid
                file.close()
    assert found == {**syntaxes, "1.2.4": EXPLICIT}


async def test_beside_a_working_gateway(tmp_path: Path) -> None:
    async with asyncio.timeout(20), intake(tmp_path / "data") as gateway:
        report = await import_paths(settings(tmp_path / "data"), [file_of(tmp_path / "a.dcm", "1.2.1")])
        assert report.outcomes == {"stored": 1}
        assert len(list(gateway.folder.store.keys())) == 1


async def test_where_meta_information_and_data_set_disagree_the_data_set_is_right(tmp_path: Path) -> None:
    path = file_of(tmp_path / "a.dcm", "1.2.1", meta_instance="1.2.99")
    async with asyncio.timeout(20):
        report = await import_paths(settings(tmp_path / "data"), [path])
        assert report.outcomes == {"stored": 1}
        async with open_folder(settings(tmp_path / "data")) as folder:
            (key,) = folder.store.keys()
            stored = folder.store.open(key)
            assert part10.read_header(stored.read).sop_instance_uid == "1.2.1"
            stored.close()


async def test_what_cannot_be_taken_in_is_named_with_its_reason(tmp_path: Path) -> None:
    good = file_of(tmp_path / "good.dcm", "1.2.1")
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(good.read_bytes()[:600])
    bad_zip = tmp_path / "bad.zip"
    with zipfile.ZipFile(bad_zip, "w") as archive:
        archive.write(good, "a.dcm")
    data = bytearray(bad_zip.read_bytes())
    data[200] ^= 0xFF
    bad_zip.write_bytes(data)
    async with asyncio.timeout(20):
        report = await import_paths(settings(tmp_path / "data"), [cut, bad_zip, tmp_path / "missing.dcm", good])
    assert report.outcomes == {"stored": 1}
    reasons = {Path(name).name: reason for name, reason in report.refused}
    assert set(reasons) == {"cut.dcm", "bad.zip:a.dcm", "missing.dcm"}
    assert "cannot be opened" in reasons["missing.dcm"]


async def test_every_sample_of_pydicom_is_answered(tmp_path: Path) -> None:
    async with asyncio.timeout(50):
        report = await import_paths(settings(tmp_path / "data"), samples())
    assert report.outcomes["stored"] > 90
    assert all("Traceback" not in reason for _, reason in report.refused)


async def test_no_room(tmp_path: Path) -> None:
    full = Storage(path=str(tmp_path / "data"), min_free=1 << 60)
    async with asyncio.timeout(20):
        with pytest.raises(OutOfSpace):
            await import_paths(full, [file_of(tmp_path / "a.dcm", "1.2.1")])


async def test_a_store_without_its_index_is_not_opened(tmp_path: Path) -> None:
    """Recovery would delete what it does not find in an empty index."""
    async with asyncio.timeout(20):
        await import_paths(settings(tmp_path / "data"), [file_of(tmp_path / "a.dcm", "1.2.1")])
        for path in (tmp_path / "data").glob("database.sqlite*"):
            path.unlink()
        with pytest.raises(ConfigurationError, match="reindex"):
            async with open_folder(settings(tmp_path / "data")):
                pass
        assert not (tmp_path / "data/database.sqlite").exists()


@pytest.mark.case("an import names the files that are cut short and those that lack pixel data")
async def test_what_is_cut_short_and_what_lacks_pixel_data(tmp_path: Path) -> None:
    cut = file_of(tmp_path / "cut.dcm", "1.2.1", PixelData=bytes(100))
    cut.write_bytes(cut.read_bytes()[:-3])
    short = file_of(tmp_path / "short.dcm", "1.2.2", PixelDataProviderURL=None)
    async with asyncio.timeout(20):
        report = await import_paths(settings(tmp_path / "data"), [cut, short])
    assert report.outcomes == {"stored": 1}
    ((name, reason),) = report.refused
    assert name == str(cut)
    assert reason.startswith("cut short in (7FE0,0010) at offset ")
    assert report.incomplete == [(str(short), "no pixel data, where 32768 bytes belong")]


@pytest.mark.case("broken 14 a pipe in a folder does not stop an import")
async def test_pipes_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    os.mkfifo(tmp_path / "in" / "pipe.dcm")
    async with asyncio.timeout(10):
        report = await import_paths(settings(tmp_path / "data"), [tmp_path / "in"])
    assert report.outcomes == {}


async def test_names_of_members_are_never_paths(tmp_path: Path) -> None:
    """Nor is what a DICOMDIR refers to: files are found by looking into folders."""
    inside = file_of(tmp_path / "x.dcm", "1.2.3").read_bytes()
    names = ["../../up", "/tmp/../abs", "..\\up", "C:\\up", ".."]
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        for name in names:
            archive.writestr(name, inside)
    (tmp_path / "media").mkdir()
    shutil.copy(sample("DICOMDIR"), tmp_path / "media" / "DICOMDIR")
    before = sorted(tmp_path.rglob("*"))
    async with asyncio.timeout(30):
        report = await import_paths(settings(tmp_path / "a" / "data"), [tmp_path / "z.zip", tmp_path / "media"])
    assert (report.outcomes, report.skipped) == ({"stored": 1, "same": len(names) - 1}, 1)
    assert [path for path in sorted(tmp_path.rglob("*")) if not path.is_relative_to(tmp_path / "a")] == before
