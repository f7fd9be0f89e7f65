"""An installed viewer on disk: its place, and its files.

    <folder>/current                 a link to one of the following, changed in one step
    <folder>/<version>-<chance>/
        release.json                 the files that its page loads
        LICENSE                      OHIF's
        files/                       the build, adapted; a .gz beside each file that compresses well

A release never changes, and each installation has a new name: a browser may cache its files without limit. They are
found by the list made here; no path of a request reaches the disk. `install.py` writes releases.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gateway.config import Settings
from gateway.storage.layout import Layout
from gateway.web.viewer.adapt import Entry

CURRENT = "current"
ENTRY = "release.json"
FILES = "files"
NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+-]{0,63}-[0-9a-f]{8}")
"""The name of a release's folder."""


@dataclass(frozen=True, slots=True)
class Release:
    name: str
    entry: Entry
    files: Mapping[str, Path]
    """Files by their path within the build."""


def viewer_folder(settings: Settings) -> Path:
    """The folder of the viewer, installed or not."""
    return Path(settings.http.ohif) if settings.http.ohif else Layout(Path(settings.storage.path)).ohif


def find_release(folder: Path, known: Release | None = None) -> Release | None:
    """The installed release; `known` itself if it is still current. None if there is no readable one. Blocks."""
    try:
        name = Path(folder / CURRENT).readlink().name
        if known is not None and known.name == name:
            return known
        if not NAME.fullmatch(name):
            return None
        root = folder / name
        entry = msgspec.json.decode((root / ENTRY).read_bytes(), type=Entry)
        return Release(name, entry, dict(_files(root / FILES)))
    except (OSError, msgspec.MsgspecError):
        return None


def _files(top: Path) -> list[tuple[str, Path]]:
    found = []
    for where, _folders, names in os.walk(top):
        for name in names:
            if not name.endswith(".gz"):
                path = Path(where, name)
                found.append((path.relative_to(top).as_posix(), path))
    return found
