"""gateway/web/viewer/install.py: the package of OHIF put in place, and hostile ones that are not."""

from __future__ import annotations

import fcntl
import gzip
import os
import tarfile
from pathlib import Path

import pytest

from gateway.errors import GatewayError
from gateway.web.viewer import install as module
from gateway.web.viewer.adapt import NotAdaptable
from gateway.web.viewer.install import InstallFailed, install, integrity_of
from gateway.web.viewer.release import Release, find_release
from tests.support.ohif import BUILD, package


def put(archive: Path, folder: Path, integrity: str | None = None) -> str:
    return install(archive, folder, integrity=integrity, progress=lambda done, total: None)


def placed(folder: Path) -> Release:
    found = find_release(folder)
    assert found is not None
    return found


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return package(tmp_path / "ohif.tgz", BUILD)


class TestInPlace:
    def test_what_is_kept_and_what_is_not(self, archive: Path, tmp_path: Path):
        assert put(archive, tmp_path / "a/viewer") == "9.9.9"
        release = placed(tmp_path / "a/viewer")
        assert set(release.files) == {
            *("app.bundle.0f61.js", "app.bundle.css", "a34f.woff2", "136.bundle.b948.js", "37fa.wasm"),
            *("esm/module.mjs", "assets/favicon.ico"),
        }
        assert release.entry.scripts == ("app.bundle.0f61.js",)
        assert release.entry.styles == ("app.bundle.css",)
        assert (tmp_path / "a/viewer/current/LICENSE").read_bytes() == b"MIT"

    def test_nothing_points_at_the_root_any_more(self, archive: Path, tmp_path: Path):
        put(archive, tmp_path)
        files = placed(tmp_path).files
        assert b'p = "/"' not in files["app.bundle.0f61.js"].read_bytes()
        assert files["app.bundle.css"].read_bytes() == (
            b"@font-face { src: url(a34f.woff2) url('b.woff2') url(//elsewhere) }"
        )

    def test_compressed_where_it_pays(self, archive: Path, tmp_path: Path):
        put(archive, tmp_path)
        script = placed(tmp_path).files["app.bundle.0f61.js"]
        assert gzip.decompress(Path(f"{script}.gz").read_bytes()) == script.read_bytes()
        assert not Path(f"{placed(tmp_path).files['136.bundle.b948.js']}.gz").exists()

    def test_again_replaces(self, archive: Path, tmp_path: Path):
        put(archive, tmp_path / "viewer")
        first = placed(tmp_path / "viewer")
        changed = {**BUILD, "package/package.json": b'{"name": "@ohif/app", "version": "9.9.10"}'}
        (tmp_path / "viewer/mine.txt").touch()
        put(package(tmp_path / "next.tgz", changed), tmp_path / "viewer")
        second = placed(tmp_path / "viewer")
        assert second.name.startswith("9.9.10-")
        assert second.name != first.name
        assert {path.name for path in (tmp_path / "viewer").iterdir()} == {"current", second.name, "mine.txt"}
        assert find_release(tmp_path / "viewer", second) is second

    def test_whoever_serves_can_read_it(self, archive: Path, tmp_path: Path):
        before = os.umask(0o077)
        try:
            put(archive, tmp_path / "viewer")
        finally:
            os.umask(before)
        for path in (tmp_path / "viewer", *(tmp_path / "viewer").rglob("*")):
            assert path.stat().st_mode & 0o044, path

    def test_none(self, tmp_path: Path):
        assert find_release(tmp_path / "nowhere") is None
        (tmp_path / "current").symlink_to("/etc")
        assert find_release(tmp_path) is None


