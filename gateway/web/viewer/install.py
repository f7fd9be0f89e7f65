"""Installation of OHIF's published package: from the archive that npm makes to a folder that can be served.

The archive is checked against its integrity, and unpacked as if it were hostile: regular files only, with names that
cannot leave the folder, bounded in size and number. `cli/install_ohif.py` downloads it, `adapt.py` changes files,
`release.py` has the layout on disk.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import functools
import gzip
import hashlib
import os
import re
import secrets
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from gateway.errors import GatewayError
from gateway.web.viewer.adapt import INDEX, Entry, NotAdaptable, adapt, is_adapted, is_kept, read_entry
from gateway.web.viewer.release import CURRENT, ENTRY, FILES, NAME

PACKAGE = "@ohif/app"
VERSION = "3.13.2"
"""The version that this gateway is tested with."""
INTEGRITY = "sha512-WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA=="
"""Integrity of that version's archive, as published by npm (Subresource Integrity)."""

MAX_FILES = 10_000
MAX_FILE_BYTES = 64 << 20
"""Bytes of one installed file."""
MAX_TOTAL_BYTES = 1 << 30
"""Bytes of the unpacked archive, ignored files included."""
_COMPRESSED = frozenset({".js", ".mjs", ".css", ".wasm", ".json", ".svg", ".html"})
_WORTH_COMPRESSING = 1024
_PART = re.compile(r"[A-Za-z0-9_@+-][A-Za-z0-9_.@+-]*")

Progress = Callable[[int, int | None], None]
Read = Callable[[], bytes]


class InstallFailed(GatewayError):
    """The viewer could not be installed; the previous one is unchanged."""


def install(archive: Path, folder: Path, *, integrity: str | None = None, progress: Progress) -> str:
    """Unpack `archive` and make it the viewer in `folder`, in one step at the end; the previous one is removed then.

    `integrity`: the required integrity (sha512-…); without it, an archive of VERSION must have that of VERSION.
    `progress` is called with the bytes read from the archive. Returns the version. Blocks, for several seconds. Raises
    InstallFailed, NotAdaptable, OSError.
    """
    found = integrity_of(archive)
    if integrity is not None and found != integrity:
        raise InstallFailed(f"{archive}: has the integrity {found}, not {integrity}; download it again")
    folder.mkdir(parents=True, exist_ok=True)
    with _only_one(folder), _for_everybody():
        folder.chmod(0o755)
        chance = secrets.token_hex(4)
        root = folder / f"unpacking-{chance}"
        root.mkdir()
        try:
            version = _unpack(archive, root, progress)
            if version == VERSION and found != INTEGRITY:
                raise InstallFailed(f"{archive}: is named {PACKAGE} {VERSION}, but differs from the published package")
            name = f"{version}-{chance}"
            root = root.rename(folder / name)
            _switch(folder, name)
        except BaseException:
            shutil.rmtree(root, ignore_errors=True)
            raise
        for other in folder.iterdir():
            if NAME.fullmatch(other.name) and other.name != name:
                shutil.rmtree(other, ignore_errors=True)
    return version


def integrity_of(archive: Path) -> str:
    """The integrity of a file as npm writes it: `sha512-` and the digest in base 64."""
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    return "sha512-" + base64.b64encode(digest).decode()


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Lock the folder: two installers would remove each other's work."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InstallFailed(f"{folder}: another installation is under way") from None
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _for_everybody() -> Iterator[None]:
    """Make files readable for everybody: the installing user is often not the serving one, and nothing is secret."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


def _switch(folder: Path, name: str) -> None:
    """Make `current` point at the release `name`."""
    link = folder / f".{name}"
    link.symlink_to(name)
    link.replace(folder / CURRENT)


class _Description(msgspec.Struct):
    """The fields used of package.json."""

    name: str
    version: str


def _unpack(archive: Path, root: Path, progress: Progress) -> str:
    """Write the installed files, adapted and compressed, into `root`. Returns the version."""
    about: bytes = b""
    index: bytes = b""
    files: dict[str, bool] = {}
    for name, read in _members(archive, progress):
        inner = name.removeprefix("package/dist/")
        if name == "package/package.json":
            about = read()
        elif name == "package/LICENSE":
            (root / "LICENSE").write_bytes(read())
        elif inner == INDEX:
            index = read()
        elif inner != name and is_kept(inner):
            data = adapt(inner, read())
            _write(root / FILES / inner, data)
            files[inner] = is_adapted(data)
    version = _version(archive, about)
    if not (root / "LICENSE").exists():
        raise InstallFailed(f"{archive}: there is no LICENSE in it")
    entry = read_entry(index)
    _check(entry, files)
    (root / ENTRY).write_bytes(msgspec.json.encode(entry))
    return version


def _version(archive: Path, description: bytes) -> str:
    """The version in package.json. Raises InstallFailed for another package."""
    try:
        about = msgspec.json.decode(description, type=_Description)
    except msgspec.MsgspecError:
        raise InstallFailed(f"{archive}: is not a package of npm") from None
    if about.name != PACKAGE or not NAME.fullmatch(f"{about.version}-00000000"):
        raise InstallFailed(f"{archive}: is {about.name} {about.version}, not {PACKAGE}")
    return about.version


def _check(entry: Entry, files: dict[str, bool]) -> None:
    for name in (*entry.scripts, *entry.styles):
        if name not in files:
            raise NotAdaptable(f"its page loads {name}, which is not there")
    if not any(files[name] for name in entry.scripts):
        raise NotAdaptable("its scripts have another layout than the known versions")


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(data)
    if path.suffix in _COMPRESSED and len(data) >= _WORTH_COMPRESSING:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(data, mtime=0))


def _members(archive: Path, progress: Progress) -> Iterator[tuple[str, Read]]:
    """Yield the files of the archive: a name, which stays below any folder it is joined to, and a reader of the
    content.

    Raises InstallFailed for anything that npm does not write.
    """
    total = archive.stat().st_size
    with _readable(archive), archive.open("rb") as packed, _Bounded(fileobj=packed) as unpacked:  # noqa: SIM117
        with tarfile.open(fileobj=unpacked, mode="r:") as tar:
            for number, member in enumerate(tar):
                progress(packed.tell(), total)
                if number >= MAX_FILES:
                    raise InstallFailed(f"{archive}: has more than {MAX_FILES} files")
                if member.isdir():
                    continue
                if not member.isreg() or not all(map(_PART.fullmatch, member.name.split("/"))):
                    raise InstallFailed(f"{archive}: {member.name!r} in it is no regular file, or has an invalid name")
                yield member.name, functools.partial(_content, archive, tar, member)


def _content(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > MAX_FILE_BYTES:
        raise InstallFailed(f"{archive}: {member.name} in it is larger than {MAX_FILE_BYTES} bytes")
    content = tar.extractfile(member)
    assert content is not None
    with _readable(archive), content:
        return content.read()


@contextlib.contextmanager
def _readable(archive: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InstallFailed(f"{archive}: cannot be unpacked: {error}") from None


class _Bounded(gzip.GzipFile):
    """The input of tarfile: bounds each read and each position, whatever a header declares."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= MAX_FILE_BYTES:
            raise tarfile.ReadError(f"a record of {size} bytes")
        return super().read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if offset > MAX_TOTAL_BYTES:
            raise tarfile.ReadError(f"more than {MAX_TOTAL_BYTES} bytes")
        return super().seek(offset, whence)
