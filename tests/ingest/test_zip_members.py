"""gateway/ingest/zip_members.py: which members of a zip are opened, and how much may come out of them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from gateway.config import Storage
from gateway.ingest import zip_members
from gateway.ingest.file_import import ImportReport, import_paths
from gateway.ingest.files import Files, look_into
from gateway.ingest.zip_members import Budget, TooMuch, budget_on_disk, open_member, open_zip
from tests.support.datasets import sample

CT = sample("CT_small.dcm").read_bytes()


def zipped(path: Path, *members: tuple[str, bytes, int]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content, method in members:
            archive.writestr(name, content, method)
    return path


class TestMembers:
    @pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    def test_are_read_forward_and_again(self, tmp_path: Path, method: int):
        with open_zip(zipped(tmp_path / "a.zip", ("a", CT, method))) as archive:
            (member,) = archive.infolist()
            with open_member(archive, member, Budget(1 << 20)) as file:
                assert file.read(200) == CT[:200]
                file.seek(1000)
                assert file.read(10) == CT[1000:1010]
                file.seek(0)
                assert file.read() == CT

    @pytest.mark.case("a member of a zip that is neither stored nor deflated is not unpacked")
    @pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_other_methods(self, tmp_path: Path, method: int):
        path = zipped(tmp_path / "a.zip", ("a", CT, method))
        with open_zip(path) as archive, pytest.raises(zipfile.BadZipFile, match="only stored and deflated"):
            open_member(archive, archive.infolist()[0], Budget(1 << 20))

    def test_a_password(self, tmp_path: Path):
        path = zipped(tmp_path / "a.zip", ("a", CT, zipfile.ZIP_STORED))
        content = bytearray(path.read_bytes())
        for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
            content[content.index(signature) + flags] |= 1
        with open_zip(io.BytesIO(content)) as archive, pytest.raises(zipfile.BadZipFile, match="password"):
            open_member(archive, archive.infolist()[0], Budget(1 << 20))

    @pytest.mark.case("a member whose own header is broken is one file's trouble")
    @pytest.mark.parametrize("wide", [True, False], ids=["before the beginning", "a name that is no text"])
    def test_a_broken_header(self, wide: bool):
        """zipfile says ValueError for an entry that lies before the beginning, and for a name that is no UTF-8."""
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive, archive.open("\u00e4", "w", force_zip64=wide) as file:
            file.write(CT)
        broken = bytearray(content.getvalue())
        if wide:  # the directory is said to begin later than it does
            broken[-6:-2] = (int.from_bytes(broken[-6:-2], "little") + 5).to_bytes(4, "little")
        else:
            broken[30] = 0xFF
        with open_zip(io.BytesIO(broken)) as archive, pytest.raises(zipfile.BadZipFile, match="\u00e4: "):
            open_member(archive, archive.infolist()[0], Budget(1 << 20))

    def test_an_offset_that_no_file_has(self):
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr("a", CT)
        with zipfile.ZipFile(content) as archive:
            member = archive.infolist()[0]
            member.header_offset = (1 << 64) - 1  # as the directory of a zip64 may have it
            with pytest.raises(zipfile.BadZipFile, match="a: "):
                open_member(archive, member, Budget(1 << 20))


class TestBudget:
    def test_counts_what_is_read_and_passed_over(self, tmp_path: Path):
        with open_zip(zipped(tmp_path / "a.zip", ("a", bytes(1000), 0), ("b", bytes(1000), 8))) as archive:
            budget = Budget(1500)
            first, second = archive.infolist()
            with open_member(archive, first, budget) as file:
                file.seek(400)
                file.read(500)
            with open_member(archive, second, budget) as file, pytest.raises(TooMuch):
                file.read(601)

    def test_grows_with_the_zip(self):
        budget_on_disk(1).spend(zip_members.MAX_UNPACKED_BYTES)
        with pytest.raises(TooMuch):
            budget_on_disk(1).spend(zip_members.MAX_UNPACKED_BYTES + 1)
        budget_on_disk(zip_members.MAX_UNPACKED_BYTES).spend(zip_members.MAX_UNPACKED_BYTES * zip_members.MAX_RATIO)


class TestOnADisk:
    """What `import` and `send` make of it."""

    @pytest.mark.case("import and send refuse such members, and go on with the others")
    async def test_import(self, tmp_path: Path):
        path = zipped(tmp_path / "a.zip", ("a", CT, zipfile.ZIP_BZIP2), ("b", CT, zipfile.ZIP_DEFLATED))
        report = await import_paths(Storage(path=str(tmp_path / "data"), min_free=0), [path])
        assert report.outcomes == {"stored": 1}
        ((name, reason),) = report.refused
        assert name == f"{path}:a"
        assert "bzip2" in reason

    def test_what_is_looked_into(self, tmp_path: Path):
        path = zipped(tmp_path / "a.zip", ("a", CT, zipfile.ZIP_LZMA), ("b", CT, zipfile.ZIP_STORED))
        files = Files([path])
        try:
            first, second = files
            with pytest.raises(zipfile.BadZipFile, match="LZMA"):
                look_into(first)
            found = look_into(second)
            assert found is not None
            assert found.size == len(CT)
        finally:
            files.close()

    async def test_limits(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(zip_members, "MAX_UNPACKED_BYTES", len(CT) + 10)
        monkeypatch.setattr(zip_members, "MAX_RATIO", 1)
        path = zipped(tmp_path / "a.zip", *[(f"{n}", CT, zipfile.ZIP_DEFLATED) for n in range(3)])
        report = await import_paths(Storage(path=str(tmp_path / "data"), min_free=0), [path])
        assert isinstance(report, ImportReport)
        assert any("unpacks to more" in reason for _, reason in report.refused)

    async def test_a_directory_that_fills_memory_is_one_files_trouble(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(zip_members, "MAX_DIRECTORY_BYTES", 100)
        path = zipped(tmp_path / "a.zip", *[(f"{n}", b"", 0) for n in range(50)])
        report = await import_paths(Storage(path=str(tmp_path / "data"), min_free=0), [path, sample("CT_small.dcm")])
        assert report.outcomes == {"stored": 1}
        assert "directory" in report.refused[0][1]