class TestRefused:
    """Whatever is wrong: an error that says so, what was there stays, nothing is left behind."""

    @pytest.fixture
    def folder(self, archive: Path, tmp_path: Path) -> Path:
        put(archive, tmp_path / "viewer")
        return tmp_path / "viewer"

    def refuse(self, archive: Path, folder: Path, text: str, error: type[GatewayError] = InstallFailed) -> None:
        before = sorted(path.name for path in folder.iterdir())
        with pytest.raises(error, match=text):
            put(archive, folder)
        assert sorted(path.name for path in folder.iterdir()) == before
        assert placed(folder).files

    @pytest.mark.parametrize(
        "name",
        [
            *("package/dist/../../../escaped.js", "../escaped.js", "/escaped.js", "package/dist/./a.js"),
            *("package/dist//escaped.js", "package/dist/a\\..\\b.js", "package/dist/a\nb.js", "package/dist/ä.js"),
            *("package/dist/.hidden", "C:/escaped.js"),
        ],
    )
    def test_a_name_that_leads_elsewhere(self, folder: Path, tmp_path: Path, name: str):
        self.refuse(package(tmp_path / "bad.tgz", {**BUILD, name: b"x"}), folder, "invalid name")
        assert not list(tmp_path.rglob("*escaped*"))

    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
    def test_no_plain_file(self, folder: Path, tmp_path: Path, kind: bytes):
        link = tarfile.TarInfo("package/dist/link.js")
        link.type, link.linkname = kind, "/etc/passwd"
        self.refuse(package(tmp_path / "bad.tgz", {**BUILD, "link": link}), folder, "no regular file")

    def test_a_file_twice(self, folder: Path, tmp_path: Path):
        twice = tarfile.TarInfo("package/dist/136.bundle.b948.js")
        with pytest.raises(FileExistsError):
            put(package(tmp_path / "bad.tgz", {**BUILD, "twice": twice}), folder)
        assert len(list(folder.iterdir())) == 2

    def test_too_large(self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(module, "MAX_FILE_BYTES", 64 << 10)
        large = {**BUILD, "package/dist/large.js": bytes(65 << 10)}
        self.refuse(package(tmp_path / "bad.tgz", large), folder, "large.js in it is larger")

    def test_too_much(self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """What is left out counts too: it is unpacked to get past it."""
        monkeypatch.setattr(module, "MAX_TOTAL_BYTES", 1 << 20)
        much = {"package/dist/ort/large": bytes(2 << 20), **BUILD}
        self.refuse(package(tmp_path / "bad.tgz", much), folder, "more than 1048576 bytes")

    def test_a_header_that_claims_gigabytes(self, folder: Path, tmp_path: Path):
        """tarfile reads the extended header of a member in one piece, as long as it says it is."""
        header = tarfile.TarInfo("long")
        header.type, header.size = tarfile.XHDTYPE, 3 << 30
        with gzip.open(tmp_path / "bad.tgz", "wb") as file:
            file.write(header.tobuf(tarfile.GNU_FORMAT))
            file.write(bytes(1 << 20))
        self.refuse(tmp_path / "bad.tgz", folder, "a record of")

    def test_too_many(self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(module, "MAX_FILES", 5)
        self.refuse(package(tmp_path / "bad.tgz", BUILD), folder, "more than 5 files")

    @pytest.mark.parametrize("keep", [0, 10, 200, 500])
    def test_cut_off(self, archive: Path, folder: Path, tmp_path: Path, keep: int):
        (tmp_path / "bad.tgz").write_bytes(archive.read_bytes()[:keep])
        self.refuse(tmp_path / "bad.tgz", folder, "cannot be unpacked|not a package")

    def test_no_archive(self, folder: Path, tmp_path: Path):
        (tmp_path / "bad.tgz").write_text("<html>not found</html>")
        self.refuse(tmp_path / "bad.tgz", folder, "cannot be unpacked")

    @pytest.mark.parametrize(
        ("name", "content", "text"),
        [
            ("package/package.json", b'{"name": "@ohif/core", "version": "1.0.0"}', "@ohif/core 1.0.0, not @ohif/app"),
            ("package/package.json", b'{"name": "@ohif/app", "version": "../1"}', "not @ohif/app"),
            ("package/package.json", b"[]", "not a package"),
            ("package/LICENSE", None, "no LICENSE"),
        ],
    )
    def test_another_package(self, folder: Path, tmp_path: Path, name: str, content: bytes | None, text: str):
        files = {each: data for each, data in BUILD.items() if each != name}
        if content is not None:
            files[name] = content
        self.refuse(package(tmp_path / "bad.tgz", files), folder, text)

    @pytest.mark.parametrize(
        ("name", "content", "text"),
        [
            ("package/dist/index.html", b"<html></html>", "does not load"),
            ("package/dist/index.html", b"\xff\xfe", "not text"),
            ("package/dist/app.bundle.css", None, "app.bundle.css, which is not there"),
            ("package/dist/app.bundle.0f61.js", b'a.p="/"', "another layout"),
        ],
    )
    def test_another_layout(self, folder: Path, tmp_path: Path, name: str, content: bytes | None, text: str):
        files = {each: data for each, data in BUILD.items() if each != name}
        if content is not None:
            files[name] = content
        self.refuse(package(tmp_path / "bad.tgz", files), folder, text, NotAdaptable)

    def test_what_it_should_not_be(self, archive: Path, folder: Path):
        with pytest.raises(InstallFailed, match="has the integrity"):
            put(archive, folder, "sha512-" + "A" * 86 + "==")
        put(archive, folder, integrity_of(archive))

    def test_the_version_we_know_with_other_content(self, folder: Path, tmp_path: Path):
        description = f'{{"name": "@ohif/app", "version": "{module.VERSION}"}}'.encode()
        claim = package(tmp_path / "bad.tgz", {**BUILD, "package/package.json": description})
        self.refuse(claim, folder, "differs from the published package")

    def test_two_at_once(self, archive: Path, folder: Path):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self.refuse(archive, folder, "another installation")
        finally:
            os.close(descriptor)
