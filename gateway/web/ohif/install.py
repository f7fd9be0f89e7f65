"""Putting the published package of OHIF in place: from the archive that npm makes to a folder that can be served.

The archive is checked against what it should be, and unpacked as if it were hostile: plain files only, with names that
cannot leave the folder, of bounded size and number. Getting the archive is in `cli/install_ohif.py`; what changes in
the files is in `adapt.py`, how they lie on disk in `release.py`.
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
from gateway.web.ohif.adapt import INDEX, Entry, NotAdaptable, adapt, is_adapted, is_kept, read_entry
from gateway.web.ohif.release import CURRENT, ENTRY, FILES, NAME

PACKAGE = "@ohif/app"
VERSION = "3.13.2"
"""The version that this gateway is tested with."""
INTEGRITY = "sha512-WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA=="
"""Of that version's archive, as npm publishes it (Subresource Integrity)."""

MOST_FILES = 10_000
LARGEST_FILE = 64 << 20
"""Bytes of one file that is kept."""
LARGEST_TOTAL = 1 << 30
"""Bytes of the archive unpacked, with what is left out."""
_COMPRESSED = frozenset({".js", ".mjs", ".css", ".wasm", ".json", ".svg", ".html"})
_WORTH_COMPRESSING = 1024
_PART = re.compile(r"[A-Za-z0-9_@+-][A-Za-z0-9_.@+-]*")

Progress = Callable[[int, int | None], None]
Read = Callable[[], bytes]


class InstallFailed(GatewayError):
    """The viewer could not be put in place; what was there before still is."""


def install(archive: Path, folder: Path, *, integrity: str | None = None, progress: Progress) -> str:
    """Unpack `archive` and make it the viewer in `folder`, in one step at the end; what was there is removed then.

    `integrity`: what the archive must be (sha512-…); without it, it must be that of VERSION if it claims to be that.
    `progress` is called with bytes read of the archive. Returns the version. Raises InstallFailed, NotAdaptable,
    OSError. Blocks, for several seconds.
    """
    found = integrity_of(archive)
    if integrity is not None and found != integrity:
        raise InstallFailed(f"{archive}: is {found}, not {integrity} as it should be; get it again")
    folder.mkdir(parents=True, exist_ok=True)
    with _only_one(folder), _for_everybody():
        folder.chmod(0o755)
        chance = secrets.token_hex(4)
        root = folder / f"unpacking-{chance}"
        root.mkdir()
        try:
            version = _unpack(archive, root, progress)
            if version == VERSION and found != INTEGRITY:
                raise InstallFailed(
                    f"{archive}: claims to be {PACKAGE} {VERSION}, and is not what that was published as"
                )
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
    """`sha512-` and the digest in base 64, as npm writes it."""
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    return "sha512-" + base64.b64encode(digest).decode()


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Two installers would remove each other's work."""
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
    """Who installs is often not who serves, and nothing in it is secret."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


def _switch(folder: Path, name: str) -> None:
    """Let `current` point at the release `name`."""
    link = folder / f".{name}"
    link.symlink_to(name)
    link.replace(folder / CURRENT)


class _Description(msgspec.Struct):
    """What we read of package.json."""

    name: str
    version: str


def _unpack(archive: Path, root: Path, progress: Progress) -> str:
    """Write what is kept of the archive, adapted and compressed, into `root`. Returns the version."""
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
    """What package.json says. Raises InstallFailed for another package."""
    try:
        about = msgspec.json.decode(description, type=_Description)
    except msgspec.MsgspecError:
        raise InstallFailed(f"{archive}: is no package of npm's") from None
    if about.name != PACKAGE or not NAME.fullmatch(f"{about.version}-00000000"):
        raise InstallFailed(f"{archive}: is {about.name} {about.version}, not {PACKAGE}")
    return about.version


def _check(entry: Entry, files: dict[str, bool]) -> None:
    for name in (*entry.scripts, *entry.styles):
        if name not in files:
            raise NotAdaptable(f"its page loads {name}, which is not there")
    if not any(files[name] for name in entry.scripts):
        raise NotAdaptable("its scripts are not laid out as in the versions that are known here")


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(data)
    if path.suffix in _COMPRESSED and len(data) >= _WORTH_COMPRESSING:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(data, mtime=0))


def _members(archive: Path, progress: Progress) -> Iterator[tuple[str, Read]]:
    """Each file of the archive: its name, which stays below the folder that it is joined to, and its content.

    Raises InstallFailed for whatever npm would not have made.
    """
    total = archive.stat().st_size
    with _readable(archive), archive.open("rb") as packed, _Bounded(fileobj=packed) as unpacked:  # noqa: SIM117
        with tarfile.open(fileobj=unpacked, mode="r:") as tar:
            for number, member in enumerate(tar):
                progress(packed.tell(), total)
                if number >= MOST_FILES:
                    raise InstallFailed(f"{archive}: has more than {MOST_FILES} files")
                if member.isdir():
                    continue
                if not member.isreg() or not all(map(_PART.fullmatch, member.name.split("/"))):
                    raise InstallFailed(f"{archive}: {member.name!r} in it is no plain file, or has a bad name")
                yield member.name, functools.partial(_content, archive, tar, member)


def _content(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > LARGEST_FILE:
        raise InstallFailed(f"{archive}: {member.name} in it is larger than {LARGEST_FILE} bytes")
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
    """What tarfile reads from: no single read and no position beyond the limits, whatever a header declares."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= LARGEST_FILE:
            raise tarfile.ReadError(f"a record of {size} bytes")
        return super().read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if offset > LARGEST_TOTAL:
            raise tarfile.ReadError(f"more than {LARGEST_TOTAL} bytes")
        return super().seek(offset, whence)
